"""The format of a shard: names, types and attributes. Specified in docs/file-formats.md."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel import LOG_MEL_SETTINGS
from umc_cli.errors import InputError

FORMAT_NAME = "umc-shard"
FORMAT_VERSION = 1

Dtype = Literal["float16", "float32"]

_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py raises where bytes of a file are damaged."""

LOG_MEL = "log_mel"
TEXT_COLUMNS = ("label", "recording", "split", "source_path")
NUMBER_COLUMNS = ("segment_start", "segment_index")
EXTRA = "extra"
"""Group of further manifest columns."""

ROWS_PER_CHUNK = 8
"""A chunk is what one random read decompresses: 8 segments are 100 KiB of float16."""

COMPRESSION = hdf5plugin.Bitshuffle(cname="lz4")

HDF5_VERSIONS = ("v110", "v110")
"""HDF5 1.10 keeps a checksum of its own bookkeeping too; on older layouts damage may crash the library."""

USER_BLOCK_BYTES = 512
_FIRST_LINE = f"{FORMAT_NAME} {FORMAT_VERSION}"

_REMEDY = "remove the file and run `umc convert` again"

SHARD_GLOB = "shard-*.h5"

SEGMENT_SHAPE = (LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:05d}.h5"


@dataclass(frozen=True)
class ShardHeader:
    """The attributes of a shard."""

    run_id: str
    """Hash of all that decides the content; equal in every shard of a run."""
    target_id: str
    """Hash of what is known of the target."""
    index: int
    source: str
    target: str
    n_segments: int
    description: dict[str, Any]
    """Settings, difference, engine, versions: what made the shard, as JSON."""
    failed: list[dict[str, str]]
    """Inputs planned for this shard that could not be used."""

    @property
    def converter(self) -> str:
        """Return the name of the converter that made the shard."""
        settings = self.description.get("settings")
        return str(settings.get("converter")) if isinstance(settings, dict) else "unknown"


def checksum(values: NDArray[Any]) -> str:
    """Return the sha256 of a dataset: of its bytes, or of its texts, each ended by a zero byte."""
    if values.dtype == object:
        return hashlib.sha256(b"".join(bytes(text) + b"\0" for text in values)).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def user_block(hdf5_sha256: str) -> bytes:
    """Return the 512 bytes before the HDF5 content, which say what the file is and the sha256 of all that follows."""
    return f"{_FIRST_LINE}\nsha256 of all bytes behind the first 512: {hdf5_sha256}\n".encode().ljust(USER_BLOCK_BYTES)


def column_names(file: h5py.File) -> list[str]:
    """Return the names of all datasets, further columns as `extra/<name>`."""
    return [LOG_MEL, *TEXT_COLUMNS, *NUMBER_COLUMNS, *(f"{EXTRA}/{name}" for name in file.get(EXTRA, {}))]


def open_shard(path: Path) -> h5py.File:
    """Open a shard for reading and check its format name and version.

    Raises:
        InputError: it is missing, truncated, no HDF5 file, no shard, or of an unknown version.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error}", "remove it and run `umc convert` again") from error
    try:
        name, version = file.attrs.get("format"), file.attrs.get("format_version")
    except _DAMAGED as error:
        file.close()
        raise InputError(f"{path}: its attributes are damaged: {error}", "remove it and convert again") from error
    if name != FORMAT_NAME or version != FORMAT_VERSION:
        file.close()
        raise InputError(
            f"{path} is not a shard that this umc reads: format {name!r}, version {version!r}",
            f"expected {FORMAT_NAME!r}, version {FORMAT_VERSION}: update umc, or convert again",
        )
    return file


def read_header(file: h5py.File) -> ShardHeader:
    """Return the attributes of an open shard.

    Raises:
        InputError: an attribute is missing or broken.
    """
    attributes = file.attrs
    try:
        return ShardHeader(
            run_id=str(attributes["run_id"]),
            target_id=str(attributes["target_id"]),
            index=int(attributes["shard_index"]),
            source=str(attributes["source"]),
            target=str(attributes["target"]),
            n_segments=int(attributes["n_segments"]),
            description=dict(json.loads(attributes["description"])),
            failed=json.loads(attributes["failed"]),
        )
    except _DAMAGED as error:
        raise InputError(
            f"{file.filename}: attributes missing or damaged: {error}", "remove the file and run `umc convert` again"
        ) from error


def check_bytes(path: Path) -> None:
    """Compare the bytes of a shard with the checksum in its first 512.

    Raises:
        InputError: they differ, the file cannot be read, or it is no shard of this version.
    """
    try:
        with path.open("rb") as content:
            block = content.read(USER_BLOCK_BYTES)
            expected = user_block(hashlib.file_digest(content, "sha256").hexdigest())
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}", _REMEDY) from error
    first_line = block.split(b"\n")[0][:40].decode("utf-8", "backslashreplace")
    if first_line != _FIRST_LINE:
        raise InputError(
            f"{path} is not a shard that this umc reads: it begins with {first_line!r}, not {_FIRST_LINE!r}",
            "update umc, or remove the file and run `umc convert` again",
        )
    if block != expected:
        raise InputError(f"{path} is damaged: its checksum differs", _REMEDY)


def check_shard(path: Path) -> ShardHeader:
    """Re-check a shard whole: checksum of the file, schema, row counts, checksum of every dataset.

    Raises:
        InputError: anything is not as the format says; the message names file and dataset.
    """
    # HDF5 may crash or hang on damaged bytes, so it gets to see none.
    check_bytes(path)
    with open_shard(path) as file:
        header = read_header(file)
        name = ""
        try:
            for name in column_names(file):
                if name not in file:
                    raise InputError(f"{path} has no dataset {name!r}", _REMEDY)
                dataset = file[name]
                rows = (header.n_segments, *SEGMENT_SHAPE) if name == LOG_MEL else (header.n_segments,)
                if dataset.shape != rows:
                    raise InputError(f"{path}: dataset {name!r} has shape {dataset.shape} instead of {rows}", _REMEDY)
                if checksum(dataset[()]) != dataset.attrs["sha256"]:
                    raise InputError(f"{path}: dataset {name!r} is damaged: its checksum differs", _REMEDY)
        except _DAMAGED as error:
            raise InputError(f"{path}: dataset {name!r} cannot be read: {error}", _REMEDY) from error
    return header
