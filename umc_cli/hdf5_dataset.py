"""Untrusted HDF5 files, opened without locks: only what is in the file itself, and no more than it can contain."""

import errno
import os
import re
from pathlib import Path

import h5py

from umc_cli.errors import EnvironmentFault

_MOST_SHRUNK = 300
"""Times that a file may be smaller than what it unpacks to. LZ4 reaches 255 where all values are equal."""

_LARGEST_CHUNK_BYTES = 1 << 26
"""One random read unpacks a chunk."""

BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError)
"""What h5py raises where bytes of a file are damaged."""


_REFUSALS = {
    *(errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EAGAIN, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV, errno.ENOTCONN),
}
"""What a system says of files that are not damaged: a network that is down, permissions, too many open files."""


def open_for_reading(path: Path) -> h5py.File:
    """Open an HDF5 file without a lock: many network file systems have none, and what is read here never changes.

    Raises:
        OSError: it is missing or damaged.
        EnvironmentFault: the system refuses to open it.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if fault := refusal(path, error):
            raise fault from error
        raise


def refusal(path: Path | str, error: BaseException) -> EnvironmentFault | None:
    """Return the fault where an error of reading `path` is the system's, not the file's."""
    if not isinstance(error, OSError | RuntimeError):
        return None
    # HDF5 hides errno inside its message.
    match = re.search(r"errno = (\d+)", str(error))
    number = int(match[1]) if match else getattr(error, "errno", None)
    if number not in _REFUSALS:
        return None
    if "unable to lock file" in str(error):
        return EnvironmentFault(
            f"cannot read {path}: its file system has no locks, or another program holds one ({os.strerror(number)})",
            "umc needs no locks: unset the variable HDF5_USE_FILE_LOCKING, or set it to FALSE",
        )
    return EnvironmentFault(
        f"cannot read {path}: {os.strerror(number)}", "check the disk, the network and the permissions, then run again"
    )


def own_group(group: h5py.Group, name: str) -> h5py.Group:
    """Return a group that lies in the same file.

    Raises:
        KeyError: there is nothing of this name.
        ValueError: it is a link, or no group.
    """
    found = _own(group, name)
    if not isinstance(found, h5py.Group):
        raise ValueError("is not a group")
    return found


def own_dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset whose values lie in the same file and fit into it.

    Raises:
        KeyError: there is nothing of this name.
        ValueError: it is a link or no dataset, its values lie in other files, it needs a filter that is not here,
            or it claims more values than the file can hold.
    """
    dataset = _own(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError("is not a dataset")
    if dataset.is_virtual or dataset.external:
        raise ValueError("keeps its values in other files")
    made = dataset.id.get_create_plist()
    for index in range(made.get_nfilters()):
        number, *_ = made.get_filter(index)
        if not h5py.h5z.filter_avail(number):
            raise ValueError(f"needs the HDF5 filter {number}, which is not installed")
    n_values, n_bytes = dataset.size or 0, dataset.id.get_type().get_size()
    if n_values * n_bytes > _MOST_SHRUNK * dataset.file.id.get_filesize():
        raise ValueError(f"claims {n_values} values, more than its file can hold")
    n_values = 1
    for side in dataset.chunks or ():
        n_values *= side
    if n_values * n_bytes > _LARGEST_CHUNK_BYTES:
        raise ValueError(f"is cut into chunks of more than {_LARGEST_CHUNK_BYTES >> 20} MiB")
    return dataset


def _own(group: h5py.Group, name: str) -> object:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError("is a link")
    return group[name]
