"""Files that appear under their name only when they are complete: temporary name, fsync, rename."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from umc_cli.errors import EnvironmentFault

PARTIAL_MARK = ".partial-"
"""Stands in the name of every file that is still being written."""

_MARK_BYTES = 4

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What a system says that has no locks; nothing else that is done here gets these answers."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block ends well, else remove it.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    partial = path.with_name(f"{path.name}{PARTIAL_MARK}{secrets.token_hex(_MARK_BYTES)}")
    try:
        with explain_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            _flush_to_disk(partial)
            partial.replace(path)
            _flush_to_disk(path.parent)
    finally:
        with contextlib.suppress(OSError):  # what went wrong before says more
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, all or nothing."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")


def remove_partial_files(folder: Path, to_any_depth: bool = False) -> None:
    """Remove what killed writers left in `folder` and its subfolders; the caller holds the folder's lock."""
    name = f"*{PARTIAL_MARK}{'[0-9a-f]' * 2 * _MARK_BYTES}"
    with explain_os_errors(folder):
        below = folder.glob(f"*/**/{name}" if to_any_depth else f"*/{name}")
        for leftover in [*folder.glob(name), *below]:
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into an `EnvironmentFault` with a remedy."""
    try:
        yield
    except OSError as error:
        raise _environment_fault(path, error) from error


def _environment_fault(path: Path, error: OSError) -> EnvironmentFault:
    text = str(error)
    # HDF5 hides errno inside its message.
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
        f"errno = {code}" in text for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    ):
        return EnvironmentFault(
            f"no room left to write {path}",
            "free disk space or choose another --output, then run the same command again: it resumes where it stopped",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentFault(
            f"cannot write {path}: {os.strerror(error.errno)}",
            "make the folder writable or choose another --output",
        )
    if error.errno in _NO_LOCKS:
        return EnvironmentFault(
            f"the file system of {path} has no file locks ({os.strerror(error.errno)}), which keep two runs "
            "from writing to one folder",
            "choose an --output on a local disk and copy it when it is done, or have the file system mounted with "
            "locks (NFS: without nolock; Lustre: with flock)",
        )
    return EnvironmentFault(f"cannot write {path}: {text}", "check the disk and the folder, then run again")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and overlay file systems refuse fsync on folders; the rename is still atomic there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
