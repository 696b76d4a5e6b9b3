"""Impulses in a recording: find them whatever the latency, cut them out, and leave out those that went wrong."""

import numpy as np
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray

from umc_cli.errors import InputError
from umc_cli.response.alignment import aligned
from umc_cli.response.impulse_response import (
    BEFORE_S,
    FULL_SCALE,
    Rejected,
    Take,
    drift_ppm,
    late_repeats,
    noise_in_window,
    quiet_part,
    rate_hint,
    window,
    without_offset,
)
from umc_cli.response.stimulus import ImpulseTrain

_FRAME_S = 0.001
_HIGH_PASS_HZ = 100.0
"""Hum and wind below it hide impulses, whose energy lies above."""
_ONSET_DB = 15.0
"""Above the recording's median level: an impulse."""
_WEAKEST_DB = 25.0
"""Further below the loudest impulse than this, a sound is another one: a step, a chair."""
_LEAST_SPACING_S = 0.25
_SEARCH_S = 0.05
"""Around the place where the known spacing puts an impulse."""
_DOUBLE_DB = 12.0
_DOUBLE_SHARE_DB = -20.0
_DOUBLE_AFTER_S = 0.003
_NOISY_DB = 10.0
_BEFORE_S = 0.1
"""Stretch before an impulse that must be quiet."""
_MOST_LAG_S = 0.001


def take_impulses(recording: NDArray[np.float64], rate_hz: int, train: ImpulseTrain | None, window_ms: float) -> Take:
    """Return the impulse responses in a recording of an impulse train, divided by the height of its impulses.

    Shape: [n], full scale 1. `train` None: nothing is known of the impulses but that they are apart by 0.25 s or more;
    their height then counts as 1.

    Raises:
        InputError: no impulse is found, or none of those found can be used.
    """
    steady = without_offset(recording)
    wide_band = scipy.signal.butter(2, _HIGH_PASS_HZ, "highpass", fs=rate_hz, output="sos")
    audible = scipy.signal.sosfiltfilt(wide_band, recording)
    envelope = _envelope(audible, rate_hz)
    frames = _match_spacing(envelope, train) if train else _onsets(envelope)
    if not len(frames):
        raise InputError(
            "contains no impulse above the noise",
            "play the stimulus louder or closer, in a quieter room, and record all of it",
        )
    if train and len(frames) < 0.5 * (
        places := min(train.repeats, int(len(envelope) * _FRAME_S / train.spacing_s) + 1)
    ):
        distance_s = _FRAME_S * float(np.median(np.diff(_onsets(envelope)))) if len(_onsets(envelope)) > 1 else 0.0
        raise InputError(
            f"contains {len(frames)} of {places} impulses at the distances of the stimulus",
            rate_hint(distance_s / train.spacing_s, rate_hz)
            or "check that --stimulus names what was played, and record all of it",
        )
    half_frame = round(_FRAME_S * rate_hz)
    arrivals = [_peak(audible, round(frame * _FRAME_S * rate_hz), half_frame) for frame in frames]
    reasons = _reasons(recording, envelope, arrivals, rate_hz, train, window_ms)
    times_s = [arrival / rate_hz for arrival in arrivals]
    rejected = tuple(Rejected(time, reason) for time, reason in zip(times_s, reasons, strict=True) if reason)
    kept = [arrival for arrival, reason in zip(arrivals, reasons, strict=True) if not reason]
    if not kept:
        problems = sorted({entry.reason for entry in rejected})
        raise InputError(
            f"contains {len(rejected)} impulse{'' if len(rejected) == 1 else 's'}, but none that can be used "
            f"({'; '.join(problems)})",
            "record again and start before the first impulse: quieter if it clips, louder if noise covers it. If the "
            "file is an impulse response, give --stimulus response",
        )
    weights = window(rate_hz, window_ms)
    before = round(BEFORE_S * rate_hz)
    height = 10 ** (train.level_dbfs / 20) if train else 1.0
    cut = np.stack([steady[arrival - before : arrival - before + len(weights)] for arrival in kept])
    lags = aligned(cut * weights, _MOST_LAG_S * rate_hz)[1]
    exact_s = tuple((arrival + lag) / rate_hz for arrival, lag in zip(kept, lags, strict=True))
    silence = quiet_part(steady, rate_hz, times_s[0])
    return Take(
        sample_rate_hz=rate_hz,
        repeats=cut * weights / height,
        arrivals_s=exact_s,
        rejected=rejected,
        silence=silence,
        noise=noise_in_window(silence / height, rate_hz, weights),
        covered_hz=(0.0, rate_hz / 2),
        drift_ppm=drift_ppm(exact_s, train.spacing_s) if train else None,
    )


