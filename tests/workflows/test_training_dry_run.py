"""`--dry-run` of the trainings says what a run would do, and does nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import Run, noise, write_audio

Umc = Callable[..., Run]

DEVICES = ("xperia1v", "pixel3", "xperia1")
GENERATOR = ("train", "--preset", "smoke", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4")
CLASSIFIER = ("train-sec", "--source", DEVICES[0], "--preset", "smoke", "--batch-size", "4")
REFINER = ("train", "--pretrain", "simulated", "--preset", "smoke")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with eight clips of either label on each of three devices; the same sounds on all."""
    root = tmp_path / "workspace"
    for device in DEVICES:
        for number in range(16):
            write_audio(root / f"data/{device}/{('hiss', 'thud')[number % 2]}/{number}.wav", noise(1.0, seed=number))
    return root


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("command", "run"),
    [
        (GENERATOR, "smoke"),
        ((*GENERATOR, "--pair", "pixel3:xperia1"), "pixel3-xperia1"),
        ((*CLASSIFIER, "--method", "eq+mixup"), "sec-xperia1v-eq-mixup-0"),
        ((*CLASSIFIER, "--method", "gaussian-noise", "--keep", "last"), "sec-xperia1v-gaussian-noise-0"),
        ((*CLASSIFIER, "--method", "self-training", "--targets", "pixel3"), "sec-xperia1v-self-training-0"),
    ],
    ids=["generator", "pair", "converted", "waveforms", "self-training"],
)
def test_it_says_what_the_run_then_does_and_writes_nothing(
    workspace: Path, umc: Umc, command: tuple[str, ...], run: str
) -> None:
    before = content(workspace)
    dry = umc(*command, "--epochs", "1", "--dry-run", "--json", "--quiet").json
    assert content(workspace) == before
    real = umc(*command, "--epochs", "1", "--json", "--quiet").json
    same = ("name", "folder", "mode", "devices", "precision", "n_segments", "n_held_out", "total_steps", "failed")
    assert {name: dry[name] for name in same} == {name: real[name] for name in same}
    assert (dry["run"], dry["n_steps"], dry["dry_run"]) == ("new", 0, True)
    assert dry["weights"] == real["weights"]
    folder = workspace / "runs" / run
    there = {path.name + "/" * path.is_dir() for path in folder.iterdir()} - {"tensorboard/", ".umc.lock"}
    assert set(dry["files"]) == {name for name in there if name != "converted/"}
    checkpoints = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert dry["checkpoint_bytes"] == pytest.approx(checkpoints, rel=0.05)
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert dry["estimated_bytes"] == pytest.approx(n_bytes, rel=0.2)
    assert dry["n_files"] == sum(dry["splits"].values())
    assert 0 < dry["estimated_seconds"] < 600
    assert 0 < dry["n_timed"] <= 5
    assert [Path(path).exists() for path in dry["publishes"]] == [True] * len(real["published"]) or not real[
        "published"
    ]


@pytest.mark.usefixtures("no_pictures")
def test_a_part_of_many_recordings_tells_of_all(workspace: Path, umc: Umc) -> None:
    for number in range(16):
        write_audio(workspace / f"data/pixel3/hiss/long{number}.wav", noise(5.0, seed=number))
    dry = umc(*GENERATOR, "--dry-run", "--json", "--quiet", "--held-out-share", "0").json
    assert dry["n_files"] == sum(dry["splits"].values())
    real = umc(*GENERATOR, "--max-steps", "1", "--json", "--quiet", "--held-out-share", "0").json
    assert dry["n_segments"] == real["n_segments"]
    assert dry["n_segments"]["pixel3"] > 2 * dry["n_segments"]["xperia1"]


