"""The unit of work of a conversion: one planned shard, and how it is made. Loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from umc_cli.shards.compression import Compression
from umc_cli.shards.plan import Piece
from umc_cli.shards.schema import Dtype


@dataclass(frozen=True)
class ShardJob:
    """One planned shard and where it is to be written for the targets that lack it."""

    pieces: Sequence[Piece]
    paths: Mapping[str, Path]
    """By target."""
    attributes: Mapping[str, Mapping[str, Any]]
    """By target: see `shards.writer.write_shard`."""
    extra_columns: Sequence[str]
    converter: str
    """Its name, for messages."""

    @property
    def n_segments(self) -> int:
        """Return the number of planned segments."""
        return sum(piece.n_segments for piece in self.pieces)


@dataclass(frozen=True)
class StreamSettings:
    """Sizes that change speed and memory but no row."""

    batch_size: int
    workers: int
    dtype: Dtype
    reader_timeout_s: float
    """For the segments of one recording in one shard."""
    compression: Compression = "lz4"


class Progress(Protocol):
    """Told how the work goes on."""

    def advance(self, target: str, n_segments: int) -> None:
        """Count converted segments of one target."""
        ...
