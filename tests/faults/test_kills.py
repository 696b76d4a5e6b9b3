"""Runs that are ended at random moments, again and again, and come out as if undisturbed.

By default three moments of each command, one with each signal; UMC_FAULT_KILLS=150 tries 50 with each.
"""

import logging
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from itertools import count, cycle, islice
from pathlib import Path

import pytest
import torch

from tests.conftest import N_KILLS, run_here
from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from tests.test_resume import leftovers, shards
from umc_cli.checkpoint import read_checkpoint
from umc_cli.cli.app import main
from umc_cli.training.metrics import read_metrics

Start = Callable[..., "subprocess.Popen[bytes]"]

ENDS = {signal.SIGKILL: -9, signal.SIGTERM: -15, signal.SIGINT: 130}
"""What a process that gets the signal ends with."""

TRAINING = (
    *("--preset", "smoke", "--batch-size", "4", "--quiet"),
    *("--log-every", "1", "--save-every", "5", "--validate-every", "9", "--max-steps", "18"),
)
COMMANDS = {
    "convert": (
        *("convert", "--source", SOURCE, "--targets", f"{TARGET},xperia1", "--converter", "eq_noise"),
        *("--shard-size", "2", "--output"),
    ),
    "train": (
        *("train", *TRAINING, "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--no-publish"),
        "--name",
    ),
    "train-sec": (
        *("train-sec", *TRAINING, "--source", SOURCE, "--method", "eq+freq-mixstyle+mixup"),
        "--name",
    ),
}
COMMANDS["update"] = (*COMMANDS["convert"][:-1], "--update", "--output")
"""All but the name of the result."""


@pytest.fixture
def recordings(tmp_path: Path, name: str) -> Path:
    """A workspace with clips of the source, many to convert, and 20 of two other devices; one cannot be decoded."""
    root = tmp_path / "workspace"
    for device, n_clips in ((SOURCE, 60 if name == "convert" else 20), (TARGET, 20), ("xperia1", 20)):
        for index in range(n_clips):
            write_audio(root / f"data/{device}/{'ab'[index % 2]}/{index:03}.flac", noise(seed=index))
    broken = root / f"data/{SOURCE}/b/009.flac"
    broken.write_bytes(broken.read_bytes()[:30_000])
    return root


def check_files(found: Path, whole: Path) -> None:
    """Fail where a file under its final name is not one that the undisturbed run made on its way."""
    assert shards(found).items() <= shards(whole).items()
    if (found / "run.json").exists():
        assert (found / "run.json").read_bytes() == (whole / "run.json").read_bytes()
    rows = losses(found)
    assert rows == losses(whole)[: len(rows)]
    for path in found.glob("*.safetensors"):
        read_checkpoint(path)


def check_result(found: Path, whole: Path) -> None:
    """Fail where a finished result differs from that of the undisturbed run."""
    assert not leftovers(found)
    assert shards(found) == shards(whole)
    assert losses(found) == losses(whole)
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in whole.iterdir())
    for name in ("run.json", "failed.csv", "updates.json"):
        if (whole / name).exists():
            assert (found / name).read_bytes() == (whole / name).read_bytes()
    for name in ("best.safetensors", "last.safetensors"):
        if (whole / name).exists():
            mine, theirs = (read_checkpoint(folder / name).tensors for folder in (found, whole))
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def losses(folder: Path) -> list[dict[str, float]]:
    return [row | {"seconds": 0.0} for row in read_metrics(folder)]


def progress(folder: Path) -> tuple[int, int]:
    """Return how many shards and how many rows of losses there are."""
    return len(list(folder.rglob("*.h5"))), len(read_metrics(folder))


@pytest.mark.timeout(600 + 60 * N_KILLS)
@pytest.mark.parametrize("name", COMMANDS)
def test_runs_ended_at_random_moments_come_out_as_if_undisturbed(
    recordings: Path,
    start_umc: Start,
    run_umc: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    def command(result: str) -> tuple[str, ...]:
        resume = ("--resume",) if (recordings / "runs" / result / "settings.json").exists() else ()
        return (*COMMANDS[name], f"runs/{result}" if name in ("convert", "update") else result, *resume)

    if name == "update":  # of a run without every fifth recording, one of which was longer
        (recordings / "away").mkdir()
        for path in (recordings / f"data/{SOURCE}").rglob("??[05].flac"):
            path.rename(recordings / "away" / f"{path.parent.name}{path.name}")
        write_audio(recordings / f"data/{SOURCE}/a/002.flac", noise(3.0))
        run_umc(*COMMANDS["convert"], "earlier", cwd=recordings, timeout=300)
        for path in (recordings / "away").iterdir():
            path.rename(recordings / f"data/{SOURCE}" / path.name[0] / path.name[1:])
        write_audio(recordings / f"data/{SOURCE}/a/002.flac", noise(seed=2))

    def begin(result: str) -> str:
        if name == "update":
            shutil.copytree(recordings / "earlier", recordings / "runs" / result)
        return result

    def check_end(run: Run) -> int:
        assert run.exit_code in (0, 1), run.stderr
        assert "Traceback" not in run.stderr
        return run.exit_code

    def run_to_its_end(result: str) -> int:
        return check_end(run_umc(*command(result), cwd=recordings, timeout=300))

    whole = recordings / "runs/whole"
    # In this process, which has a hash seed of its own: whatever depends on it would differ in the forks.
    monkeypatch.chdir(recordings)
    exit_code = check_end(run_here(monkeypatch, capfd, main, [*command(begin("whole"))]))
    started = time.monotonic()
    run_to_its_end(begin("measured"))
    longest_s = time.monotonic() - started
    check_result(recordings / "runs/measured", whole)
    moments = random.Random(f"{name} {N_KILLS}")
    met: Counter[str] = Counter()
    results = (f"ended{number}" for number in count())
    result = begin(next(results))
    for how in islice(cycle(ENDS), N_KILLS):
        folder = recordings / "runs" / result
        before = progress(folder)
        with start_umc(*command(result), cwd=recordings) as process:
            # More of the later ones: a third of the time is over before the work begins.
            time.sleep(moments.triangular(0, longest_s, longest_s))
            process.send_signal(how)
            said = process.communicate(timeout=120)[1].decode()
        check_files(folder, whole)
        if process.returncode == exit_code:
            met["after"] += 1
            check_result(folder, whole)
            result = begin(next(results))
            continue
        # While Python itself starts or ends, Ctrl-C is its own affair.
        if (how, process.returncode) != (signal.SIGINT, -signal.SIGINT):
            assert process.returncode == ENDS[how], said
            assert "Traceback" not in said
        met["during" if progress(folder) != before else "before"] += 1
        met["within a file"] += bool(leftovers(folder))
    assert run_to_its_end(result) == exit_code
    check_result(recordings / "runs" / result, whole)
    logging.getLogger(__name__).info("%s: %d signals, %s", name, N_KILLS, dict(met))
