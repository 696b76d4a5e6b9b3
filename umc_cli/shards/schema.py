"""The format of a shard: names, types and attributes. Specified in docs/file-formats.md."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.errors import InputError
from umc_cli.hdf5_dataset import BROKEN, open_for_reading, own_dataset, own_group, refusal
from umc_cli.json_text import parse_json
from umc_cli.shards.compression import Compression

FORMAT_NAME = "umc-shard"
FORMAT_VERSION = 1

Dtype = Literal["float16", "float32"]

LOG_MEL = "log_mel"
TEXT_COLUMNS = ("label", "recording", "split", "source_path")
NUMBER_COLUMNS = ("segment_start", "segment_index")
EXTRA = "extra"
"""Group of further manifest columns."""

ROWS_PER_CHUNK = 8
"""A chunk is what one random read decompresses: 8 segments are 100 KiB of float16."""

COMPRESSIONS: dict[Compression, Mapping[str, Any]] = {
    "lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    "none": {},
}
"""How spectrograms are stored. The first needs a plug-in of HDF5, the others nothing."""

HDF5_VERSIONS = ("v110", "v110")
"""HDF5 1.10 keeps a checksum of its own bookkeeping too; on older layouts damage may crash the library."""

USER_BLOCK_BYTES = 512
_FIRST_LINE = f"{FORMAT_NAME} {FORMAT_VERSION}"

_ROWS_AT_ONCE = 64
"""Spectrograms unpacked at once, eight chunks: a shard may hold more than the memory."""
_TEXTS_AT_ONCE = 16
"""Many rows may name the same text, each of which takes memory when read."""

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
    def is_original(self) -> bool:
        """Tell whether it holds the source's recordings as they are."""
        return self.source == self.target

    @property
    def converter(self) -> str:
        """Return the name of the converter that made the shard, or the run that it belongs to."""
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
    """Return the names of all datasets, further columns as `extra/<name>`.

    Raises:
        InputError: the further columns lie in another file.
    """
    with _explain(file, EXTRA):
        further = own_group(file, EXTRA) if EXTRA in file else ()
        return [LOG_MEL, *TEXT_COLUMNS, *NUMBER_COLUMNS, *(f"{EXTRA}/{name}" for name in further)]


def column(file: h5py.File, name: str, n_rows: int) -> h5py.Dataset:
    """Return a dataset of a shard that has `n_rows` rows.

    Raises:
        InputError: it is missing, misshapen, of another type, in another file, or claims more than its file can hold.
    """
    with _explain(file, name):
        if name not in file:
            raise InputError(f"{file.filename} has no dataset {name!r}", _REMEDY)
        dataset = own_dataset(file, name)
        rows = (n_rows, *SEGMENT_SHAPE) if name == LOG_MEL else (n_rows,)
        if dataset.shape != rows:
            raise InputError(f"{file.filename}: dataset {name!r} has shape {dataset.shape} instead of {rows}", _REMEDY)
        text = h5py.check_string_dtype(dataset.dtype)
        if name == LOG_MEL:
            is_right = dataset.dtype in (np.float16, np.float32)
        elif name in NUMBER_COLUMNS:
            is_right = dataset.dtype == np.int64
        else:
            is_right = text is not None and text.length is None
        if not is_right:
            raise ValueError(f"has the type {dataset.dtype}")
        return dataset


def read_column(file: h5py.File, name: str, n_rows: int) -> NDArray[Any]:
    """Return a column of texts (as bytes) or numbers. Shape: [n_rows].

    Raises:
        InputError: see `column`; or it is damaged, or its texts are longer than its file.
    """
    dataset = column(file, name, n_rows)
    with _explain(file, name):
        if name in NUMBER_COLUMNS:
            return np.asarray(dataset[()])
        texts = np.empty(n_rows, dtype=object)
        room = file.id.get_filesize()
        for start in range(0, n_rows, _TEXTS_AT_ONCE):
            part = dataset[start : start + _TEXTS_AT_ONCE]
            room -= sum(map(len, part))
            if room < 0:
                raise ValueError("holds longer texts than its file")
            texts[start : start + _TEXTS_AT_ONCE] = part
        return texts


