"""The ways to store spectrograms in shards."""

from typing import Literal

Compression = Literal["lz4", "gzip", "none"]
