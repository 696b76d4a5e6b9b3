"""`umc train --pretrain simulated` when a process of those that simulate devices dies, or the one that trains does."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.samples import SOURCE, Run, noise, write_audio
from tests.slow_umc import GO_ON
from umc_cli.training.metrics import read_metrics

Start = Callable[..., "subprocess.Popen[bytes]"]

COMMAND = (
    *("train", "--pretrain", "simulated", "--preset", "smoke", "--quiet"),
    *("--log-every", "1", "--save-every", "5", "--no-publish", "--name"),
)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A workspace with twelve sounds in the split `train-mc`."""
    root = tmp_path / "workspace"
    rows = [f"{SOURCE}/hiss/{index:02}.wav,{SOURCE},hiss,train-mc" for index in range(12)]
    for index in range(12):
        write_audio(root / f"data/{SOURCE}/hiss/{index:02}.wav", noise(1.0, seed=index))
    (root / "data/manifest.csv").write_text("\n".join(["path,device,label,split", *rows]) + "\n")
    return root


def simulating(process_id: int) -> list[int]:
    """Return the processes that simulate for a process: its own, or those that are forked for it."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    found = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if path.read_text().strip() == f"of-{process_id}":
                found.append(int(path.parent.name))
    return found


def is_alive(process_id: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(is_so: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while not is_so() and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.01)


def losses(folder: Path) -> list[dict[str, float]]:
    return [row | {"seconds": 0.0} for row in read_metrics(folder)]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
def test_a_dead_process_is_a_fault_and_the_run_goes_on(
    sounds: Path, start_umc: Start, run_umc: Callable[..., Run]
) -> None:
    steps, one_process = ("--epochs", "5"), ("--workers", "1")
    with start_umc(*COMMAND, "killed", *steps, "--workers", "2", cwd=sounds, held_after=0) as process:
        wait_until(lambda: losses(sounds / "runs/killed"), process)
        os.kill(simulating(process.pid)[0], signal.SIGKILL)
        (sounds / GO_ON).touch()
        said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 3, said
    assert "a process that simulates devices ended" in said
    assert "--resume" in said
    assert "Traceback" not in said
    assert run_umc(*COMMAND, "killed", *one_process, "--resume", cwd=sounds, timeout=120).exit_code == 0
    assert run_umc(*COMMAND, "whole", *steps, *one_process, cwd=sounds, timeout=120).exit_code == 0
    assert losses(sounds / "runs/killed") == losses(sounds / "runs/whole")
    assert len(losses(sounds / "runs/whole")) == 25


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_one_that_trains(sounds: Path, start_umc: Start, how: signal.Signals) -> None:
    with start_umc(*COMMAND, "killed", "--epochs", "10000", "--workers", "2", cwd=sounds) as process:
        wait_until(lambda: losses(sounds / "runs/killed"), process)
        others = simulating(process.pid)
        process.send_signal(how)
        process.wait(60)
    assert len(others) == 2
    deadline = time.monotonic() + 20
    while any(map(is_alive, others)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [other for other in others if is_alive(other)]
    for other in left:
        os.kill(other, signal.SIGKILL)
    assert not left