def _envelope(audible: NDArray[np.float64], rate_hz: int) -> NDArray[np.float64]:
    """Return the mean power of every millisecond. Shape: [n] -> [frames]."""
    edges = np.round(np.arange(int(len(audible) / (_FRAME_S * rate_hz)) + 1) * _FRAME_S * rate_hz).astype(int)
    sums: NDArray[np.float64] = np.add.reduceat(np.square(audible[: edges[-1]]), edges[:-1])
    return sums / np.diff(edges) + 1e-20


def _onsets(envelope: NDArray[np.float64]) -> NDArray[np.int64]:
    level_db = 10 * np.log10(envelope)
    threshold = max(float(np.median(level_db)) + _ONSET_DB, float(level_db.max()) - _WEAKEST_DB)
    # Silence around it lets a peak in the first or last frame count.
    padded = np.pad(level_db, 1, constant_values=level_db.min() - 1)
    found = scipy.signal.find_peaks(padded, height=threshold, distance=round(_LEAST_SPACING_S / _FRAME_S))[0] - 1
    return np.asarray(found, np.int64)


def _match_spacing(envelope: NDArray[np.float64], train: ImpulseTrain) -> NDArray[np.int64]:
    """Return the frame of the loudest sound near every place of the train, where the train fits best.

    The best place is where the most sounds stand at the train's distances. Levels count up to 30 dB above the median,
    so that one loud noise does not outweigh a row of impulses. Where the train is longer than the recording, as many
    impulses as it can hold are looked for.
    """
    level_db = 10 * np.log10(envelope)
    excess_db = np.clip(level_db - np.median(level_db), 0, 2 * _ONSET_DB)
    loudest_near = scipy.ndimage.maximum_filter1d(excess_db, 5)
    spacing = train.spacing_s / _FRAME_S
    count = min(train.repeats, int((len(level_db) - 1) / spacing) + 1)
    steps = np.round(np.arange(count) * spacing).astype(int)
    starts = np.arange(len(level_db) - steps[-1])
    best = int(np.argmax(np.sum([loudest_near[starts + step] for step in steps], axis=0)))
    reach = min(round(_SEARCH_S / _FRAME_S), round(spacing / 3))
    places = [(max(0, best + step - reach), best + step + reach + 1) for step in steps]
    found = [low + int(np.argmax(level_db[low:high])) for low, high in places]
    return np.array([frame for frame in found if excess_db[frame] >= _ONSET_DB], np.int64)


def _peak(audible: NDArray[np.float64], start: int, half_frame: int) -> int:
    low = max(0, start - half_frame)
    return low + int(np.argmax(np.abs(audible[low : start + 2 * half_frame])))


def _reasons(
    recording: NDArray[np.float64],
    envelope: NDArray[np.float64],
    arrivals: list[int],
    rate_hz: int,
    train: ImpulseTrain | None,
    window_ms: float,
) -> list[str]:
    """Say why each impulse cannot be used; empty where it can."""
    late = late_repeats([arrival / rate_hz for arrival in arrivals], train.spacing_s if train else None)
    n_before, n_behind = round(_BEFORE_S / _FRAME_S), max(2, round(window_ms / 1000 / _FRAME_S))
    frames = [round(arrival / rate_hz / _FRAME_S) for arrival in arrivals]
    padded = np.pad(envelope, (n_before, n_behind + 1), constant_values=np.nan)
    windows = np.stack([padded[frame : frame + n_before + n_behind] for frame in frames])
    # No impulse may reach behind the end: nothing is typical there, and a comparison with NaN rejects nothing.
    nowhere = np.isnan(windows).all(axis=0)
    typical = np.nanmedian(np.where(nowhere, np.inf, windows), axis=0)
    noise = windows[:, : n_before - round(BEFORE_S / _FRAME_S)]
    noise_db = 10 * np.log10([np.nanmean(row) if np.isfinite(row).any() else 1e-20 for row in noise])
    skipped = n_before + round(_DOUBLE_AFTER_S / _FRAME_S)
    start, length = round(BEFORE_S * rate_hz), len(window(rate_hz, window_ms))
    reasons = []
    for index, arrival in enumerate(arrivals):
        cut = recording[max(0, arrival - start) : arrival - start + length]
        excess_db = 10 * np.log10(windows[index, skipped:] / typical[skipped:])
        share_db = 10 * np.log10(windows[index, skipped:] / np.nanmax(windows[index]))
        if arrival < start or len(cut) < length:
            reasons.append("cut off by the start or end of the recording")
        elif np.abs(cut).max() >= FULL_SCALE:
            reasons.append("clipped")
        elif late[index]:
            reasons.append("late or early by more than 2 ms")
        elif np.any((excess_db > _DOUBLE_DB) & (share_db > _DOUBLE_SHARE_DB)):
            reasons.append("double: another sound within its window")
        elif noise_db[index] - np.nanmedian(noise_db) > _NOISY_DB:
            reasons.append("noisy: a sound just before it")
        else:
            reasons.append("")
    return reasons
