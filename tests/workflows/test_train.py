import json
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.samples import Run, noise, write_audio
from umc_cli.audio.manifest import find_recordings
from umc_cli.checkpoint import read_checkpoint
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.response.device import DeviceRegistry, write_device
from umc_cli.splits import OLD_SHARES, SplitRules
from umc_cli.training.metrics import read_metrics


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give converters recordings of their own."""
    monkeypatch.setenv("UMC_SHARES", "train-converter=40,train=40,test=20")


pytestmark = pytest.mark.usefixtures("no_pictures")

Umc = Callable[..., Run]

DEVICES = ("xperia1v", "pixel3", "xperia1")
SMALL = (
    *("--preset", "smoke", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4"),
    *("--max-steps", "2", "--log-every", "1", "--quiet"),
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with ten clips of one second of each of three devices."""
    root = tmp_path / "workspace"
    for index, device in enumerate(DEVICES):
        for number in range(10):
            write_audio(root / f"data/{device}/noise/{number}.wav", noise(0.93, seed=100 * index + number))
    return root


@pytest.fixture
def small(umc: Umc) -> Umc:
    """Return a function that runs `umc train` with a tiny network for two steps, with further options."""
    return lambda *options: umc("train", *SMALL, *options)


def write_manifest(workspace: Path, rows: list[tuple[str, str, str, str]]) -> None:
    lines = [
        "path,device,label,split,recording",
        *(f"{path},{device},a,{split},{name}" for path, device, split, name in rows),
    ]
    (workspace / "data/manifest.csv").write_text("\n".join(lines))


def test_it_trains_on_train_mc_and_holds_recordings_out_on_all_devices(small: Umc, workspace: Path) -> None:
    report = small("--json", "--held-out-share", "0.25").json
    assert report["devices"] == sorted(DEVICES)
    # 4 of 10 clips are in train-converter; the same recording is held out of each device.
    assert report["n_segments"] == dict.fromkeys(DEVICES, 3)
    assert report["n_held_out"] == dict.fromkeys(DEVICES, 1)
    assert (report["n_steps"], report["total_steps"], report["exit_code"]) == (2, 2, 0)
    assert report["published"] == [str(workspace / "checkpoints/generator.safetensors")]
    run = workspace / "runs/smoke"
    published = load_generator(workspace / "checkpoints/generator.safetensors")
    assert published.sha256 == load_generator(run / "best.safetensors").sha256
    assert published.training["settings"]["ngf"] == 2
    assert len(read_metrics(run)) == 2
    started = json.loads((run / "settings.json").read_text())
    assert started["settings"]["batch_size"] == 4
    assert started["settings"]["learning_rate"] == 5e-4


