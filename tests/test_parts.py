"""Runs that several processes make together, each a part of the shards."""

import csv
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.samples import SOURCE, TARGET, Run, damage_flac, noise, write_audio
from tests.test_resume import COMMAND, leftovers, shards, stop, wait_for_shards
from umc_cli.shards import run_folder
from umc_cli.shards.part import Part, parse_part
from umc_cli.shards.run_folder import locked

Umc = Callable[..., Run]
Start = Callable[..., "subprocess.Popen[bytes]"]

N_FILES = 30
BAD = (4, 11)
"""Clips that cannot be decoded: in the shards of parts 2 and 3 of 3."""


@pytest.fixture
def many(workspace: Path) -> Path:
    """A workspace with 30 clips, a shard each for each of two targets, and a file that cannot be planned."""
    (workspace / f"data/{SOURCE}").rename(workspace / "old")
    for index in range(N_FILES):
        write_audio(workspace / f"data/{SOURCE}/a/x{index:02}.flac", noise(seed=index))
    for index in BAD:
        bad = workspace / f"data/{SOURCE}/a/x{index:02}.flac"
        damage_flac(bad)
    (workspace / f"data/{SOURCE}/a/empty.wav").touch()
    return workspace


def clip(index: int) -> str:
    return f"data/{SOURCE}/a/x{index:02}.flac"


def wait_for_part(process: "subprocess.Popen[bytes]", root: Path, remainder: int) -> None:
    """Wait for a shard whose number leaves `remainder` when divided by three."""
    deadline = time.monotonic() + 60
    while remainder not in {index % 3 for index in indices(root)}:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def indices(root: Path) -> set[int]:
    return {int(path.stem[-5:]) for path in root.glob("*/*.h5")}


@contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Let a process stand still for a while; where the test fails meanwhile, end it."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    except BaseException:
        process.kill()
        raise
    process.send_signal(signal.SIGCONT)


def failed_paths(root: Path) -> list[str]:
    with (root / "failed.csv").open() as table:
        return [row["path"] for row in csv.DictReader(table)]


def test_parts_at_the_same_time_make_what_one_run_makes(many: Path, umc: Umc, start_umc: Start) -> None:
    root = many / "converted"
    # The first is not let run on before both are at work.
    with (
        start_umc(*COMMAND, "--part", "1/3", "--json", cwd=many, slow_after=0) as first,
        start_umc(*COMMAND, "--part", "2/3", "--json", cwd=many, slow_after=0) as second,
    ):
        wait_for_part(first, root, 0)
        with stopped(first):
            wait_for_part(second, root, 1)
            assert first.poll() is None
        ended = [
            Run(process.wait(), out.decode(), err.decode())
            for process in (first, second)
            for out, err in [process.communicate(timeout=60)]
        ]
    assert {index % 3 for index in indices(root)} == {0, 1}
    assert len(shards(root)) == 2 * 20
    for number, run in enumerate(ended, start=1):
        assert (run.json["part"], run.json["n_shards_written"], run.json["n_files"]) == (
            f"{number}/3",
            20,
            10 - (number == 2),
        )
    # Each part tells of its own shards; what belongs to none is told by part 1.
    assert [entry["path"] for entry in ended[0].json["failed"]] == [f"data/{SOURCE}/a/empty.wav"]
    assert [entry["path"] for entry in ended[1].json["failed"]] == [clip(4)]
    assert failed_paths(root) == [f"data/{SOURCE}/a/empty.wav", clip(4)]
    plan = (root / "run.json").read_bytes()

    third = umc(*COMMAND, "--part", "3/3", "--json")
    assert third.exit_code == 1
    assert [entry["path"] for entry in third.json["failed"]] == [clip(11)]
    assert (root / "run.json").read_bytes() == plan

    assert umc(*COMMAND, "--output", "undisturbed").exit_code == 1
    alone = many / "undisturbed"
    assert shards(root) == shards(alone)
    for name in ("run.json", "failed.csv"):
        assert (root / name).read_bytes() == (alone / name).read_bytes()
    final = umc(*COMMAND, "--json")
    assert (final.json["part"], final.json["n_shards_kept"], final.json["n_shards_written"]) == (None, 60, 0)
    assert umc("shards", "verify", "converted").exit_code == 0


def test_a_killed_part_goes_on_and_the_whole_run_makes_what_is_left(many: Path, umc: Umc, start_umc: Start) -> None:
    root = many / "converted"
    with start_umc(*COMMAND, "--part", "2/3", cwd=many, slow_after=2) as process:
        stop(process, root, 3, signal.SIGKILL)
    kept = len(shards(root))
    assert 3 <= kept < 20
    resumed = umc(*COMMAND, "--part", "2/3", "--json")
    assert (resumed.json["n_shards_kept"], resumed.json["n_shards_written"]) == (kept, 20 - kept)
    assert not leftovers(root)
    assert failed_paths(root) == [f"data/{SOURCE}/a/empty.wav", clip(4)]
    rest = umc(*COMMAND, "--json")
    assert (rest.json["n_shards_kept"], rest.json["n_shards_written"]) == (20, 40)
    assert failed_paths(root) == [f"data/{SOURCE}/a/empty.wav", clip(4), clip(11)]
    assert umc("shards", "verify", "converted").exit_code == 0
    assert umc(*COMMAND, "--output", "undisturbed").exit_code == 1
    assert shards(root) == shards(many / "undisturbed")


