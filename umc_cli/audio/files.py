"""Audio files: how long they are, and the samples as mono float32, at 22,050 Hz if no other rate is asked for.

libsndfile decodes what it reads rightly, FFmpeg the rest. Which one is told by the file: libsndfile, if the length that
it gives is the true one.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from umc_cli.atomic_write import atomic_path
from umc_cli.audio.length_promise import Promise, length_promise
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SAMPLE_RATE_HZ
from umc_cli.errors import InputError

_SUFFIXES = """
    3g2 3ga 3gp aac aif aifc aiff amr ape au avi awb bwf caf flac m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpga oga ogg ogv
    opus qta rf64 snd spx tta w64 wav wave weba webm wma wmv wv
"""
AUDIO_SUFFIXES = frozenset("." + suffix for suffix in _SUFFIXES.split())
"""Names of files that are taken for recordings; what a file is, its content says. Films count by their sound."""

LOWEST_SAMPLE_RATE_HZ = 4_000
"""Below telephone quality a header is broken rather than the recording slow."""

HIGHEST_SAMPLE_RATE_HZ = 1_000_000
"""Above it a header is broken; what is computed at the rate of a recording would take memory without end."""

_BLOCK_FRAMES = 1 << 18
"""Frames decoded at once: 12 s at 22,050 Hz, 2 MB for stereo."""

_MOST_FRAMES_PER_BYTE = 1 << 13
"""FLAC codes 65,535 frames of silence in 11 bytes."""

_HEAD_BYTES = 4096
"""Where the headers of most files end."""

_LOUDEST = 1e6
"""Float samples may exceed full scale (1), but not by 120 dB: squared, they would leave the range of float32."""

_NO_SUCH_FILE = "File does not exist or is not a regular file"
_GUARD_SECONDS = 0.5
"""Decoded before the wanted samples, far beyond the length of the resampler's filter and of an MP3 frame."""


@dataclass(frozen=True)
class AudioHeader:
    """What a file holds."""

    sample_rate_hz: int
    channels: int
    frames: int

    @property
    def n_samples(self) -> int:
        """Return the length after resampling to 22,050 Hz."""
        return self.n_samples_at(SAMPLE_RATE_HZ)

    def n_samples_at(self, rate_hz: int) -> int:
        """Return the length after resampling to `rate_hz`."""
        return round(self.frames * rate_hz / self.sample_rate_hz)


def read_header(path: Path, may_be_short: bool = False) -> AudioHeader:
    """Return rate, channels and length of an audio file. `may_be_short`: it need not fill a frame of a spectrogram.

    The length is true: where headers do not promise it, the file is decoded once.

    Raises:
        InputError: the file is missing, empty, unreadable, a folder, no audio, truncated, too short or of an absurd
            rate.
    """
    with _explain(path):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise InputError("has a name that is not UTF-8", "rename it") from error
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(
                "is a folder, not an audio file", "list the files in it, or remove the suffix from its name"
            )
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a regular file", "copy the recording into a file")
        if status.st_size == 0:
            raise InputError("has zero bytes", "record or copy it again")
        if not os.access(path, os.R_OK):
            raise InputError("cannot be read: permission denied", "give yourself read permission (chmod u+r)")
        header = _true_header(path, status.st_size * _MOST_FRAMES_PER_BYTE)
    if header.sample_rate_hz < LOWEST_SAMPLE_RATE_HZ:
        raise InputError(
            f"says it has a sample rate of {header.sample_rate_hz} Hz, below {LOWEST_SAMPLE_RATE_HZ}",
            "correct the header or record it again",
        )
    if header.sample_rate_hz > HIGHEST_SAMPLE_RATE_HZ:
        raise InputError(
            f"says it has a sample rate of {header.sample_rate_hz} Hz, above {HIGHEST_SAMPLE_RATE_HZ}",
            "correct the header or record it again",
        )
    if header.n_samples < LOG_MEL_SETTINGS.n_fft and not may_be_short:
        raise InputError(
            f"is {header.n_samples} samples long at 22,050 Hz, shorter than one frame of {LOG_MEL_SETTINGS.n_fft}",
            "leave it out, or record at least 50 ms",
        )
    return header


