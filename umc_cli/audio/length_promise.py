"""What a file's container promises of its length, and whether the file keeps it; libsndfile forgives in silence."""

import re
import struct
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZE = 0x7FFF_F000
"""Programs that write to a pipe put this or more where they cannot know the size; libsndfile then reads to the end."""

_SLACK_BYTES = 64
"""Some recorders count the header as data."""

_MOST_CHUNKS = 10_000

_W64_FORM = bytes.fromhex("726966662e91cf11a5d628db04c10000")

_MOST_HEAD_BYTES = 1 << 16
"""Where the first MPEG frame begins at the latest, behind the tags."""

_TAG_BYTES = 128
"""An ID3v1 tag, at the end."""

_MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_MPEG1_HZ = (44_100, 48_000, 32_000, 44_100)

_OGG_HEAD_BYTES = 27 + 255

_MOST_TAIL_BYTES = 1 << 20
"""A FLAC file may say that its frames are 16 MB long."""


class Promise(Enum):
    """What the headers are worth."""

    KEPT = "what libsndfile says of the length is right, as far as headers tell"
    BROKEN = "the file ends earlier than its headers say"
    NONE = "the length is estimated, was never written, or is one part's: decode to know it"
    UNKNOWN = "not one of the containers that are looked at here"


def length_promise(path: Path) -> Promise:
    """Compare what a file's headers say of its length with what is there.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        match head[:4], head[8:12]:
            case b"RIFF" | b"RF64" | b"BW64", b"WAVE":
                return _chunk_promise(file, _riff_chunks(file, "<I"), b"data")
            case b"RIFX", b"WAVE":
                return _chunk_promise(file, _riff_chunks(file, ">I"), b"data")
            case b"FORM", b"AIFF" | b"AIFC":
                return _chunk_promise(file, _riff_chunks(file, ">I"), b"SSND")
            case b"caff", _:
                return _chunk_promise(file, _caf_chunks(file), b"data")
            case b"riff", _ if head == _W64_FORM:
                return _chunk_promise(file, _w64_chunks(file), b"data")
            case b".snd", _:
                return _chunk_promise(file, _au_data(file), b"data")
            case b"OggS", _:
                return _ogg_promise(file)
        start = _end_of_id3v2(file)
        if _peek(file, start, 4) == b"fLaC":
            return _flac_promise(file, start + 4)
        return _mpeg_promise(file, start)


_Chunks = Iterator[tuple[bytes, int, int]]
"""Of each chunk the name, where its content begins, and how many bytes long it says that is."""


def _chunk_promise(file: BinaryIO, chunks: _Chunks, wanted: bytes) -> Promise:
    length = _length(file)
    for name, position, size in chunks:
        if name != wanted:
            continue
        behind = length - position - size
        if size == 0 and behind > _SLACK_BYTES and wanted == b"data":  # AIFF: libsndfile reads to the end
            return Promise.NONE
        if behind >= (1 << 32) - _SLACK_BYTES:  # the size has 32 bits, and overflowed
            return Promise.NONE
        return Promise.BROKEN if behind < -_SLACK_BYTES else Promise.KEPT
    return Promise.KEPT


def _riff_chunks(file: BinaryIO, size_format: str) -> _Chunks:
    """Walk chunks of a name, a size and a content padded to an even length, behind the form's 12 bytes."""
    position, length = 12, _length(file)
    long_size: int | None = None
    for _ in range(_MOST_CHUNKS):
        head = _peek(file, position, 8)
        if len(head) < 8:
            return
        name, (size,) = head[:4], struct.unpack(size_format, head[4:])
        if name == b"ds64" and len(sizes := _peek(file, position + 8, 16)) == 16:  # RF64: sizes beyond 32 bits
            long_size = struct.unpack("<8xQ", sizes)[0]
        if size >= _UNKNOWN_SIZE and name in (b"data", b"SSND"):
            size = max(0, length - position - 8) if long_size is None else long_size
        yield name, position + 8, size
        position += 8 + size + size % 2


