"""The second decoder, FFmpeg through PyAV: for what libsndfile cannot read, or reads wrongly.

Every read decodes from the beginning and counts samples. Time stamps do not lead to a sample: phones write them by the
clock, Matroska in milliseconds, and what a decoder gives after a jump depends on where it jumped to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from numpy.typing import DTypeLike, NDArray

from umc_cli.errors import InputError

_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,eac3,flac,flv,gsm,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,qcp,rm,tak,tta,voc,w64,wav,wv,xwma"
)
"""What is opened. Playlists are not: they name other files and addresses."""

_WITHOUT_FRAME_TABLE = frozenset({"aac", "ac3", "amr", "amrnb", "amrwb", "eac3", "gsm", "loas", "mp3"})
"""Frames one after the other: tags between them, or a last one that was never finished, are no damage."""

_MOST_BAD_PACKETS = 2, 0.01
"""This many, and this share of all."""

_FORMATS: dict[str, tuple[DTypeLike, float, float]] = {
    "u8": (np.uint8, 128, 1 / (1 << 7)),
    "s16": (np.int16, 0, 1 / (1 << 15)),
    "s32": (np.int32, 0, 1 / (1 << 31)),
    "flt": (np.float32, 0, 1),
    "dbl": (np.float64, 0, 1),
}
"""Of each format of samples: the type, the value of silence, and the factor to full scale."""

_MOST_CHANNELS = 1024
"""As libsndfile."""

_PROTECTED = frozenset({"drms", "enca", "aavd"})

_LONG_WAV_BYTES = 1 << 32
"""From here on the sizes in a WAV header may have overflowed."""

_EXPORT = "export it as WAV or FLAC with a program that plays it"


class NotRecognisedError(InputError):
    """FFmpeg does not know the kind of file, or can make nothing of it."""


def count(path: Path, most_frames: int) -> tuple[int, int, int]:
    """Decode a whole file. Return its sample rate, its channels, and its frames.

    Padding that the container says to leave out is not counted. `most_frames`: no file of its size holds more.

    Raises:
        InputError: the file holds no sound, ends early, is damaged or protected, or cannot be decoded.
        OSError: the file cannot be read.
    """
    rate_hz = channels = frames = last = 0
    with _opened(path) as (container, stream):
        for frame in _decoded(container, stream):
            rate_hz, channels = rate_hz or frame.sample_rate, channels or frame.layout.nb_channels
            frames, last = frames + frame.samples, frame.samples
            if frames > most_frames:
                raise InputError("decodes to more sound than a file of its size can hold", _EXPORT)
        if "mov" in container.format.name and stream.duration and stream.time_base:
            # An MP4 says where the recording ended; coded are whole blocks, filled up at the end.
            stated_frames = round(stream.duration * stream.time_base * rate_hz)
            frames = stated_frames if frames - 2 * last < stated_frames < frames else frames
    if not frames:
        raise InputError(
            "holds no samples: its header was never finished, or nothing was recorded",
            "copy it from the recorder again, or repair its header; else leave it out",
        )
    return rate_hz, channels, frames


def mono_blocks(
    path: Path, rate_hz: int, first_frame: int, block_frames: int, channel: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield one channel, or the mean of all, from `first_frame` on, in blocks of `block_frames`; the last is shorter.

    Shape: [block_frames] float32, full scale 1. `rate_hz`: that of `count`. `channel`: counted from 1.

    Raises:
        InputError, OSError: as `count`; or the rate is another one, or the channel is missing in a part of the file.
    """
    parts: list[NDArray[np.float32]] = []
    position, held = 0, 0
    with _opened(path) as (container, stream):
        for frame in _decoded(container, stream):
            if frame.sample_rate != rate_hz:
                raise InputError(f"has another sample rate than the {rate_hz} Hz that were planned", "run again")
            position += frame.samples
            if position <= first_frame:
                continue
            mono = _mono(frame, channel)[max(0, first_frame - position + frame.samples) :]
            parts.append(mono)
            held += len(mono)
            while held >= block_frames:
                joined = np.concatenate(parts)
                yield joined[:block_frames]
                parts, held = [joined[block_frames:]], held - block_frames
    yield np.concatenate(parts) if parts else np.empty(0, np.float32)


