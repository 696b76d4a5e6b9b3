"""Whether a file was changed though its length stayed: by its time, and by a sample of its bytes.

Times are compared for equality alone: no clock has to be right.
"""

import stat
import zlib
from pathlib import Path
from typing import NamedTuple

UNKNOWN = -1

_BLOCKS = 4
_BLOCK_BYTES = 4096


class Mark(NamedTuple):
    """What a file was when it was looked at."""

    modified_ns: int
    """When it was last changed; `UNKNOWN` where it cannot be asked."""
    sample_crc32: int
    """Of four blocks of 4 KiB, spread over the file: reading all of it would take as long as converting it."""


def modified_ns(path: Path) -> int:
    """Return when a file was last changed, in nanoseconds; `UNKNOWN` where it cannot be asked."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return UNKNOWN


def mark(path: Path) -> Mark:
    """Return what a file is now."""
    try:
        status, crc = path.stat(), 0
        if not stat.S_ISREG(status.st_mode):  # to open a pipe waits for a writer
            return Mark(UNKNOWN, UNKNOWN)
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            for block in range(_BLOCKS):
                file.seek(max(0, size * (2 * block + 1) // (2 * _BLOCKS) - _BLOCK_BYTES // 2))
                crc = zlib.crc32(file.read(_BLOCK_BYTES) or b"", crc)
    except OSError:
        return Mark(modified_ns(path), UNKNOWN)
    return Mark(status.st_mtime_ns, crc)
