"""File systems without locks, as NFS and DVS may be: shards are read all the same, and `convert` says what is missing.

HDF5's own lock is refused here by holding one on the file: without locks that goes unnoticed, as it should.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.samples import Run
from umc_cli.errors import EnvironmentFault, InputError
from umc_cli.hdf5_dataset import refusal
from umc_cli.shards.reader import ShardDataset
from umc_cli.shards.schema import read_shard_header

Umc = Callable[..., Run]


@contextmanager
def locked_by_another(path: Path) -> Iterator[None]:
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def shard(workspace: Path, convert: Callable[..., Run]) -> Path:
    assert convert().exit_code == 0
    (path,) = (workspace / "converted").glob("*/shard-*.h5")
    return path


def test_readers_take_no_lock(workspace: Path, umc: Umc, convert: Callable[..., Run], shard: Path) -> None:
    with locked_by_another(shard):
        assert read_shard_header(shard).n_segments == 8
        assert ShardDataset(workspace / "converted")[7][0].shape == (1, 80, 80)
        assert umc("shards", "verify", "converted").exit_code == 0
        again = convert("--json")
    assert (again.json["n_shards_kept"], again.json["n_shards_written"]) == (1, 0)


def test_who_insists_on_locks_is_told_and_no_shard_is_called_damaged(
    workspace: Path, run_umc: Callable[..., Run], shard: Path
) -> None:
    content = shard.read_bytes()
    insisting = {"env": {"HDF5_USE_FILE_LOCKING": "TRUE"}}
    command = ("convert", "--source", "xperia1v", "--targets", "pixel3", "--converter", "eq")
    with locked_by_another(shard):
        runs = [run_umc(*words, cwd=workspace, **insisting) for words in (("shards", "verify", "converted"), command)]
    for run in runs:
        assert run.exit_code == 3, run.stderr
        assert "damaged" not in run.stdout + run.stderr
        assert "unset the variable HDF5_USE_FILE_LOCKING" in run.stderr
    assert shard.read_bytes() == content


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_convert_says_what_the_file_system_lacks(
    workspace: Path, umc: Umc, convert: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = convert()
    assert run.exit_code == 3
    assert "converted has no file locks" in run.stderr.replace("\n", " ")
    assert "--output on a local disk" in run.stderr.replace("\n", " ")
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_what_the_system_refuses_is_no_damage(number: int, monkeypatch: pytest.MonkeyPatch, shard: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(f"Unable to open file (file read failed: errno = {number}, error message = 'x')")

    monkeypatch.setattr("umc_cli.hdf5_dataset.h5py.File", refuse)
    with pytest.raises(EnvironmentFault, match=os.strerror(number)):
        read_shard_header(shard)


def test_damage_is_damage(shard: Path) -> None:
    assert refusal("x", OSError("Unable to open file (file signature not found)")) is None
    assert refusal("x", FileNotFoundError(errno.ENOENT, "No such file or directory")) is None
    shard.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="cannot be opened"):
        read_shard_header(shard)
