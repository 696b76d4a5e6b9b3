"""`umc train --pretrain simulated` through the command line."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import SOURCE, Run, noise, write_audio
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.training.metrics import read_metrics
from umc_cli.training.run_settings import write_run_settings

pytestmark = pytest.mark.usefixtures("forked_worlds")

Umc = Callable[..., Run]

SMOKE = ("train", "--pretrain", "simulated", "--preset", "smoke", "--quiet", "--json")


@pytest.fixture
def sounds(workspace: Path) -> Path:
    """The workspace with a split `train-mc` of twelve sounds, one of which cannot be read."""
    lines = ["path,device,label,split"]
    for index in range(12):
        name = f"{SOURCE}/hiss/{index:02d}.wav"
        write_audio(workspace / "data" / name, noise(1.0, seed=index))
        lines.append(f"{name},{SOURCE},hiss,train-mc")
    (workspace / "data" / SOURCE / "hiss" / "broken.wav").write_bytes(b"no sound")
    lines.append(f"{SOURCE}/hiss/broken.wav,{SOURCE},hiss,train-mc")
    (workspace / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    return workspace


def test_clips_become_a_refiner_that_convert_uses(
    umc: Umc, sounds: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    dry = umc(*SMOKE, "--max-steps", "8", "--save-every", "4", "--publish", "--dry-run")
    assert not (sounds / "runs").exists()
    run = umc(*SMOKE, "--max-steps", "8", "--save-every", "4", "--publish")
    same = ("name", "folder", "mode", "devices", "precision", "n_segments", "n_held_out", "total_steps", "failed")
    assert {name: dry.json[name] for name in same} == {name: run.json[name] for name in same}
    assert (dry.json["publishes"], dry.json["publication"]) == (run.json["published"], "always (--publish)")
    assert {*dry.json["files"]} <= {
        path.name + "/" * path.is_dir() for path in (sounds / "runs/refiner-smoke").iterdir()
    }
    assert run.exit_code == 1, run.stderr  # one recording cannot be read
    assert [Path(entry["path"]).name for entry in run.json["failed"]] == ["broken.wav"]
    assert (run.json["mode"], run.json["n_steps"], run.json["total_steps"]) == ("refiner", 8, 8)
    folder = sounds / "runs/refiner-smoke"
    scores = [row["validation_score"] for row in read_metrics(folder) if "validation_score" in row]
    assert scores == [run.json["best_score"]]
    assert (folder / "pictures").is_dir()
    request.getfixturevalue("no_pictures")
    published = sounds / "checkpoints/refiner.safetensors"
    assert load_refiner(published).training["name"] == "refiner-smoke"

    going_on = umc(*SMOKE, "--resume", "--max-steps", "10")
    assert (going_on.json["n_steps"], going_on.exit_code) == (10, 1), going_on.stderr

    # From these weights on, as a second stage; the first's are not replaced.
    monkeypatch.setenv("UMC_PRETRAIN_START", str(published))
    onwards = umc(*SMOKE, "--name", "second", "--max-steps", "1", "--no-publish")
    assert onwards.exit_code == 1, onwards.stderr
    moved = [load_refiner(path).refiner.last.bias for path in (published, sounds / "runs/second/best.safetensors")]
    assert 0 < (moved[0] - moved[1]).abs().item() < 1e-3
    refused = umc("train", "--pretrain", "simulated", "--name", "wide", "--no-publish")
    assert refused.exit_code == 2
    assert "widths (8, 12, 16, 16)" in refused.stderr
    monkeypatch.delenv("UMC_PRETRAIN_START")

    # As many devices as it takes; the workspace's refiner goes before the package's.
    converted = umc("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "refiner", "--json", "--quiet")
    assert converted.json["made_with"]["checkpoint_sha256"] == load_refiner(published).sha256
    assert converted.json["n_segments"] == 12
    assert re.match(r"run 'refiner-smoke', (8|10) steps, 20\d\d-\d\d-\d\d \(", converted.json["weights"])


@pytest.mark.usefixtures("no_pictures")
def test_a_smoke_run_leaves_the_shipped_weights_to_convert(umc: Umc, sounds: Path) -> None:
    with (sounds / "data/manifest.csv").open("a") as file:
        file.write(f"{SOURCE}/hiss/lost.wav,{SOURCE},hiss,training\n")
    dry = umc(*SMOKE, "--max-steps", "1", "--dry-run")
    run = umc(*SMOKE, "--max-steps", "1")
    for report in (dry, run):
        assert "unknown split 'training'" in " ".join(entry["reason"] for entry in report.json["failed"])
    assert run.json["published"] == []
    assert "the weights that ship with umc stay" in run.json["publication"]
    assert not (sounds / "checkpoints").exists()
    converted = umc("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "refiner")
    assert "weights: the weights that ship with umc\n" in converted.stderr


@pytest.mark.usefixtures("no_pictures")
def test_the_wide_family_is_a_setting(umc: Umc, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FAMILY", "wide"), ("OBJECTIVE", "share"), ("TEXTURE_WEIGHT", "0.1"), ("BF16", "true")):
        monkeypatch.setenv(f"UMC_PRETRAIN_{name}", value)
    run = umc(*SMOKE, "--max-steps", "2", "--log-every", "1", "--no-publish")
    assert (run.json["n_steps"], run.json["precision"]) == (2, "bf16"), run.stderr
    rows = read_metrics(sounds / "runs/refiner-smoke")
    assert all(row["texture_loss"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--pretrain", "real"), "cannot pretrain on 'real'", "use --pretrain simulated"),
        (("--pretrain", "simulated", "--ngf", "8"), "--ngf has no effect with --pretrain", "leave it out"),
        (("--pretrain", "simulated", "--preset", "paper"), "unknown preset 'paper'", "known presets of --pretrain: "),
        (("--pretrain", "simulated", "--resume"), "no run 'refiner-cpu' to resume", "--name"),
        (("--pretrain", "simulated", "--preset", "smoke"), "sounds in split train-converter or train", "at least 10"),
    ],
)
def test_wrong_use_is_refused(umc: Umc, workspace: Path, arguments: tuple[str, ...], message: str, hint: str) -> None:
    run = umc("train", *arguments)
    assert run.exit_code == 2
    assert message in run.stderr
    assert hint in run.stderr
    assert not (workspace / "checkpoints").exists()


def test_a_run_of_another_kind_is_not_gone_on_with(umc: Umc, sounds: Path) -> None:
    write_run_settings(sounds / "runs/mine", {"run_id": "", "kind": "refiner", "settings": {}, "recordings_sha256": ""})
    run = umc("train", "--name", "mine", "--resume")
    assert run.exit_code == 2
    assert "of another kind (refiner, not adversarial)" in run.stderr
