"""Recordings whose reading does not end: a disk or network that does not answer, a pipe that nobody fills."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT
from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from tests.test_resume import leftovers, shards
from umc_cli.audio import segments
from umc_cli.audio.files import AudioHeader, read_header
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, read_segments_within
from umc_cli.conversion import streaming
from umc_cli.errors import InputError
from umc_cli.workflows import convert as workflow

Umc = Callable[..., Run]

COMMAND = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--shard-size", "2")

HANGING = f"""
import os, sys
from umc_cli.cli.app import main
from umc_cli.conversion import streaming
from umc_cli.workflows import convert

plan_files, read_within = convert.plan_files, streaming.read_segments_within

def read_others_in_any_time(time_limit_s, path, *others):
    return read_within(time_limit_s if path.is_fifo() else 60, path, *others)

def replace_when_planned(clips, folder, settings, workers, time_limit_s, *others):
    planned = plan_files(clips, folder, settings, workers, 60, *others)
    for name in ("a/good0.wav", "b/good1.wav"):
        os.rename(f"data/{SOURCE}/{{name}}", name[2:])
        os.mkfifo(f"data/{SOURCE}/{{name}}")
    return planned

convert.plan_files = replace_when_planned
streaming.read_segments_within = read_others_in_any_time
sys.argv = ["umc", *sys.argv[1:]]
main()
"""
"""`umc` for which two recordings become pipes between planning and reading: to open one waits for a writer."""

STOPPED = """
import os, signal, time
from pathlib import Path
from umc_cli.audio import segments
from umc_cli.audio.segment_settings import SegmentSettings

def read_slowly(*_):
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.3)
    return "read"

segments.read_segments = read_slowly
print(segments.read_segments_within(2.0, Path("x.wav"), None, range(1), SegmentSettings()))
"""


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let reading of files with `good0` in their name wait until the test is over; others have a minute."""
    may_end = threading.Event()
    read_within, plan_files = streaming.read_segments_within, workflow.plan_files

    def read_others_in_any_time(time_limit_s: float, path: Path, *others: Any) -> segments.WaveformSegments:
        return read_within(time_limit_s if "good0" in path.name else 60, path, *others)

    def plan_in_any_time(*arguments: Any) -> Any:
        *first, _, folder = arguments
        return plan_files(*first, 60, folder)

    def read(path: Path, *others: object) -> segments.WaveformSegments:
        if "good0" in path.name:
            may_end.wait(60)
        return read_segments(path, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(segments, "read_segments", read)
    monkeypatch.setattr(streaming, "read_segments_within", read_others_in_any_time)
    monkeypatch.setattr(workflow, "plan_files", plan_in_any_time)
    yield may_end
    may_end.set()


def test_what_is_read_in_time_is_what_reading_gives(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "x.wav", noise(3))
    header, settings = read_header(path), SegmentSettings()
    for found, wanted in zip(
        read_segments_within(60, path, header, range(0, 61_440, 20_480), settings),
        read_segments(path, header, range(0, 61_440, 20_480), settings),
        strict=True,
    ):
        assert (found == wanted).all()
    with pytest.raises(InputError, match="does not exist"):
        read_segments_within(60, tmp_path / "gone.wav", header, range(1), settings)


@pytest.mark.usefixtures("hang")
def test_waiting_ends(tmp_path: Path) -> None:
    before = time.monotonic()
    with pytest.raises(InputError, match=r"reading took longer than 0.2 s .*--reader-timeout-s"):
        read_segments_within(0.2, tmp_path / "good0.wav", AudioHeader(22_050, 1, 1), range(1), SegmentSettings())
    assert 0.2 <= time.monotonic() - before < 10


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_recording_that_hangs_is_listed_and_the_others_are_converted(
    workspace: Path, umc: Umc, hang: threading.Event, workers: str
) -> None:
    run = umc(*COMMAND, "--workers", workers, "--reader-timeout-s", "0.3", "--json")
    assert run.exit_code == 1
    assert [(entry["path"], entry["reason"]) for entry in run.json["failed"]] == [
        (f"data/{SOURCE}/a/good0.wav", "reading took longer than 0.3 s")
    ]
    assert run.json["n_segments"] == 6
    # Still hanging: asked again before the run goes on, and kept as failed.
    again = umc(*COMMAND, "--reader-timeout-s", "0.3", "--json")
    assert (again.exit_code, again.json["n_shards_written"]) == (1, 0)
    hang.set()
    assert umc(*COMMAND).exit_code == 0
    assert umc(*COMMAND, "--output", "undisturbed").exit_code == 0
    assert shards(workspace / "converted") == shards(workspace / "undisturbed")


def test_a_process_with_hanging_reads_ends(workspace: Path, umc: Umc) -> None:
    run = subprocess.run(
        [sys.executable, "-c", HANGING, *COMMAND, "--workers", "2", "--reader-timeout-s", "1"],
        cwd=workspace,
        env={"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1, run.stderr
    assert run.stderr.count("reading took longer than 1 s") == 2
    assert "Traceback" not in run.stderr
    assert not leftovers(workspace / "converted")
    assert len(shards(workspace / "converted")) == 4
    for name in ("a/good0.wav", "b/good1.wav"):
        (workspace / name[2:]).replace(workspace / f"data/{SOURCE}/{name}")
    assert umc(*COMMAND).exit_code == 0
    assert umc(*COMMAND, "--output", "undisturbed").exit_code == 0
    assert shards(workspace / "converted") == shards(workspace / "undisturbed")


def test_a_stopped_process_has_not_been_reading(tmp_path: Path) -> None:
    """Ctrl-Z for longer than the time-out must not make failures of what is being read."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert out == "read\n", err
