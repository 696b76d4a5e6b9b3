"""Whether an audio file ends before the data that its container promises, which libsndfile forgives in silence."""

import struct
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZE = 0x7FFF_F000
"""Programs that write to a pipe put this or more (or 0) where they cannot know the size."""

_SLACK_BYTES = 64
"""Some recorders count the header as data."""

_MOST_CHUNKS = 10_000

_OGG_TAIL_BYTES = 1 << 16
"""No Ogg page is longer (65,307 bytes at the most)."""


def is_cut_short(path: Path) -> bool:
    """Tell whether a WAV, AIFF or Ogg file ends early. Other formats fail when they are decoded.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        match head[:4], head[8:12]:
            case b"RIFF" | b"RF64", b"WAVE":
                return _chunk_is_cut_short(file, b"data", "<I")
            case b"RIFX", b"WAVE":
                return _chunk_is_cut_short(file, b"data", ">I")
            case b"FORM", b"AIFF" | b"AIFC":
                return _chunk_is_cut_short(file, b"SSND", ">I")
            case b"OggS", _:
                return _lacks_last_ogg_page(file)
    return False


def _chunk_is_cut_short(file: BinaryIO, wanted: bytes, size_format: str) -> bool:
    """Walk the chunks (name, size, content, padded to an even length) behind the 12 bytes of the form's header."""
    position = 12
    long_size: int | None = None
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        name, size_bytes = file.read(4), file.read(4)
        if len(size_bytes) < 4:
            break
        (size,) = struct.unpack(size_format, size_bytes)
        if name == b"ds64" and len(sizes := file.read(16)) == 16:  # RF64: sizes beyond 32 bits stand here
            long_size = struct.unpack("<8xQ", sizes)[0]
        if name == wanted:
            if size >= _UNKNOWN_SIZE:
                size = long_size or 0
            missing: int = position + 8 + size - file.seek(0, 2)
            return missing > _SLACK_BYTES
        position += 8 + size + size % 2
    return False


def _lacks_last_ogg_page(file: BinaryIO) -> bool:
    """The last page says that it is the last one, and is whole."""
    length = file.seek(0, 2)
    file.seek(max(0, length - _OGG_TAIL_BYTES))
    tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27:
        return True
    segment_sizes = page[27 : 27 + page[26]]
    is_last = bool(page[5] & 4)
    return not is_last or len(page) < 27 + page[26] + sum(segment_sizes)