PAPER = ("--preset", "paper", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4", "--max-steps", "2")


def test_paper_publishes_the_last_plain_weights_of_all_recordings(umc: Umc, workspace: Path) -> None:
    report = umc("train", *PAPER, "--json", "--quiet").json
    assert report["n_held_out"] == dict.fromkeys(DEVICES, 0)
    assert (report["best_step"], report["published"]) == (None, [str(workspace / "checkpoints/generator.safetensors")])
    run = workspace / "runs/paper"
    assert not (run / "best.safetensors").exists()
    published = load_generator(workspace / "checkpoints/generator.safetensors")
    assert published.sha256 == load_generator(run / "last.safetensors").sha256
    assert published.generator.settings.condition == "shape_and_level"
    trained = read_checkpoint(run / "state.safetensors").tensors  # "translator": as trained, "average": of the average
    for name, weight in published.generator.state_dict().items():
        assert torch.equal(weight, trained[f"translator.generator.{name}"])


def test_what_paper_leaves_out_stays_an_option(umc: Umc, workspace: Path) -> None:
    options = ("--keep", "best", "--held-out-share", "0.25", "--average-decay", "0.9", "--condition", "shape")
    report = umc("train", *PAPER, *options, "--json", "--quiet").json
    assert (report["n_held_out"], report["best_step"]) == (dict.fromkeys(DEVICES, 1), 2)
    published = load_generator(workspace / "checkpoints/generator.safetensors")
    assert published.sha256 == load_generator(workspace / "runs/paper/best.safetensors").sha256
    assert published.generator.settings.condition == "shape"


def test_the_last_weights_of_a_pair_are_published_if_these_count(small: Umc, workspace: Path) -> None:
    report = small("--pair", "xperia1v:pixel3", "--keep", "last", "--json").json
    run = workspace / "runs/xperia1v-pixel3"
    assert [load_generator(Path(path)).sha256 for path in report["published"]] == [
        load_generator(run / name).sha256 for name in ("last.safetensors", "last-reverse.safetensors")
    ]


def test_a_level_that_a_record_does_not_say_cannot_be_part_of_the_condition(
    umc: Umc, small: Umc, workspace: Path
) -> None:
    record = DeviceRegistry().get("pixel3").model_copy(update={"sensitivity_dbfs": None})
    write_device(record, workspace / "devices")
    refused = umc("train", *PAPER)
    assert refused.exit_code == 2
    assert "no level (sensitivity_dbfs) in the record of pixel3" in refused.stderr
    assert "--condition shape" in refused.stderr
    assert not (workspace / "runs").exists()
    assert umc("train", *PAPER, "--pair", "xperia1v:pixel3", "--quiet").exit_code == 0  # has no condition
    assert small().exit_code == 0


def test_a_run_of_a_version_that_knew_neither_setting_goes_on_as_it_was(small: Umc, umc: Umc, workspace: Path) -> None:
    assert small("--name", "old").exit_code == 0
    path = workspace / "runs/old/settings.json"
    content = json.loads(path.read_text())
    assert (content["settings"].pop("keep"), content["settings"].pop("condition")) == ("best", "shape")
    path.write_text(json.dumps(content))
    again = umc("train", "--name", "old", "--resume", "--max-steps", "3", "--json", "--quiet")
    assert (again.exit_code, again.json["n_steps"]) == (0, 3)
    assert "keep: 'best' then, 'last' now" in umc("train", "--name", "old", "--resume", "--keep", "last").stderr


def test_resume_goes_on_and_refuses_other_settings_and_recordings(small: Umc, umc: Umc, workspace: Path) -> None:
    assert small("--name", "mine").exit_code == 0
    again = umc("train", "--name", "mine", "--resume", "--max-steps", "4", "--json", "--quiet")
    assert again.json["n_steps"] == 4
    assert [row["step"] for row in read_metrics(workspace / "runs/mine")] == [1, 2, 3, 4]
    state = (workspace / "runs/mine/state.safetensors").read_bytes()
    refused = umc("train", "--name", "mine", "--resume", "--ngf", "3", "--learning-rate", "0.1")
    assert refused.exit_code == 2
    assert "learning_rate: 0.0005 then, 0.1 now; ngf: 2 then, 3 now" in refused.stderr
    write_audio(workspace / "data/pixel3/noise/new.wav", noise(3.0))
    write_audio(workspace / "data/pixel3/noise/new2.wav", noise(3.0))
    changed = umc("train", "--name", "mine", "--resume", "--max-steps", "6")
    assert changed.exit_code == 2
    assert "the recordings are not those" in changed.stderr
    assert (workspace / "runs/mine/state.safetensors").read_bytes() == state
    unknown = umc("train", "--name", "yours", "--resume")
    assert unknown.exit_code == 2
    assert "there are: mine" in unknown.stderr


def test_nothing_is_replaced_unless_told_to(small: Umc, workspace: Path) -> None:
    assert small().exit_code == 0
    before = load_generator(workspace / "checkpoints/generator.safetensors").sha256
    there = small()
    assert there.exit_code == 2
    assert "--resume" in there.stderr
    other = small("--name", "other", "--seed", "1", "--json").json
    assert (other["exit_code"], other["published"]) == (0, [])
    assert "a run of the preset smoke only shows that all works; run 'smoke', 2 steps" in other["publication"]
    kept = small("--name", "third", "--no-publish", "--json").json
    assert (kept["published"], kept["publication"]) == ([], "--no-publish")
    assert small("--overwrite", "--seed", "2").exit_code == 0
    assert load_generator(workspace / "checkpoints/generator.safetensors").sha256 == before
    assert len(read_metrics(workspace / "runs/smoke")) == 2
    wished = small("--name", "other", "--seed", "1", "--resume", "--publish", "--json").json
    assert "--publish; replaced run 'smoke', 2 steps" in wished["publication"]
    published = load_generator(workspace / "checkpoints/generator.safetensors")
    assert published.sha256 == load_generator(workspace / "runs/other/best.safetensors").sha256 != before


@pytest.mark.parametrize("pair", [(), ("--pair", "xperia1v:pixel3")], ids=["unified", "pair"])
def test_weights_go_to_convert_if_they_are_better_on_held_out_recordings(
    small: Umc, workspace: Path, pair: tuple[str, ...]
) -> None:
    real = ("--preset", "cpu", "--held-out-share", "0.25", "--json", *pair)
    first = small(*real, "--name", "first", "--learning-rate", "1e-9").json
    assert first["publication"] == "there were none before"
    assert len(first["published"]) == 1 + bool(pair)
    second = small(*real, "--name", "second", "--max-steps", "12", "--learning-rate", "1e-2").json
    is_better = second["best_score"] < first["best_score"]
    assert bool(second["published"]) is is_better
    word = "better" if is_better else "not better"
    scores = f"{second['best_score']:.3g} on held-out recordings, {word} than {first['best_score']:.3g} of run 'first'"
    assert scores in second["publication"]
    sums = [
        load_generator(Path(path)).sha256 for path in (*first["published"], workspace / "runs/second/best.safetensors")
    ]
    assert (sums[0] == sums[-1]) is is_better
    # The same weights again are not better than themselves.
    same = small(*real, "--name", "third", "--learning-rate", "1e-9").json
    assert same["best_score"] == first["best_score"]
    assert same["published"] == []


def test_a_pair_gives_two_checkpoints_that_convert_takes(small: Umc, umc: Umc, workspace: Path) -> None:
    assert small("--pair", "xperia1v:pixel3").exit_code == 0
    there = "checkpoints/xperia1v-to-pixel3.safetensors"
    assert {path.name for path in (workspace / "checkpoints").iterdir()} == {
        "xperia1v-to-pixel3.safetensors", "pixel3-to-xperia1v.safetensors",
    }  # fmt: skip
    convert = ("convert", "--checkpoint", there, "--engine", "torch", "--source", "xperia1v")
    assert umc(*convert, "--targets", "pixel3").exit_code == 0
    refused = umc(*convert, "--targets", "xperia1")
    assert refused.exit_code == 2
    assert "xperia1v to pixel3 only" in refused.stderr


def bad_data(workspace: Path) -> dict[str, Any]:
    def one_device() -> None:
        for device in DEVICES[1:]:
            for path in (workspace / "data" / device).glob("*/*"):
                path.unlink()

    def no_response() -> None:
        (workspace / "data/pixel3").rename(workspace / "data/nokia")

    def few_segments() -> None:
        for path in sorted((workspace / "data/pixel3").glob("*/*"))[:-2]:
            path.unlink()

    def leak() -> None:
        write_manifest(workspace, [("1.wav", "pixel3", "train-mc", "door"), ("2.wav", "xperia1", "val-sec", "door")])

    return {"one device": one_device, "no response": no_response, "few segments": few_segments, "leak": leak}


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("one device", (), "needs recordings of at least two devices; found: xperia1v"),
        ("no response", (), "no frequency response is known for nokia"),
        ("few segments", (), "device pixel3 has 1 segments to train on; 2 are needed"),
        ("leak", (), "recording 'door' is in two splits"),
        ("", ("--preset", "huge"), "unknown preset 'huge'"),
        ("", ("--pair", "xperia1v:nokia"), "no recordings of 'nokia' in split train-converter"),
        ("", ("--pair", "xperia1v"), "is not a pair of devices"),
        ("", ("--devices", "xperia1v,nokia"), "no recordings of 'nokia'"),
        ("", ("--batch-size", "3"), "must be even"),
        ("", ("--name", "../out"), "cannot be the name of a run"),
    ],
)
def test_bad_input_is_named(small: Umc, workspace: Path, data: str, options: tuple[str, ...], message: str) -> None:
    if data:
        bad_data(workspace)[data]()
    run = small(*options)
    assert run.exit_code == 2
    assert message in run.stderr
    assert "Hint:" in run.stderr
    assert not list(workspace.glob("runs/*/*.safetensors"))


