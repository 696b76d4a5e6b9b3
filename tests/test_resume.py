"""Runs that end early, at any moment and for any reason, and the ones that go on after them."""

import hashlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.samples import SOURCE, TARGET, Run, damage_flac, noise, write_audio
from tests.slow_umc import GO_ON
from umc_cli.shards.run_folder import locked

Umc = Callable[..., Run]
Start = Callable[..., "subprocess.Popen[bytes]"]

N_FILES = 40
COMMAND = (
    "convert",
    "--source",
    SOURCE,
    "--targets",
    f"{TARGET},pixel3-back",
    "--converter",
    "eq",
    "--shard-size",
    "2",
)
N_SHARDS = 2 * N_FILES


@pytest.fixture
def busy_workspace(workspace: Path) -> Path:
    """A workspace with 40 clips, of which one cannot be decoded: 40 shards for each of two targets."""
    for index in range(4, N_FILES):
        write_audio(workspace / f"data/{SOURCE}/a/x{index:02}.flac", noise(seed=index))
    bad = workspace / f"data/{SOURCE}/a/x10.flac"
    damage_flac(bad)
    return workspace


def shards(root: Path) -> dict[str, str]:
    """Return the checksum of every shard below `root`."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.h5"))
    }


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("*.partial-*"))


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Let another thread hold the lock of a folder."""
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(root):
            is_held.set()
            may_end.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert is_held.wait(60)
        yield
    finally:
        may_end.set()
        other.join()


def wait_for_shards(process: "subprocess.Popen[bytes]", root: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(root.glob("*/*.h5"))) < number and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def stop(process: "subprocess.Popen[bytes]", root: Path, number: int, how: signal.Signals) -> str:
    """Send a signal when there are `number` shards; return what the process said."""
    wait_for_shards(process, root, number)
    process.send_signal(how)
    return process.communicate(timeout=60)[1].decode()


def test_a_run_killed_again_and_again_ends_as_if_undisturbed(busy_workspace: Path, umc: Umc, start_umc: Start) -> None:
    root = busy_workspace / "converted"
    for how, exit_code in ((signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, 130)):
        enough = len(shards(root)) + 5
        with start_umc(*COMMAND, cwd=busy_workspace, slow_after=5) as process:
            said = stop(process, root, enough, how)
        assert process.returncode == exit_code
        assert "Traceback" not in said
        assert enough <= len(shards(root)) < N_SHARDS
        if how is signal.SIGINT:
            assert "run the same command again" in said
            assert not leftovers(root)
    kept = len(shards(root))
    run = umc(*COMMAND, "--json")
    assert run.exit_code == 1
    assert (run.json["n_shards_kept"], run.json["n_shards_written"]) == (kept, N_SHARDS - kept)
    assert (run.json["n_files"], run.json["n_segments"]) == (N_FILES - 1, 2 * (N_FILES - 1))
    assert [entry["path"] for entry in run.json["failed"]] == [f"data/{SOURCE}/a/x10.flac"]
    assert not leftovers(root)
    assert umc("shards", "verify", "converted").exit_code == 0
    assert umc(*COMMAND, "--output", "undisturbed").exit_code == 1
    assert shards(root) == shards(busy_workspace / "undisturbed")
    assert len(shards(root)) == N_SHARDS


def test_rows_do_not_depend_on_the_number_of_workers(busy_workspace: Path, umc: Umc) -> None:
    for workers in ("1", "4"):
        assert umc(*COMMAND, "--workers", workers, "--output", f"by{workers}").exit_code == 1
    assert shards(busy_workspace / "by1") == shards(busy_workspace / "by4")


def test_a_finished_run_is_kept_whole_even_where_inputs_failed(busy_workspace: Path, umc: Umc) -> None:
    assert umc(*COMMAND).exit_code == 1
    before = {path: path.stat().st_mtime_ns for path in busy_workspace.rglob("*.h5")}
    run = umc(*COMMAND, "--json")
    assert (run.json["n_shards_kept"], run.json["n_shards_written"]) == (N_SHARDS, 0)
    assert {path: path.stat().st_mtime_ns for path in busy_workspace.rglob("*.h5")} == before


def test_targets_can_be_added(workspace: Path, umc: Umc) -> None:
    command = ("convert", "--source", SOURCE, "--converter", "eq", "--json", "--targets")
    assert umc(*command, TARGET).exit_code == 0
    run = umc(*command, f"{TARGET},pixel3-back")
    assert (run.json["n_shards_kept"], run.json["n_shards_written"]) == (1, 1)
    assert umc("shards", "verify", "converted", "--json").json["n_verified"] == 2