def _caf_chunks(file: BinaryIO) -> _Chunks:
    position, length = 8, _length(file)
    for _ in range(_MOST_CHUNKS):
        head = _peek(file, position, 12)
        if len(head) < 12:
            return
        name, size = struct.unpack(">4sq", head)
        if size < 0:  # allowed for the last chunk: up to the end
            size = max(0, length - position - 12)
        yield name, position + 12, size
        position += 12 + size


def _w64_chunks(file: BinaryIO) -> _Chunks:
    """Walk chunks of 16 bytes for the name, 8 for the size with both, and a content padded to 8 bytes."""
    position, length = 40, _length(file)
    for _ in range(_MOST_CHUNKS):
        head = _peek(file, position, 24)
        if len(head) < 24:
            return
        name, size = struct.unpack("<4s12xQ", head)
        if size < 24 or size >> 62:  # libsndfile reads to the end
            size = length - position
        yield name, position + 24, size - 24
        position += size + -size % 8


def _au_data(file: BinaryIO) -> _Chunks:
    head = _peek(file, 4, 8)
    if len(head) == 8:
        position, size = struct.unpack(">II", head)
        yield b"data", position, max(0, _length(file) - position) if size == 0xFFFF_FFFF else size


def _ogg_promise(file: BinaryIO) -> Promise:
    """Walk the pages: the last one is whole, and there is one stream with one beginning.

    Many phones never mark the last page as the last; libsndfile then fails at the end of Opus. Streams one after the
    other, or side by side, each have a length; libsndfile says that of one.
    """
    position, length, n_beginnings, is_last = 0, _length(file), 0, False
    is_opus = b"OpusHead" in _peek(file, 0, _OGG_HEAD_BYTES)
    while position < length:
        page = _peek(file, position, _OGG_HEAD_BYTES)
        if not page.startswith(b"OggS"):
            return Promise.BROKEN if b"OggS".startswith(page) and not is_last else Promise.NONE
        if len(page) < 27 or len(page) < 27 + page[26]:
            return Promise.BROKEN
        position += 27 + page[26] + sum(page[27 : 27 + page[26]])
        n_beginnings += bool(page[5] & 2)
        is_last = bool(page[5] & 4)
    if position > length:
        return Promise.BROKEN
    return Promise.KEPT if n_beginnings == 1 and (is_last or not is_opus) else Promise.NONE


def _flac_promise(file: BinaryIO, start: int) -> Promise:
    """Compare the promise with where the last frame ends. `start`: behind `fLaC`."""
    info = _peek(file, start, 4 + 34)[4:]
    if len(info) < 34:
        return Promise.KEPT
    block_samples = int.from_bytes(info[2:4], "big")
    most_frame_bytes = int.from_bytes(info[7:10], "big")
    promised = int.from_bytes(info[13:18], "big") & ((1 << 36) - 1)
    length = _length(file)
    # Tags may lie behind the last frame.
    tail = _peek(file, max(start, length - min(most_frame_bytes or 1 << 16, _MOST_TAIL_BYTES) - 1024), length)
    positions = [match.start() for match in re.finditer(rb"\xff[\xf8\xf9]", tail)]
    tail += bytes(16)  # a frame of silence is shorter than the longest header
    ends = (_end_of_flac_frame(tail[position : position + 16], block_samples) for position in reversed(positions))
    last = next((end for end in ends if end is not None), None)
    return Promise.KEPT if promised and promised == last else Promise.NONE