def read_samples(
    path: Path,
    header: AudioHeader,
    start: int,
    stop: int,
    channel: int | None = None,
    rate_hz: int = SAMPLE_RATE_HZ,
) -> NDArray[np.float32]:
    """Return the samples from `start` to `stop`, both counted at `rate_hz`, 22,050 Hz.

    Shape: [stop - start] float32, mono, full scale 1. Resampled (soxr, HQ) before it is cut. `channel`: counted from 1;
    None means the mean of all.

    Raises:
        InputError: there is no such channel, the file ends early, cannot be decoded, or holds NaN or infinite samples.
    """
    _check_channel(header, channel)
    # Decoding may begin only where input and output samples coincide, or the resampler's phase would differ.
    divisor = gcd(header.sample_rate_hz, rate_hz)
    period_in, period_out = header.sample_rate_hz // divisor, rate_hz // divisor
    skipped_periods = max(0, int((start - _GUARD_SECONDS * rate_hz) // period_out))
    samples = np.empty(stop - start, dtype=np.float32)
    position = skipped_periods * period_out
    with _explain(path):
        for block in _resampled_blocks(path, header, skipped_periods * period_in, channel, rate_hz):
            low, high = max(start, position), min(stop, position + len(block))
            if low < high:
                samples[low - start : high - start] = block[low - position : high - position]
            position += len(block)
            if position >= stop:
                break
    # Rounding may leave the resampler's output a sample or two short of the length that the header promises.
    if position < stop - 2:
        raise _truncated(position / rate_hz, header)
    samples[max(0, position - start) :] = 0
    _check_finite(samples)
    return samples


def _check_channel(header: AudioHeader, channel: int | None) -> None:
    if channel is not None and channel > header.channels:
        raise InputError(f"has no channel {channel}", f"it has {header.channels}, counted from 1")


def _check_finite(samples: NDArray[np.float32]) -> None:
    # NaN compares false with everything.
    if not max(samples.max(initial=0), -samples.min(initial=0)) < _LOUDEST:
        raise InputError(
            "holds NaN or infinite samples, or samples above a million times full scale",
            "export it again from the original recording",
        )


def _truncated(seconds: float, header: AudioHeader) -> InputError:
    return InputError(
        f"is truncated: it ends after {seconds:.2f} s although its header promises "
        f"{header.n_samples / SAMPLE_RATE_HZ:.2f} s",
        "copy or record it again",
    )


def _resampled_blocks(
    path: Path, header: AudioHeader, first_frame: int, channel: int | None, rate_hz: int
) -> Iterator[NDArray[np.float32]]:
    resampler = (
        soxr.ResampleStream(header.sample_rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
        if header.sample_rate_hz != rate_hz
        else None
    )
    # Wide files are decoded in shorter blocks, so that memory does not grow with the number of channels.
    block_frames = max(4096, _BLOCK_FRAMES // header.channels)
    for mono in _mono_blocks(path, header, first_frame, block_frames, channel):
        last = len(mono) < block_frames
        if resampler is None:
            yield mono
        elif len(mono) or last:
            yield resampler.resample_chunk(np.ascontiguousarray(mono), last=last)


def _mono_blocks(
    path: Path, header: AudioHeader, first_frame: int, block_frames: int, channel: int | None
) -> Iterator[NDArray[np.float32]]:
    """Yield one channel, or the mean of all, in blocks of `block_frames`; the last is shorter, or empty."""
    with _libsndfile(path) as file:
        if file is not None and _is_right(file, header):
            file.seek(first_frame)
            last = False
            while not last:
                frames = file.read(block_frames, dtype="float32", always_2d=True)
                last = len(frames) < block_frames
                match header.channels:
                    case _ if channel is not None:
                        yield frames[:, channel - 1]
                    case 1:
                        yield frames[:, 0]
                    case 2:
                        yield (frames[:, 0] + frames[:, 1]) * 0.5
                    case _:
                        yield frames.mean(axis=1)
            return
    from umc_cli.audio import ffmpeg  # loads 60 MB of libraries, which most recordings do not need

    yield from ffmpeg.mono_blocks(path, header.sample_rate_hz, first_frame, block_frames, channel)


def own_rate_blocks(path: Path, header: AudioHeader, channel: int | None = None) -> Iterator[NDArray[np.float32]]:
    """Yield a whole recording at its own sample rate, block by block; together `header.frames` samples.

    Shape: [n] float32, mono, full scale 1. `channel`: counted from 1; None means the mean of all.

    Raises:
        InputError: see `read_samples`.
    """
    _check_channel(header, channel)
    position = 0
    block_frames = max(4096, _BLOCK_FRAMES // header.channels)
    with _explain(path):
        for block in _mono_blocks(path, header, 0, block_frames, channel):
            block = block[: header.frames - position]
            position += len(block)
            _check_finite(block)
            if len(block):
                yield np.ascontiguousarray(block)
    if position < header.frames:
        raise _truncated(position / header.sample_rate_hz, header)


def read_channels(path: Path, header: AudioHeader) -> NDArray[np.float64]:
    """Return all channels as they were recorded, for measurements. Shape: [frames, channels] float64, full scale 1.

    Raises:
        InputError: the file ends early or cannot be decoded.
    """
    with _explain(path):
        with _libsndfile(path) as file:
            if file is not None and _is_right(file, header):
                return np.asarray(file.read(dtype="float64", always_2d=True))
        from umc_cli.audio import ffmpeg

        return ffmpeg.read_channels(path, header.channels, header.frames)


def _true_header(path: Path, most_frames: int) -> AudioHeader:
    promise = length_promise(path)
    if promise is Promise.BROKEN:
        raise InputError("is truncated: it ends earlier than its header says", "copy or record it again")
    stated_header: AudioHeader | None = None
    reason: Exception | None = None
    try:
        with soundfile.SoundFile(str(path)) as file:
            stated_header = AudioHeader(file.samplerate, file.channels, file.frames)
            is_estimate = promise is Promise.UNKNOWN and file.format == "MP3"
            if (
                promise is not Promise.NONE
                and not is_estimate
                and file.seekable()
                and stated_header.frames <= most_frames
            ):
                return stated_header
    except (soundfile.SoundFileError, TypeError) as error:
        reason = error
    from umc_cli.audio import ffmpeg

    try:
        return AudioHeader(*ffmpeg.count(path, most_frames))
    except ffmpeg.NotRecognisedError:
        if reason:
            raise reason from None
        raise InputError(
            "has a header that was never finished: it does not say how long the recording is",
            "repair it, for example with: sox --ignore-length IN OUT",
        ) from None


def _is_right(file: soundfile.SoundFile, header: AudioHeader) -> bool:
    return bool((file.samplerate, file.channels, file.frames, file.seekable()) == (*astuple(header), True))


@contextmanager
def _libsndfile(path: Path) -> Iterator[soundfile.SoundFile | None]:
    """Open a file, or give None if libsndfile does not know its kind."""
    # soundfile opens one file at a time: a disk that does not answer must hold up this thread, not all of them.
    with path.open("rb") as begin:
        begin.read(_HEAD_BYTES)
    try:
        file = soundfile.SoundFile(str(path))
    except (soundfile.SoundFileError, TypeError):
        yield None
        return
    with file:
        yield file


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("does not exist", "correct the path in the manifest or list") from error
    except PermissionError as error:
        raise InputError("cannot be read: permission denied", "give yourself read permission (chmod u+r)") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", "check the path and the disk") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a suffix that means samples without a header
        if not path.exists():
            raise InputError("no longer exists", "put it back, or convert again without it") from error
        reason = (str(error).splitlines() or ["no reason given"])[0]
        reason = reason.removeprefix(f"Error opening {str(path)!r}: ").rstrip(".")
        if reason.startswith(_NO_SUCH_FILE):  # what libsndfile says of a file that its MP3 reader refuses
            reason = "Format not recognised"
        raise InputError(
            f"cannot be decoded: {reason}", "it is damaged or not audio: record it again, or export it as WAV or FLAC"
        ) from error


def write_samples(path: Path, samples: NDArray[np.floating], rate_hz: int, kind: str, subtype: str) -> None:
    """Write a file of one channel, complete or not at all. `kind`: `FLAC` or `WAV`; `subtype`: `PCM_16` or `PCM_24`.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    with atomic_path(path) as partial, partial.open("w+b") as file:  # libsndfile takes no name that is not UTF-8
        soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
