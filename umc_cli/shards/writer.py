"""Writing a shard: spectrograms are appended batch by batch; the file gets its name when complete and checked."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from umc_cli.atomic_write import atomic_path
from umc_cli.errors import EnvironmentFault
from umc_cli.shards import schema
from umc_cli.shards.compression import Compression

_IN_MEMORY = {"block_size": 1 << 22, "libver": schema.HDF5_VERSIONS, "userblock_size": schema.USER_BLOCK_BYTES}
"""Memory grows by 4 MiB at a time, and is copied each time; HDF5 counts its addresses from behind the user block."""


@dataclass
class ShardRows:
    """What a shard says of its segments beside their spectrograms: one entry a segment in every list."""

    label: list[str] = field(default_factory=list)
    recording: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    source_path: list[str] = field(default_factory=list)
    segment_start: list[int] = field(default_factory=list)
    """First sample, counted at 22,050 Hz."""
    segment_index: list[int] = field(default_factory=list)
    """Position in the plan; gaps are segments that failed or that the silence gate left out."""
    extra: dict[str, list[str]] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)
    """Inputs of this shard that could not be used: path, reason, hint."""


class ShardWriter:
    """An open, still unnamed shard; made by `write_shard`."""

    def __init__(self, file: h5py.File, dtype: schema.Dtype, compression: Compression) -> None:
        self._file = file
        n_mels, n_frames = schema.SEGMENT_SHAPE
        self._log_mel = file.create_dataset(
            schema.LOG_MEL,
            shape=(0, n_mels, n_frames),
            maxshape=(None, n_mels, n_frames),
            chunks=(schema.ROWS_PER_CHUNK, n_mels, n_frames),
            dtype=dtype,
            fletcher32=True,
            **schema.COMPRESSIONS[compression],
        )
        self._log_mel.attrs["unit"] = "dB re full scale"
        self._digest = hashlib.sha256()
        self._n_rows = 0

    def append(self, log_mel: NDArray[Any]) -> None:
        """Append spectrograms. Shape: [B, 80, 80], dB, of the shard's type."""
        log_mel = np.ascontiguousarray(log_mel)
        first, self._n_rows = self._n_rows, self._n_rows + len(log_mel)
        # Without h5py's slices, which cost as much as HDF5's own part.
        dataset = self._log_mel.id
        dataset.set_extent((self._n_rows, *schema.SEGMENT_SHAPE))
        if len(log_mel):
            rows = dataset.get_space()
            rows.select_hyperslab((first, 0, 0), log_mel.shape)
            dataset.write(h5py.h5s.create_simple(log_mel.shape), rows, log_mel)
        self._digest.update(log_mel.data)

    def finish(self, rows: ShardRows) -> None:
        """Write the other columns, the failed inputs, the counts and the checksums."""
        self._log_mel.attrs["sha256"] = self._digest.hexdigest()
        text: dict[str, Sequence[str]] = {name: getattr(rows, name) for name in schema.TEXT_COLUMNS}
        text |= {f"{schema.EXTRA}/{name}": values for name, values in rows.extra.items()}
        for name, values in text.items():
            self._add_column(name, np.array([value.encode() for value in values], dtype=object), h5py.string_dtype())
        for name in schema.NUMBER_COLUMNS:
            self._add_column(name, np.array(getattr(rows, name), dtype=np.int64), np.dtype(np.int64))
        self._file.attrs["n_segments"] = self._n_rows
        self._file.attrs["failed"] = json.dumps(rows.failed, ensure_ascii=False)

    def _add_column(self, name: str, values: NDArray[Any], dtype: Any) -> None:
        dataset = self._file.create_dataset(name, data=values, dtype=dtype)
        dataset.attrs["sha256"] = schema.checksum(values)


@contextmanager
def write_shard(
    path: Path, attributes: Mapping[str, Any], dtype: schema.Dtype, compression: Compression = "lz4"
) -> Iterator[ShardWriter]:
    """Yield a writer for the shard `path`; the file appears under that name if the block ends well and it checks out.

    `attributes`: `run_id`, `target_id`, `shard_index`, `source`, `target`, `description` (see `schema.ShardHeader`).

    Raises:
        EnvironmentFault: the folder cannot be written, the disk is full, or not all was written.
    """
    with atomic_path(path) as partial:
        # In memory: an HDF5 file that cannot be written to its end crashes the process when that ends.
        with h5py.File(partial, "w", driver="core", backing_store=False, **_IN_MEMORY) as file:
            file.attrs["format"] = schema.FORMAT_NAME
            file.attrs["format_version"] = schema.FORMAT_VERSION
            for name, value in attributes.items():
                file.attrs[name] = value
            yield ShardWriter(file, dtype, compression)
            file.flush()
            content = file.id.get_file_image()
        with partial.open("wb") as written:
            written.write(schema.user_block(hashlib.sha256(content).hexdigest()))
            written.write(content)
        # To read it back would compare it with the system's copy in memory, not with the disk.
        if partial.stat().st_size != schema.USER_BLOCK_BYTES + len(content):
            raise EnvironmentFault(f"{path} is not as long as what was written", "check the disk")
