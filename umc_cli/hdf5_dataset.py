"""Datasets of HDF5 files of strangers: only what lies in the file itself, and no more than it can hold."""

import h5py

_MOST_SHRUNK = 300
"""Times that a file may be smaller than what it unpacks to. LZ4 reaches 255 where all values are equal."""

_LARGEST_CHUNK_BYTES = 1 << 26
"""One random read unpacks a chunk."""

BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError)
"""What h5py raises where bytes of a file are damaged."""


def own_group(group: h5py.Group, name: str) -> h5py.Group:
    """Return a group that lies in the same file.

    Raises:
        KeyError: there is nothing of this name.
        ValueError: it is a link, or no group.
    """
    found = _own(group, name)
    if not isinstance(found, h5py.Group):
        raise ValueError("is no group")
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
        raise ValueError("is no dataset")
    if dataset.is_virtual or dataset.external:
        raise ValueError("keeps its values in other files")
    made = dataset.id.get_create_plist()
    for index in range(made.get_nfilters()):
        number, *_ = made.get_filter(index)
        if not h5py.h5z.filter_avail(number):
            raise ValueError(f"needs the HDF5 filter {number}, which is not here")
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