def read_texts(file: h5py.File, name: str, n_rows: int) -> NDArray[Any]:
    """Return a column of texts. Shape: [n_rows] str.

    Raises:
        InputError: see `read_column`; or it is not UTF-8.
    """
    texts = read_column(file, name, n_rows)
    with _explain(file, name):
        return np.array([text.decode() for text in texts], dtype=object)


def log_mel_blocks(file: h5py.File, n_rows: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the spectrograms, some rows at a time, with the rows that they are. Shape: [B, 80, 80], dB.

    Raises:
        InputError: see `column`; or they are damaged.
    """
    dataset = column(file, LOG_MEL, n_rows)
    for start in range(0, n_rows, _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, n_rows))
        with _explain(file, LOG_MEL):
            block = dataset[rows]
        yield rows, block


@contextmanager
def _explain(file: h5py.File, name: str) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        if fault := refusal(file.filename, error):
            raise fault from error
        raise InputError(f"{file.filename}: dataset {name!r} cannot be read: {error}", _REMEDY) from error


def open_shard(path: Path) -> h5py.File:
    """Open a shard for reading and check its format name and version.

    Raises:
        InputError: it is missing, truncated, no HDF5 file, no shard, or of an unknown version.
        EnvironmentFault: the system refuses to open it.
    """
    _check_is_file(path)
    try:
        file = open_for_reading(path)
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error}", "remove it and run `umc convert` again") from error
    try:
        name, version = file.attrs.get("format"), file.attrs.get("format_version")
    except BROKEN as error:
        file.close()
        if fault := refusal(path, error):
            raise fault from error
        raise InputError(f"{path}: its attributes are damaged: {error}", "remove it and convert again") from error
    if not (isinstance(name, str) and np.ndim(version) == 0 and (name, version) == (FORMAT_NAME, FORMAT_VERSION)):
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
        description, failed = parse_json(attributes["description"]), parse_json(attributes["failed"])
        _check_texts(description, failed)
        return ShardHeader(
            run_id=str(attributes["run_id"]),
            target_id=str(attributes["target_id"]),
            index=int(attributes["shard_index"]),
            source=str(attributes["source"]),
            target=str(attributes["target"]),
            n_segments=int(attributes["n_segments"]),
            description=description,
            failed=failed,
        )
    except BROKEN as error:
        raise InputError(
            f"{file.filename}: attributes missing or damaged: {error}", "remove the file and run `umc convert` again"
        ) from error


def _check_texts(description: Any, failed: Any) -> None:
    settings = description.get("settings", {})
    if not isinstance(settings, dict) or not isinstance(settings.get("made_with", {}), dict):
        raise ValueError("its description has broken settings")
    for entry in failed:
        if entry.keys() != {"path", "reason", "hint"} or not all(isinstance(text, str) for text in entry.values()):
            raise ValueError("its list of failed inputs is broken")


def _check_is_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} cannot be opened: it is not a regular file", _REMEDY)


def check_bytes(path: Path) -> None:
    """Compare the bytes of a shard with the checksum in its first 512.

    Raises:
        InputError: they differ, the file cannot be read, or it is no shard of this version.
    """
    _check_is_file(path)
    try:
        with path.open("rb") as content:
            block = content.read(USER_BLOCK_BYTES)
            expected = user_block(hashlib.file_digest(content, "sha256").hexdigest())
    except OSError as error:
        if fault := refusal(path, error):
            raise fault from error
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
        for name in column_names(file):
            if name == LOG_MEL:
                digest = hashlib.sha256()
                for _, block in log_mel_blocks(file, header.n_segments):
                    digest.update(np.ascontiguousarray(block).data)
                found = digest.hexdigest()
            else:
                found = checksum(read_column(file, name, header.n_segments))
            with _explain(file, name):
                if found != file[name].attrs["sha256"]:
                    raise InputError(f"{path}: dataset {name!r} is damaged: its checksum differs", _REMEDY)
    return header


def read_shard_header(path: Path) -> ShardHeader:
    """Return a shard's attributes.

    Raises:
        InputError: it is not a shard, or of an unknown version.
    """
    with open_shard(path) as file:
        return read_header(file)
