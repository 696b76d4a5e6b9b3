"""What fails around a run while it works: files that change, a place that cannot be written any more, clock, disk."""

import itertools
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from tests.test_resume import held, leftovers, shards
from umc_cli.training.metrics import read_metrics
from umc_cli.workflows import convert as workflow

Umc = Callable[..., Run]

TRAIN = (
    *("train", "--preset", "smoke", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4", "--no-publish"),
    *("--quiet", "--log-every", "1", "--save-every", "3", "--name"),
)
CONVERT = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--shard-size", "2")


def test_a_file_that_changes_after_planning_is_listed_and_the_next_run_refuses_to_mix(
    workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = workspace / f"data/{SOURCE}/a/good0.wav"
    before = changed.read_bytes()
    plan_files = workflow.plan_files
    monkeypatch.setattr(
        workflow, "plan_files", lambda *args: (plan_files(*args), write_audio(changed, noise(0.95, seed=9)))[0]
    )
    run = umc(*CONVERT)
    monkeypatch.undo()
    assert run.exit_code == 1
    assert "Traceback" not in run.stderr
    (line,) = [line for line in (workspace / "converted/failed.csv").read_text().splitlines() if "good0" in line]
    assert "it ends after 0.95 s although its header promises 2.00 s" in line  # the header that was planned
    monkeypatch.chdir(workspace)
    assert umc(*CONVERT).exit_code == 2
    changed.write_bytes(before)
    assert umc(*CONVERT).exit_code == 0
    assert umc("shards", "verify", "converted").exit_code == 0


def test_a_place_that_cannot_be_written_any_more_is_a_fault_that_the_next_run_gets_over(
    workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert umc(*CONVERT, "--output", "whole").exit_code == 0
    folder = workspace / "converted" / TARGET
    plan_files = workflow.plan_files

    def plan_and_lose(*args: object) -> object:
        folder.parent.mkdir(exist_ok=True)
        folder.write_text("a file, where the shards' folder was")
        return plan_files(*args)

    monkeypatch.setattr(workflow, "plan_files", plan_and_lose)
    run = umc(*CONVERT)
    monkeypatch.undo()
    monkeypatch.chdir(workspace)
    assert run.exit_code == 3
    assert str(folder) in run.stderr
    assert "Traceback" not in run.stderr
    folder.unlink()
    assert umc(*CONVERT).exit_code == 0
    assert shards(workspace / "converted") == shards(workspace / "whole")
    assert not leftovers(workspace / "converted")


def test_a_clock_that_runs_backwards_changes_nothing(
    workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert umc(*CONVERT, "--output", "whole").exit_code == 0
    backwards = (1e9 - 3600 * index for index in itertools.count())
    monkeypatch.setattr(time, "time", lambda: next(backwards))
    assert umc(*CONVERT).exit_code == 0
    assert umc(*CONVERT).exit_code == 0
    assert shards(workspace / "converted") == shards(workspace / "whole")


def test_no_code_asks_for_the_time_of_day() -> None:
    asks = re.compile(r"\btime\.time\(|datetime\.now|utcnow|\bst_mtime|\blocaltime\b")
    # Times of files for equality alone; dates for people to read, and to tell the latest pairs.
    exempt = {PROJECT / "umc_cli/audio/modification.py", PROJECT / "umc_cli/runtime.py"}
    paths = set((PROJECT / "umc_cli").rglob("*.py")) - exempt
    found = [path for path in paths if asks.search(path.read_text(encoding="utf-8"))]
    assert not found


def record_more(workspace: Path) -> None:
    """Add twenty recordings of either of two devices, enough to train on."""
    for device in (SOURCE, TARGET):
        for index in range(20):
            write_audio(workspace / f"data/{device}/a/more{index}.wav", noise(1.0, seed=index))


@pytest.mark.parametrize("command", [TRAIN, ("train-sec", "--source", SOURCE, "--preset", "smoke", "--name")])
def test_of_two_trainings_at_once_the_second_is_refused(workspace: Path, umc: Umc, command: tuple[str, ...]) -> None:
    record_more(workspace)
    with held(workspace / "runs/mine"):
        run = umc(*command, "mine", "--max-steps", "1")
    assert run.exit_code == 3, run.stderr
    assert "another umc run is writing to" in run.stderr
    assert {path.name for path in (workspace / "runs/mine").iterdir()} <= {".umc.lock"}


def test_a_training_whose_folder_is_lost_is_a_fault_and_goes_on_once_it_is_back(
    workspace: Path, run_umc: Umc, start_umc: Callable[..., Any]
) -> None:
    record_more(workspace)
    folder, elsewhere = workspace / "runs/lost", workspace / "elsewhere"
    with start_umc(*TRAIN, "lost", "--epochs", "100000", "--max-steps", "100000", cwd=workspace) as process:
        while not (folder / "state.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        folder.rename(elsewhere)
        folder.write_text("a file, where the run's folder was")
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 3, said
    assert "cannot write" in said
    assert "Traceback" not in said
    folder.unlink()
    elsewhere.rename(folder)
    total = str(int(read_metrics(folder)[-1]["step"]) + 3)
    for name, options in (("lost", ("--resume",)), ("whole", ("--epochs", "100000"))):
        assert run_umc(*TRAIN, name, *options, "--max-steps", total, cwd=workspace, timeout=300).exit_code == 0
    lost, whole = (
        [row | {"seconds": 0.0} for row in read_metrics(workspace / "runs" / name)] for name in ("lost", "whole")
    )
    assert len(whole) == int(total)
    assert lost == whole
    assert not leftovers(folder)


def test_a_training_that_fills_the_disk_keeps_its_last_state_and_goes_on(workspace: Path, run_umc: Umc) -> None:
    record_more(workspace)
    assert run_umc(*TRAIN, "whole", "--max-steps", "6", cwd=workspace).exit_code == 0
    assert run_umc(*TRAIN, "full", "--max-steps", "3", cwd=workspace).exit_code == 0
    state = (workspace / "runs/full/state.safetensors").read_bytes()
    limit = len(state) // 2
    run = run_umc(*TRAIN, "full", "--resume", "--max-steps", "6", cwd=workspace, largest_file=limit)
    assert run.exit_code == 3, run.stderr
    assert "no room left to write" in run.stderr
    assert "Traceback" not in run.stderr
    assert (workspace / "runs/full/state.safetensors").read_bytes() == state
    assert run_umc(*TRAIN, "full", "--resume", "--max-steps", "6", cwd=workspace).exit_code == 0
    whole, full = (
        [[value for name, value in row.items() if name.endswith("_loss")] for row in read_metrics(folder)]
        for folder in (workspace / "runs/whole", workspace / "runs/full")
    )
    assert len(whole) == 6
    assert whole == full
    assert not leftovers(workspace / "runs/full")