def test_while_a_part_is_at_work(many: Path, umc: Umc, start_umc: Start) -> None:
    root = many / "converted"
    leftover = root / TARGET / "shard-00000.h5.partial-0123abcd"
    with start_umc(*COMMAND, "--part", "2/3", cwd=many, slow_after=2) as process:
        wait_for_shards(process, root, 2)
        with stopped(process):
            leftover.touch()
            plan = (root / "run.json").stat().st_mtime_ns
            for options, message in (
                (("--part", "2/3"), "another umc run of part 2/3 is writing to"),
                (("--part", "1/4"), "part 2/3 of a umc run, which divides the run differently, is writing to"),
                ((), "part 2/3 of a umc run is writing to"),
            ):
                run = umc(*COMMAND, *options)
                assert run.exit_code == 3
                assert message in " ".join(run.stderr.split())
            assert umc(*COMMAND, "--part", "3/3").exit_code == 1
            # The one that is at work may be writing it, and will gather the failures when it ends.
            assert leftover.exists()
            assert not (root / "failed.csv").exists()
            assert (root / "run.json").stat().st_mtime_ns == plan
        process.communicate(timeout=60)
    assert process.returncode == 1
    assert failed_paths(root) == [f"data/{SOURCE}/a/empty.wav", clip(4), clip(11)]
    assert umc(*COMMAND, "--part", "1/3").exit_code == 1
    assert not leftovers(root)
    assert len(shards(root)) == 60


def test_a_part_is_refused_while_a_whole_run_is_at_work(many: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_LONGEST_LOOK_S", 0.2)
    with locked(many / "converted"):
        run = umc(*COMMAND, "--part", "1/3")
    assert run.exit_code == 3
    assert "another umc run is writing to" in run.stderr
    assert not shards(many / "converted")


def test_parts_of_another_run_are_refused(many: Path, umc: Umc) -> None:
    assert umc(*COMMAND, "--part", "1/3").exit_code == 1
    run = umc(*COMMAND, "--part", "2/3", "--hop", "10240")
    assert run.exit_code == 2
    assert "holds the results of another run" in run.stderr


def test_parts_measure_level_tables_once(workspace: Path, umc: Umc, start_umc: Start) -> None:
    for device, seed in ((SOURCE, 0), (TARGET, 50)):
        for index in range(6):
            write_audio(workspace / f"data/{device}/a/x{index}.wav", noise(5, seed=seed + index))
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "quantile", "--shard-size", "8")
    processes = [start_umc(*command, "--part", f"{number}/2", cwd=workspace) for number in (1, 2)]
    for process in processes:
        assert process.communicate(timeout=60)
        assert process.returncode == 0
    assert umc(*command, "--output", "undisturbed").exit_code == 0
    parts, alone = workspace / "converted", workspace / "undisturbed"
    assert shards(parts) == shards(alone)
    for name in ("run.json", "level_quantiles.json"):
        assert (parts / name).read_bytes() == (alone / name).read_bytes()


@pytest.mark.parametrize("converter", ["eq_noise", "refiner"])
def test_shards_do_not_depend_on_readers_and_parts(workspace: Path, umc: Umc, converter: str) -> None:
    """A network too, whose engine shares the processors with the readers."""
    command = ("convert", "--source", SOURCE, "--targets", f"{TARGET},pixel3-back", "--converter", converter)
    command = (*command, "--shard-size", "2")
    assert umc(*command, "--workers", "1").exit_code == 0
    for number in (3, 1, 2):
        options = ("--workers", "4", "--output", "parts", "--part", f"{number}/3")
        assert umc(*command, *options).exit_code == 0
    assert len(shards(workspace / "parts")) == 8
    assert shards(workspace / "parts") == shards(workspace / "converted")


def test_a_part_without_shards_is_well(workspace: Path, umc: Umc) -> None:
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--part")
    run = umc(*command, "2/2", "--json")
    assert run.exit_code == 0
    assert (run.json["n_shards_written"], run.json["n_segments"], run.json["n_files"]) == (0, 0, 0)
    assert run.json["warnings"] == []
    assert umc(*command, "1/2", "--json").json["n_segments"] == 8
    assert umc("shards", "verify", "converted").exit_code == 0


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1", "-1/3", "1/0", "1.0/3", "1/3/5", ""])
def test_what_is_no_part_is_refused(workspace: Path, umc: Umc, text: str) -> None:
    run = umc(*COMMAND, f"--part={text}")
    assert run.exit_code == 2
    assert f"{text!r} is not I/N, two whole numbers with I from 1 to N" in " ".join(run.stderr.split())
    assert not (workspace / "converted").exists()


def test_parts_do_not_overwrite(workspace: Path, umc: Umc) -> None:
    run = umc(*COMMAND, "--part", "1/3", "--overwrite")
    assert run.exit_code == 2
    assert "each part would remove the shards of the others" in " ".join(run.stderr.split())


def test_the_environment_may_name_the_part(workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMC_CONVERT_PART", "2/2")
    assert umc(*COMMAND, "--json").json["part"] == "2/2"


def test_every_shard_belongs_to_one_part() -> None:
    parts = [parse_part(f"{number}/3") for number in (1, 2, 3)]
    assert parts[1] == Part(2, 3)
    assert str(parts[1]) == "2/3"
    assert [[part.number for part in parts if index in part.shards(6)] for index in range(6)] == [[1], [2], [3]] * 2