def read_channels(path: Path, channels: int, frames: int) -> NDArray[np.float64]:
    """Return all channels of the first `frames` frames of a file. Shape: [frames, channels] float64, full scale 1.

    Raises:
        InputError, OSError: as `count`; or the number of channels changes.
    """
    samples = np.zeros((frames, channels))
    position = 0
    with _opened(path) as (container, stream):
        for frame in _decoded(container, stream):
            if frame.layout.nb_channels != channels:
                raise InputError("changes its number of channels", _EXPORT)
            for index, channel in enumerate(_channels(frame, np.float64)):
                samples[position : position + frame.samples, index] = channel[: frames - position]
            position += frame.samples
            if position >= frames:
                break
    return samples[:position]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
    if path.stat().st_size >= _LONG_WAV_BYTES:
        options["ignore_length"] = "1"
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        with path.open("rb") as file:
            is_mp4 = file.read(12)[4:8] == b"ftyp"
        if is_mp4:
            raise InputError(
                "is truncated: the index that an MP4 file has at its end is missing or damaged",
                "copy it again; if the recorder was killed, a repair tool (untrunc) may save it",
            ) from error
        raise NotRecognisedError("cannot be decoded: the format is not known", _EXPORT) from error
    with container:
        yield container, _sound_of(container)


def _sound_of(container: Any) -> Any:
    """Return the first stream of sound.

    Raises:
        InputError: there is none, or none that can be decoded.
    """
    if not container.streams.audio:
        what = "only pictures" if container.streams.video else "nothing that can be heard"
        raise InputError(f"holds no sound, {what}", "leave it out, or record it again with sound")
    stream = container.streams.audio[0]
    codec = stream.codec_context
    if codec is not None and codec.codec_tag in _PROTECTED:
        raise InputError("is protected (DRM): it cannot be decoded", "use a recording of your own")
    if codec is None:
        raise InputError("holds audio in a codec that cannot be decoded here", _EXPORT)
    if codec.channels > _MOST_CHANNELS:
        raise InputError(f"says it has {codec.channels} channels", _EXPORT)
    if "mov" in container.format.name and len(stream.index_entries):
        last = stream.index_entries[-1]
        if last.pos + last.size > container.size:
            raise InputError("is truncated: it ends earlier than its index says", "copy or record it again")
    codec.thread_count = 1  # the readers are threads already
    return stream


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield frames of samples that all have the rate of the first.

    Raises:
        InputError: the file ends early or is damaged, its rate changes, or its samples are of an unknown kind.
    """
    has_table = container.format.name not in _WITHOUT_FRAME_TABLE
    rate_hz = samples = n_packets = n_bad = 0
    try:
        for packet in container.demux(stream):
            if n_bad and has_table and packet.size:
                raise InputError(f"is damaged: it cannot be decoded after {samples / (rate_hz or 1):.2f} s", _EXPORT)
            n_packets += 1
            try:
                frames = packet.decode()
            except InvalidDataError:
                n_bad += 1
                continue
            for frame in frames:
                rate_hz = rate_hz or frame.sample_rate
                if frame.sample_rate != rate_hz:
                    raise InputError(
                        f"changes its sample rate from {rate_hz} to {frame.sample_rate} Hz "
                        f"after {samples / rate_hz:.2f} s",
                        "export it again at one sample rate",
                    )
                samples += frame.samples
                yield frame
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        if not samples:
            raise NotRecognisedError("cannot be decoded: its header is damaged", _EXPORT) from error
        raise InputError(f"is damaged: it cannot be decoded after {samples / rate_hz:.2f} s", _EXPORT) from error
    most, share = _MOST_BAD_PACKETS
    if n_bad and has_table:
        raise InputError(
            f"is truncated: it ends after {samples / (rate_hz or 1):.2f} s in the middle of a block",
            "copy or record it again",
        )
    if n_bad > most + share * n_packets:
        raise InputError(f"is damaged: {n_bad} of its {n_packets} blocks cannot be decoded", _EXPORT)


def _channels(frame: Any, dtype: DTypeLike) -> list[NDArray[Any]]:
    """Return the channels of a frame, full scale 1, each of shape [samples]."""
    name = frame.format.packed.name
    if name not in _FORMATS:
        raise InputError(f"holds samples of the kind {name}", _EXPORT)
    stored, silence, factor = _FORMATS[name]
    if frame.format.is_planar:
        channels = [np.frombuffer(plane, stored, frame.samples) for plane in frame.planes]
    else:
        count = frame.layout.nb_channels
        channels = list(np.frombuffer(frame.planes[0], stored, frame.samples * count).reshape(-1, count).T)
    scaled = [channel.astype(dtype, copy=False) for channel in channels]
    return scaled if factor == 1 else [(channel - silence) * factor for channel in scaled]


def _mono(frame: Any, channel: int | None) -> NDArray[np.float32]:
    channels: list[NDArray[np.float32]] = _channels(frame, np.float32)
    if channel is not None:
        if channel > len(channels):
            raise InputError("changes its number of channels", _EXPORT)
        return channels[channel - 1]
    match channels:
        case [only]:
            return only
        case [left, right]:
            return (left + right) * np.float32(0.5)
        case _:
            return np.asarray(np.mean(channels, axis=0, dtype=np.float32))