def test_a_run_that_is_there_is_resumed_replaced_or_refused(workspace: Path, umc: Umc) -> None:
    small = (*CLASSIFIER, "--epochs", "2", "--quiet")
    assert umc(*small, "--max-steps", "2").exit_code == 0
    before = content(workspace)
    refused = umc(*small, "--dry-run")
    assert refused.exit_code == 2
    assert refused.stderr == umc(*small).stderr
    assert "there is a run" in refused.stderr
    dry = umc(*small, "--max-steps", "4", "--resume", "--dry-run", "--json").json
    assert (dry["run"], dry["n_steps"], dry["total_steps"], dry["n_timed"]) == ("resumed", 2, 4, 0)
    shown = umc(*small, "--max-steps", "4", "--resume", "--dry-run").stdout
    assert "would resume after step 2 and end after step 4" in shown
    assert "as those of the run so far" in shown
    assert umc(*small, "--overwrite", "--dry-run", "--json").json["run"] == "replaced"
    for options in (("--resume", "--max-steps", "1"), ("--resume", "--learning-rate", "0.5"), ("--name", "a/b")):
        dry_run, real = umc(*small, *options, "--dry-run"), umc(*small, *options)
        assert (dry_run.exit_code, dry_run.stderr) == (2, real.stderr)
    write_audio(workspace / f"data/{DEVICES[0]}/hiss/new.wav", noise(1.0, seed=99))
    changed = umc(*small, "--resume", "--dry-run")
    assert "the recordings are not those that the run" in changed.stderr
    (workspace / f"data/{DEVICES[0]}/hiss/new.wav").unlink()
    assert content(workspace) == before


@pytest.mark.parametrize(
    "command",
    [
        (*GENERATOR, "--devices", "xperia1v"),
        (*GENERATOR, "--devices", "xperia1v,nobody"),
        (*GENERATOR, "--micro-batch-size", "3"),
        ("train-sec", "--source", "nobody", "--preset", "smoke"),
        (*CLASSIFIER, "--method", "mc"),
        (*CLASSIFIER, "--method", "unified-real", "--unified", "paper"),
        (*CLASSIFIER, "--compute-device", "cuda:99"),
        (*REFINER, "--ngf", "8"),
        (*REFINER, "--preset", "paper"),
    ],
)
def test_what_the_run_would_refuse_is_refused_alike(umc: Umc, command: tuple[str, ...]) -> None:
    dry, real = umc(*command, "--dry-run", "--quiet"), umc(*command, "--quiet")
    assert (dry.exit_code, dry.stderr) == (2, real.stderr)


@pytest.mark.parametrize("command", [GENERATOR, CLASSIFIER, REFINER], ids=["train", "train-sec", "pretrain"])
def test_a_folder_that_is_missing_or_in_the_way_is_said(workspace: Path, umc: Umc, command: tuple[str, ...]) -> None:
    (workspace / "runs").write_text("")
    dry = umc(*command, "--dry-run", "--quiet")
    assert dry.exit_code == 3
    assert "runs is a file" in dry.stderr
    (workspace / "runs").unlink()
    (workspace / "data").rename(workspace / "elsewhere")
    dry, real = umc(*command, "--dry-run", "--quiet"), umc(*command, "--quiet")
    assert (dry.exit_code, dry.stderr) == (real.exit_code, real.stderr)
    assert dry.exit_code == 2


@pytest.mark.usefixtures("no_pictures")
def test_recordings_that_cannot_be_read_are_listed(workspace: Path, umc: Umc) -> None:
    for command in (GENERATOR, CLASSIFIER):
        (workspace / f"data/{DEVICES[0]}/hiss/0.wav").write_bytes(b"no sound")
        dry, real = umc(*command, "--dry-run", "--json"), umc(*command, "--max-steps", "1", "--json")
        assert (dry.exit_code, dry.json["failed"]) == (1, real.json["failed"])
    assert "1 recording cannot be read" in umc(*CLASSIFIER, "--name", "other", "--dry-run").stderr


@pytest.mark.usefixtures("no_pictures")
def test_lines_say_what_is_converted_to_and_told_apart(umc: Umc) -> None:
    shown = umc(*CLASSIFIER, "--method", "eq", "--targets", "pixel3,xperia1", "--dry-run").stdout
    assert "would tell    2 labels: hiss, thud" in shown
    assert "would convert with eq to pixel3, xperia1" in shown
    shown = umc(*GENERATOR, "--dry-run", "--no-publish").stdout
    assert "would publish weights stay in the run's folder" in shown


def test_a_setting_of_the_call_is_none_of_the_run(workspace: Path, umc: Umc) -> None:
    assert umc(*CLASSIFIER, "--max-steps", "1", "--quiet").exit_code == 0
    settings = json.loads((workspace / f"runs/sec-{DEVICES[0]}-none-0/settings.json").read_text())["settings"]
    assert "dry_run" not in settings