def _end_of_flac_frame(header: bytes, block_samples: int) -> int | None:
    """Return the number of samples up to the end of the frame with this header; None where it is not a header."""
    size_code, lead = header[2] >> 4, header[4]
    n_more = 7 - (lead ^ 0xFF).bit_length() if lead >= 0xC0 else 0
    if 0x80 <= lead < 0xC0 or lead == 0xFF:
        return None
    number = lead & ((1 << (7 - n_more - bool(n_more))) - 1)
    for byte in header[5 : 5 + n_more]:
        if byte >> 6 != 2:
            return None
        number = number << 6 | byte & 0x3F
    behind = header[5 + n_more :]
    match size_code:
        case 0:
            return None
        case 1:
            samples = 192
        case 6 | 7:
            samples = int.from_bytes(behind[: size_code - 5], "big") + 1
        case _:
            samples = 576 << (size_code - 2) if size_code < 6 else 256 << (size_code - 8)
    n_of_size = size_code - 5 if size_code in (6, 7) else 0
    n_of_rate = {12: 1, 13: 2, 14: 2}.get(header[2] & 0xF, 0)
    length = 5 + n_more + n_of_size + n_of_rate
    if _crc8(header[:length]) != header[length]:  # samples that look like a header
        return None
    is_variable = header[1] & 1
    return number + samples if is_variable else number * block_samples + samples


def _crc8(content: bytes) -> int:
    """Return the checksum at the end of FLAC's headers: polynomial x^8 + x^2 + x + 1, beginning with 0."""
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x107 if crc & 0x80 else 0)) & 0xFF
    return crc


def _mpeg_promise(file: BinaryIO, start: int) -> Promise:
    """Compare the bytes that the first frame (Xing, Info) says there are with the bytes there are.

    Without that frame libsndfile estimates from the first bit rates.
    """
    head = _peek(file, start, _MOST_HEAD_BYTES)
    begin = len(head) - len(head.lstrip(b"\0"))
    header = head[begin : begin + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0 or not header[1] & 6:
        return Promise.UNKNOWN
    is_mpeg1, is_mono = header[1] & 0x18 == 0x18, header[3] >> 6 == 3
    side_bytes = (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)
    tag = head[begin + 4 + side_bytes :][:16]
    is_layer3 = header[1] & 6 == 2
    says_frames_and_bytes = len(tag) == 16 and tag[7] & 3 == 3
    if not is_layer3 or tag[:4] not in (b"Xing", b"Info") or not says_frames_and_bytes:
        return Promise.NONE
    promised = int.from_bytes(tag[12:16], "big")
    missing = start + begin + promised - _end_of_mpeg_frames(file)
    # Some encoders do not count this frame, some count the tags before it.
    slack = _layer3_frame_bytes(header) + 4
    if -slack <= missing <= slack + start:
        return Promise.KEPT
    return Promise.BROKEN if missing > 0 else Promise.NONE


def _layer3_frame_bytes(header: bytes) -> int:
    version = header[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    kbits = (_MPEG1_KBITS if version == 3 else _MPEG2_KBITS)[header[2] >> 4]
    rate_hz = _MPEG1_HZ[header[2] >> 2 & 3] >> {3: 0, 2: 1}.get(version, 2)
    return (144_000 if version == 3 else 72_000) * kbits // rate_hz


def _end_of_mpeg_frames(file: BinaryIO) -> int:
    end = _length(file)
    if _peek(file, end - _TAG_BYTES, 3) == b"TAG":
        end -= _TAG_BYTES
    footer = _peek(file, end - 32, 32)
    if footer.startswith(b"APETAGEX"):
        size, _, flags = struct.unpack("<III", footer[12:24])
        end -= size + (32 if flags >> 31 else 0)
    return end


def _end_of_id3v2(file: BinaryIO) -> int:
    position = 0
    while (head := _peek(file, position, 10))[:3] == b"ID3" and len(head) == 10:
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        position += 10 + size + (10 if head[5] & 0x10 else 0)
    return position


def _peek(file: BinaryIO, position: int, n_bytes: int) -> bytes:
    file.seek(max(0, position))
    return file.read(n_bytes)


def _length(file: BinaryIO) -> int:
    return file.seek(0, 2)
