"""What `umc train` and `umc train-sec` refuse before the work, and that the command they print resumes a run."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import Run, noise, write_audio
from umc_cli.cli.training_progress import QuietTraining

pytestmark = pytest.mark.usefixtures("no_pictures", "forked_worlds")

Umc = Callable[..., Run]

DEVICES = ("xperia1v", "pixel3")
TRAIN = (
    *("train", "--preset", "smoke", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4"),
    *("--max-steps", "3", "--quiet"),
)
PRETRAIN = ("train", "--pretrain", "simulated", "--preset", "smoke", "--max-steps", "3", "--quiet")
TRAIN_SEC = ("train-sec", "--source", DEVICES[0], "--preset", "smoke", "--max-steps", "3", "--batch-size", "4", "-q")
COMMANDS = {
    "smoke": TRAIN,
    "xperia1v-pixel3": (*TRAIN, "--pair", "xperia1v:pixel3"),
    "refiner-smoke": PRETRAIN,
    "sec-xperia1v-eq-mixup-0": (*TRAIN_SEC, "--method", "eq+mixup"),
}
"""Runs by the names that they get if none is given."""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with sounds for every kind of training."""
    monkeypatch.setenv("UMC_PRETRAIN_DEVICES_PER_WORLD", "2")  # what can be simulated in a second
    monkeypatch.setenv("UMC_PRETRAIN_SOUNDS_PER_WORLD", "2")
    root, lines = tmp_path / "workspace", ["path,device,label,split,recording"]
    for split, n_sounds in (("train-mc", 12), ("train-sec", 8)):
        for number in range(n_sounds):
            for index, device in enumerate(DEVICES):
                name, label = f"{device}/{split}/{number}.wav", "low" if number % 2 else "high"
                write_audio(root / "data" / name, noise(0.93, seed=100 * index + number))
                lines.append(f"{name},{device},{label},{split},{split}-{number}")
    (root / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def stop_after_first_step(monkeypatch: pytest.MonkeyPatch, umc: Umc, *command: str) -> Run:
    with monkeypatch.context() as patched:
        patched.setattr(QuietTraining, "should_stop", lambda _: True)
        return umc(*command)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_printed_command_resumes_the_run(
    umc: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stopped = stop_after_first_step(monkeypatch, umc, *COMMANDS[name])
    assert stopped.exit_code == 130, stopped.stderr
    printed = stopped.stderr.partition("Resume with: ")[2].partition("\n")[0]
    assert f"--name {name} --resume" in printed
    assert not (workspace / "checkpoints").exists()
    resumed = umc(*shlex.split(printed)[1:], "--json", "--quiet")
    assert resumed.exit_code == 0, resumed.stderr
    assert (resumed.json["n_steps"], resumed.json["total_steps"]) == (3, 3)
    # Without the name it is the same run still.
    assert umc(*COMMANDS[name], "--resume", "--json").json["n_steps"] == 3


@pytest.mark.parametrize("name", ["smoke", "sec-xperia1v-eq-mixup-0"])
def test_an_interrupt_before_the_first_step_says_that_there_is_nothing_to_resume(
    umc: Umc, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(QuietTraining, "preparing", interrupt)
        interrupted = umc(*COMMANDS[name])
    assert interrupted.exit_code == 130
    assert "before the first step. Run the same command again" in interrupted.stderr
    assert "--resume" not in interrupted.stderr
    assert umc(*COMMANDS[name], "--json").json["n_steps"] == 3


@pytest.mark.parametrize("name", ["smoke", "sec-xperia1v-eq-mixup-0"])
def test_a_schedule_that_the_run_has_passed_is_refused_and_changes_nothing(
    umc: Umc, workspace: Path, name: str
) -> None:
    steps = ("--epochs", "2", "--max-steps", "1000")
    command = COMMANDS[name]
    assert umc(*command, *steps).exit_code == 0
    folder = workspace / "runs" / name
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for options, message in (
        (("--max-steps", "1"), "steps and cannot end at step 1"),
        (("--epochs", "1"), "cannot end after epoch 1"),
    ):
        refused = umc(*command, *steps, *options, "--resume")
        assert refused.exit_code == 2
        assert message in refused.stderr
        assert "Hint: give " + options[0] in refused.stderr
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert umc(*command, *steps, "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (TRAIN_SEC, ("--backbone", "vgg99"), "unknown backbone 'vgg99'"),
        (TRAIN_SEC, ("--backbone", "vit_b_16"), "does not take segments of 80 x 80"),
        (TRAIN_SEC, ("--method", "residual-norm", "--backbone", "alexnet"), "where the stages of backbone"),
        (TRAIN_SEC, ("--method", "eq", "--converter", "refiner"), "does not convert with 'refiner'"),
        (TRAIN_SEC, ("--method", "eq", "--targets", "nokia"), "unknown device 'nokia'"),
        (TRAIN_SEC, ("--method", "mc"), "mc has no checkpoint"),
        (TRAIN_SEC, ("--method", "unified-real", "--checkpoint", "absent.safetensors"), "cannot read checkpoint"),
        (TRAIN_SEC, ("--method", "eq", "--shards", "nowhere"), "no shards in nowhere"),
        (TRAIN, ("--compute-device", "cuda:7"), "cuda:7"),
        (TRAIN, ("--devices", "nokia"), "no recordings of 'nokia'"),
        (PRETRAIN, ("--preset", "huge"), "unknown preset 'huge'"),
    ],
)
def test_what_cannot_work_is_refused_before_the_work_and_leaves_no_folder(
    umc: Umc, workspace: Path, command: tuple[str, ...], options: tuple[str, ...], message: str
) -> None:
    refused = umc(*command, *options)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert not (workspace / "runs").exists()


def test_a_run_of_another_kind_is_said_to_be_resumed_by_its_own_command(umc: Umc) -> None:
    assert umc(*TRAIN_SEC, "--name", "mine").exit_code == 0
    refused = umc("train", "--name", "mine", "--resume")
    assert refused.exit_code == 2
    assert "Hint: resume it with: umc train-sec --name mine --resume" in refused.stderr
    printed = refused.stderr.partition("resume it with: umc ")[2].partition("\n")[0]
    assert umc(*shlex.split(printed), "--json").json["n_steps"] == 3