def test_a_recording_that_cannot_be_read_is_listed_and_the_rest_trained_on(small: Umc, workspace: Path) -> None:
    found = find_recordings(workspace / "data", SplitRules(OLD_SHARES)).clips
    broken = next(clip.path for clip in found if clip.split == "train-mc" and clip.device == "pixel3")
    broken.write_bytes(b"RIFF")
    run = small("--json", "--held-out-share", "0")
    assert run.exit_code == 1
    assert [entry["path"] for entry in run.json["failed"]] == [str(broken)]
    assert run.json["n_segments"] == {"pixel3": 3, "xperia1": 4, "xperia1v": 4}
    assert run.json["n_steps"] == 2


def test_broken_training_says_step_and_loss_and_keeps_the_state(small: Umc, umc: Umc, workspace: Path) -> None:
    run = small("--learning-rate", "1e30", "--max-steps", "30", "--save-every", "1", "--name", "wild")
    assert run.exit_code == 2
    assert "diverged at step" in run.stderr
    assert "gradient_norm" in run.stderr or "loss" in run.stderr
    assert (workspace / "runs/wild/state.safetensors").is_file()


def test_ctrl_c_leaves_a_state_and_says_how_to_go_on(start_umc: Callable[..., Any], umc: Umc, workspace: Path) -> None:
    options = [option for option in SMALL if option != "--quiet"]
    options[options.index("--max-steps") + 1] = "100000"
    with start_umc("train", *options, "--epochs", "100000", "--name", "long", cwd=workspace) as process:
        metrics = workspace / "runs/long/metrics.csv"
        for _ in range(1200):
            if metrics.exists() and metrics.read_text().count("\n") > 3:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "umc train --name long --resume" in err.decode()
    done = read_metrics(workspace / "runs/long")[-1]["step"]
    more = umc("train", "--name", "long", "--resume", "--max-steps", str(done + 2), "--json", "--quiet").json
    assert more["n_steps"] == done + 2


