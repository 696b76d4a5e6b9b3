import errno
import os
from pathlib import Path

import pytest

from umc_cli.atomic_write import PARTIAL_MARK, atomic_path, explain_os_errors, remove_partial_files, write_text
from umc_cli.errors import EnvironmentFault


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with atomic_path(path) as partial:
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def failing() -> None:
        with atomic_path(path) as partial:
            partial.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"shard-00000.h5{PARTIAL_MARK}12345678").touch()
    (tmp_path / "a" / "shard-00001.h5").touch()
    remove_partial_files(tmp_path)
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["shard-00001.h5"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no room left to write"),
        (OSError(f"Can't write data (errno = {errno.ENOSPC}, error message = 'x')"), "no room left to write"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "cannot write .*Read-only"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "cannot write .*Input/output error"),
    ],
)
def test_refusals_of_the_system_are_explained(tmp_path: Path, error: OSError, message: str) -> None:
    with pytest.raises(EnvironmentFault, match=message) as caught, explain_os_errors(tmp_path / "out"):
        raise error
    assert caught.value.hint
    assert caught.value.exit_code == 3