def test_a_second_ctrl_c_ends_a_run_at_once(busy_workspace: Path, umc: Umc, start_umc: Start) -> None:
    with start_umc(*COMMAND, cwd=busy_workspace, slow_after=5) as process:
        wait_for_shards(process, busy_workspace / "converted", 5)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "same command" in said
    assert umc(*COMMAND).exit_code == 1
    assert umc("shards", "verify", "converted").exit_code == 0


@pytest.mark.parametrize("moment", ["find_recordings", "make_ready", "plan_files", "settle_generations", "stream"])
def test_ctrl_c_at_any_stage(workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    from umc_cli.conversion import streaming
    from umc_cli.workflows import convert as workflow

    for device, seed in ((SOURCE, 0), (TARGET, 50)):
        for index in range(6):
            write_audio(workspace / f"data/{device}/a/x{index}.wav", noise(5, seed=seed + index))
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "quantile")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(streaming if moment == "stream" else workflow, moment, interrupt)
        run = umc(*command)
    assert run.exit_code == 130
    assert "Interrupted" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert not leftovers(workspace)
    assert umc(*command).exit_code == 0


@pytest.mark.parametrize("command", [["shards", "verify", "converted"], ["devices"], ["convert"]])
def test_ctrl_c_in_any_command(umc: Umc, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    from umc_cli import config
    from umc_cli.cli import convert as convert_command
    from umc_cli.workflows import shards as inspect_shards

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "find_workspace", interrupt)
    monkeypatch.setattr(convert_command, "find_workspace", interrupt)
    monkeypatch.setattr(inspect_shards, "verify_shards", interrupt)
    run = umc(*command)
    assert run.exit_code == 130
    assert "Traceback" not in run.stderr


def test_of_two_runs_at_once_the_second_is_refused(workspace: Path, umc: Umc) -> None:
    with held(workspace / "converted"):
        run = umc(*COMMAND)
    assert run.exit_code == 3
    assert "another umc run is writing to" in run.stderr
    assert not list(workspace.glob("converted/*/*.h5"))
    assert umc(*COMMAND).exit_code == 0


def test_of_two_processes_at_once_the_second_is_refused(busy_workspace: Path, umc: Umc, start_umc: Start) -> None:
    root = busy_workspace / "converted"
    with start_umc(*COMMAND, cwd=busy_workspace, held_after=2) as process:
        wait_for_shards(process, root, 2)
        run = umc(*COMMAND)
        (busy_workspace / GO_ON).touch()
        process.communicate(timeout=60)
    assert run.exit_code == 3
    assert "another umc run is writing to" in run.stderr
    assert process.returncode == 1
    assert len(shards(root)) == N_SHARDS
    assert umc("shards", "verify", "converted").exit_code == 0


@pytest.mark.parametrize("n_bytes", [100, 100_000])
def test_a_full_disk_is_a_fault_that_the_next_run_gets_over(
    busy_workspace: Path, umc: Umc, run_umc: Umc, n_bytes: int
) -> None:
    """A limit on the size of files stands for the full disk: it stops run.json, or the shards at different moments."""
    root = busy_workspace / "converted"
    command = (*COMMAND[:-1], "32")
    run = run_umc(*command, cwd=busy_workspace, largest_file=n_bytes)
    assert run.exit_code == 3, run.stderr
    assert "no room left to write" in run.stderr
    assert "free disk space" in run.stderr
    assert "Traceback" not in run.stderr
    assert "Exception ignored" not in run.stderr
    assert not leftovers(root)
    assert not shards(root)
    assert umc(*command).exit_code == 1
    assert umc("shards", "verify", "converted").exit_code == 0


def test_only_leftovers_of_our_own_are_removed(workspace: Path, umc: Umc) -> None:
    ours = [
        workspace / "converted" / name
        for name in ("run.json.partial-0123abcd", f"{TARGET}/shard-00000.h5.partial-00000000")
    ]
    theirs = [workspace / name for name in ("converted/notes.partial-draft", f"data/{SOURCE}/a/x.partial-0123abcd")]
    for path in (*ours, *theirs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert umc(*COMMAND).exit_code == 0
    assert umc(*COMMAND, "--output", ".").exit_code == 0
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in theirs)


@pytest.mark.realdata
def test_real_recordings_survive_a_kill(tmp_path: Path, realdata: Path, umc: Umc, start_umc: Start) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / f"data/{SOURCE}").symlink_to(realdata / "events")
    label = min(path.name for path in (realdata / "events").iterdir())
    command = ("convert", "--source", SOURCE, "--targets", f"{TARGET},pixel3-back", "--shard-size", "16")
    command += ("--label", label)
    with start_umc(*command, cwd=tmp_path, slow_after=3) as process:
        stop(process, tmp_path / "converted", 3, signal.SIGKILL)
    for output in ("converted", "undisturbed"):
        assert umc("-C", tmp_path, *command, "--output", output, "--json").json["n_files"] == 30
    assert shards(tmp_path / "converted") == shards(tmp_path / "undisturbed")