def test_what_cannot_be_compiled_is_a_fault_and_the_run_goes_on_without(
    small: Umc, umc: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(*_: object) -> None:
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.compiler.reset()
    fault = small("--compile", "--name", "fast")
    assert fault.exit_code == 3
    assert "the generator cannot be compiled here: RuntimeError: no g++" in fault.stderr
    assert "install a C++ compiler such as g++, or do without it (--no-compile)" in " ".join(fault.stderr.split())
    assert "compile" not in json.loads((workspace / "runs/fast/settings.json").read_text())["settings"]
    assert umc("train", "--name", "fast", "--resume", "--json", "--quiet").json["n_steps"] == 2


def test_a_killed_run_goes_on_with_the_losses_of_one_that_was_not(
    start_umc: Callable[..., Any], small: Umc, umc: Umc, workspace: Path
) -> None:
    steps = ("--epochs", "100000", "--save-every", "10", "--validate-every", "10", "--no-publish", "--max-steps")
    with start_umc("train", *SMALL, *steps, "100000", "--name", "killed", cwd=workspace) as process:
        while not (workspace / "runs/killed/state.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    saved = read_checkpoint(workspace / "runs/killed/state.safetensors").metadata["run"]["step"]
    total = saved + 10
    again = umc("train", "--name", "killed", "--resume", *steps, total, "--json", "--quiet")
    assert again.json["n_steps"] == total, again.stderr
    assert small("--name", "whole", *steps, total).exit_code == 0
    rows, weights = [], []
    for name in ("whole", "killed"):
        rows.append([row | {"seconds": 0} for row in read_metrics(workspace / "runs" / name)])
        weights.append(read_checkpoint(workspace / "runs" / name / "last.safetensors").tensors)
    assert len(rows[0]) == total >= 20
    assert rows[0] == rows[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] | weights[1])
