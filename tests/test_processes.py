"""`umc convert --processes`: one run, made by several processes of this machine."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.samples import Run, noise, write_audio
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion import processes
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.processes import devices_of, open_processes
from umc_cli.conversion.shard_actor import Order
from umc_cli.conversion.shard_job import ShardJob, StreamSettings
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.settings.convert import ConvertSettings
from umc_cli.silence import SILENT

pytestmark = pytest.mark.usefixtures("forked_worlds")

CONVERT = ("convert", "--source", "xperia1v", "--targets", "pixel3,xperia1", "--converter", "eq", "--shard-size", "2")


def content_of(folder: Path) -> dict[str, bytes]:
    kinds = (".h5", ".flac", ".json", ".csv")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix in kinds}


def test_the_result_is_that_of_one_process_whoever_resumes_it(workspace: Path, umc: Callable[..., Run]) -> None:
    (workspace / "data/xperia1v/a/broken.wav").write_bytes(b"RIFF")
    both = (*CONVERT, "--write", "shards,flac", "--json")
    alone = umc(*both, "--output", "alone")
    together = umc(*both, "--output", "together", "--processes", "2")
    assert (alone.exit_code, together.exit_code) == (1, 1), alone.stderr + together.stderr  # one input failed
    expected = content_of(workspace / "alone")
    assert len(expected) > 16
    assert content_of(workspace / "together") == expected
    ends = [{**run.json, "output": "", "seconds": 0} for run in (alone, together)]
    assert ends[0] == ends[1]
    assert together.json["n_shards_written"] == 8
    (workspace / "together/pixel3/shard-00001.h5").unlink()
    again = umc(*both, "--output", "together", "--processes", "3")
    assert (again.json["n_shards_written"], again.json["n_shards_kept"]) == (1, 7)
    assert content_of(workspace / "together") == expected


def test_ctrl_c_ends_all_processes(workspace: Path, start_umc: Callable[..., Any]) -> None:
    for index in range(8):
        write_audio(workspace / f"data/xperia1v/a/more{index}.wav", noise(seed=index))
    with start_umc(*CONVERT, "--processes", "2", cwd=workspace, held_after=1, own_group=True) as run:
        until = time.monotonic() + 120
        while not list(workspace.glob("converted/*/shard-*.h5")) and run.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate(timeout=60)[1].decode()
    assert (run.returncode, "Traceback" in said) == (130, False), said
    assert "run the same command again to resume" in said
    assert not is_left(run.pid)
    assert not [path for path in workspace.rglob("*") if "partial" in path.name]


def is_left(group: int) -> bool:
    """Tell whether a process of a group is left after a while: that which cleans up after Python's ends last."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def order(root: Path) -> Order:
    conversion = Conversion("eq", Ingredients("a", ("b",), {}, "cpu"))
    return Order(root, root, SegmentSettings(), StreamSettings(32, 4, "float16", 60), conversion)


def jobs(root: Path) -> Iterator[ShardJob]:
    return (ShardJob((), {"b": root / f"b/shard-{number:05}.h5"}, {}, (), "eq") for number in range(3))


def takes_a_job_and_dies(connection: Any, _: Order) -> None:
    connection.send(processes._Ask(is_idle=True))
    connection.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_named_with_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_work", takes_a_job_and_dies)
    with (
        pytest.raises(EnvironmentFault, match=r"process \d of 2 \(pid \d+\) was ended by SIGKILL while it made shard"),
        open_processes(order(tmp_path), ["cpu", "cpu"], None) as crew,
    ):
        crew.make(jobs(tmp_path), SILENT)


def makes_shards_and_dies(connection: Any, _: Order) -> None:
    for is_idle in (True, False, False):
        connection.send(processes._Ask(is_idle))
        path = connection.recv().paths["b"]
        if path.name != "shard-00002.h5":
            path.parent.mkdir(exist_ok=True)
            path.touch()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_it_had_finished_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_work", makes_shards_and_dies)
    with (
        pytest.raises(EnvironmentFault, match=r"while it made shard-00002\.h5 \(memory"),
        open_processes(order(tmp_path), ["cpu"], None) as crew,
    ):
        crew.make(jobs(tmp_path), SILENT)


def refuses(connection: Any, _: Order) -> None:
    connection.send(processes._Ask(is_idle=True))
    connection.recv()
    connection.send(SettingsError("of this process", "do that"))


def test_what_a_process_raises_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_work", refuses)
    with (
        pytest.raises(SettingsError, match="of this process") as error,
        open_processes(order(tmp_path), ["cpu"], None) as crew,
    ):
        crew.make(jobs(tmp_path), SILENT)
    assert error.value.hint == "do that"


def test_nothing_to_make_starts_no_process(tmp_path: Path) -> None:
    with open_processes(order(tmp_path), ["cpu", "cpu"], None) as crew:
        crew.make(iter(()), SILENT)
        assert not crew._members


def test_all_gpus_get_a_process_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices_of("cuda:all", None, 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of("cuda:all", 5, 2) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert devices_of("cuda:1", 2, 0) == ["cuda:1", "cuda:1"]
    assert devices_of("cpu", None, 0) == ["cpu"]
    with pytest.raises(SettingsError, match="leaves some of 4 GPUs without one"):
        devices_of("cuda:all", 3, 4)
    with pytest.raises(SettingsError, match="not available"):
        devices_of("cuda:all", None, 0)
    monkeypatch.setattr(processes, "cpu_count", lambda: 9)
    with open_processes(order(tmp_path), devices_of("cuda:all", None, 2), None) as crew:
        told = [each.conversion.ingredients for each in crew._orders]
        assert [each.torch_device for each in told] == ["cuda:0", "cuda:1"]
        assert [each.engine.threads for each in told] == [4, 4]
        assert [each.stream.workers for each in crew._orders] == [4, 4]


def test_batches_are_larger_on_a_gpu() -> None:
    settings = ConvertSettings(source="a")
    assert [settings.batch_size_on(device) for device in ("cpu", "cuda", "cuda:1", "mps")] == [32, 256, 256, 32]
    assert ConvertSettings(source="a", batch_size=7).batch_size_on("cuda") == 7
