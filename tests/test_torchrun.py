"""`umc train` and `umc train-sec` as torchrun starts them: one result, and any number of processes goes on with it."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests import forked_umc
from tests.forked_umc import Server
from tests.samples import Run, noise, write_audio
from umc_cli.training.metrics import read_metrics

DEVICES = ("xperia1v", "pixel3", "xperia1")
TRAIN = (
    *("train", "--preset", "smoke", "--name", "run", "--log-every", "1", "--batch-size", "6", "--precision", "fp32"),
    *("--ngf", "4", "--n-blocks", "1", "--ndf", "4"),
)
TRAIN_SEC = (
    *("train-sec", "--preset", "smoke", "--name", "run", "--source", DEVICES[0], "--log-every", "1"),
    *("--batch-size", "6", "--precision", "fp32"),
)


@pytest.fixture
def recordings(workspace: Path) -> Path:
    lines = ["path,device,label,split"]
    for split in ("train-mc", "train-sec"):
        for device in DEVICES:
            for label in ("hiss", "hum"):
                for index in range(3):
                    name = f"{device}/{label}/{split}-{index}.wav"
                    write_audio(workspace / "data" / name, noise(1.0, seed=index) * (0.2 if label == "hum" else 1.0))
                    lines.append(f"{name},{device},{label},{split}")
    (workspace / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    return workspace


def run_in_two(run_script: Callable[..., Run], server: Server | None, folder: Path, *arguments: str) -> Run:
    """Run a command as torchrun starts it in two processes; with a server both are forked from it."""
    command = ["-m", "umc_cli", *arguments]
    if server:
        command = ["--no-python", sys.executable, forked_umc.__file__, "run", str(server.path), *command]
    return run_script("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command, cwd=folder)


def losses(folder: Path) -> list[list[float]]:
    rows = read_metrics(folder / "runs/run")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [[row[name] for name in sorted(row) if name.endswith("_loss") and "validation" not in name] for row in rows]


@pytest.mark.parametrize("command", [TRAIN, TRAIN_SEC], ids=["train", "train-sec"])
@pytest.mark.xdist_group("torchrun")
def test_two_processes_begin_and_one_goes_on_and_the_other_way_round(
    recordings: Path,
    run_umc: Callable[..., Run],
    run_script: Callable[..., Run],
    server: Server | None,
    command: tuple[str, ...],
) -> None:
    runs = {}
    for name, counts in {"two, then one": (2, 1), "one, then two": (1, 2)}.items():
        for steps, count in zip(("2", "4"), counts, strict=True):
            more = ("--resume",) if steps == "4" else ("--overwrite",)
            asked = (*command, *more, "--max-steps", steps, "--json")
            alone = partial(run_umc, cwd=recordings, timeout=300)
            run = alone(*asked) if count == 1 else run_in_two(run_script, server, recordings, *asked)
            assert run.exit_code == 0, run.stderr
            # One result on standard output, whatever the number of processes.
            assert json.loads(run.stdout)["n_steps"] == int(steps)
        runs[name] = losses(recordings)
    first, second = runs.values()
    assert len(first) == len(second) == 4
    if command == TRAIN:
        # The same batches: only rounding differs.
        assert [pytest.approx(row, rel=0.02) for row in first] == second


def test_an_error_of_all_processes_is_one_exit(recordings: Path, run_script: Callable[..., Run]) -> None:
    """Here torchrun starts processes from nothing."""
    run = run_in_two(run_script, None, recordings, "train", "--pretrain", "simulated", "--preset", "smoke")
    assert run.exit_code == 1  # torchrun's own
    assert "umc train --pretrain works in one process only" in run.stderr
    assert not (recordings / "runs").exists()
