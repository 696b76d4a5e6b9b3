"""Segments of 20,480 samples (80 frames, 929 ms; the paper's 930 ms), cut from recordings of any length."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.files import AudioHeader, read_samples
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.time_limit import within
from umc_cli.errors import InputError

WaveformSegments = tuple[NDArray[np.float32], NDArray[np.int64]]
"""[n, 20480] float32, full scale 1; [n] first samples."""


def segment_starts(n_samples: int, settings: SegmentSettings) -> range:
    """Return the start sample of every segment of a recording of `n_samples`, at the rate of `settings`.

    The last partial segment counts if the samples that no whole segment covers are at least half a hop (or half a
    segment, if that is less) long.
    """
    hop, length = settings.hop_samples, settings.segment_samples
    if n_samples < length:
        return range(1 if settings.short_clips == "pad" and n_samples > 0 else 0)
    n_whole = (n_samples - length) // hop + 1
    next_start = n_whole * hop
    covered = (n_whole - 1) * hop + length
    left_over = n_samples - max(next_start, covered)
    enough = {"half": min(hop, length) / 2, "pad": 1, "drop": float("inf")}[settings.remainder]
    return range(0, (n_whole + (left_over >= enough)) * hop, hop)


def read_segments(path: Path, header: AudioHeader, starts: range, settings: SegmentSettings) -> WaveformSegments:
    """Read segments of one recording, and the samples at which they start.

    Shape: [n, 20480] float32, full scale 1, zero-padded behind the end; [n] int64. n is less than len(starts) where
    the silence gate leaves segments out. For features of one's own, length and rate are theirs.

    Raises:
        InputError: see `read_samples`; or every sample of the recording is zero.
    """
    first, length, n_samples = starts[0], settings.segment_samples, header.n_samples_at(settings.read_rate_hz)
    stop = min(n_samples, starts[-1] + length)
    samples = read_samples(path, header, first, stop, settings.read_channel, settings.read_rate_hz)
    # A part of a long recording may be silent; then its segments are.
    if starts == segment_starts(n_samples, settings) and not samples.any():
        raise _silent()
    return _cut(samples, starts, settings)


def read_sounding_segments(path: Path, header: AudioHeader, most: int, settings: SegmentSettings) -> WaveformSegments:
    """Return the first segments of a recording without the digital zeros that it begins or ends with, `most` of them.

    Such zeros are padding, which says nothing of the device; those of a pause may be its gate, and stay. Less than a
    frame of them stays too.

    Raises:
        InputError: see `read_segments`.
    """
    n_samples = header.n_samples_at(settings.read_rate_hz)
    every = segment_starts(n_samples, settings)
    starts = every[:most]
    if starts:
        stop = n_samples if starts == every else starts[-1] + settings.segment_samples
        samples = read_samples(path, header, 0, stop, settings.read_channel, settings.read_rate_hz)
        first, last = _sounding(samples)
        if first == last and starts == every:
            raise _silent()
        # A clip that was filled up to a segment is not one that is too short.
        starts = (segment_starts(last - first, settings)[:most] or starts[:1]) if first < last else range(0)
    if not starts:
        return np.zeros((0, settings.segment_samples), np.float32), np.zeros(0, np.int64)
    segments, start_samples = _cut(samples[first:last], starts, settings)
    return segments, start_samples + first


def _sounding(samples: NDArray[np.float32]) -> tuple[int, int]:
    """Return where samples begin and end if zeros at either end are left out, of a frame or more."""
    sounding = np.flatnonzero(samples)
    if not len(sounding):
        return 0, 0
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    least = LOG_MEL_SETTINGS.n_fft
    return first if first >= least else 0, last if len(samples) - last >= least else len(samples)


def _silent() -> InputError:
    return InputError("is silent: every sample is zero", "check the recording, or leave it out")


def _cut(samples: NDArray[np.float32], starts: range, settings: SegmentSettings) -> WaveformSegments:
    """Return the segments at `starts` of samples that begin at the first of these, padded with zeros."""
    length = settings.segment_samples
    padding = starts[-1] - starts[0] + length - len(samples)
    samples = np.pad(samples, (0, padding)) if padding > 0 else samples
    segments = np.lib.stride_tricks.sliding_window_view(samples, length, writeable=True)[:: starts.step][: len(starts)]
    start_samples = np.arange(starts.start, starts.stop, starts.step, dtype=np.int64)
    if settings.silence_gate is not None:
        mean_square = np.square(segments, dtype=np.float32).mean(axis=1)
        loud = mean_square >= 10 ** (settings.silence_gate / 10)
        segments, start_samples = segments[loud], start_samples[loud]
    return segments, start_samples


def read_segments_within(
    timeout_s: float, path: Path, header: AudioHeader, starts: range, settings: SegmentSettings
) -> WaveformSegments:
    """As `read_segments`, but wait no longer than `timeout_s` for a disk or network that does not answer.

    Raises:
        InputError: see `read_segments`; or reading took longer.
    """
    return within(timeout_s, lambda: read_segments(path, header, starts, settings))
