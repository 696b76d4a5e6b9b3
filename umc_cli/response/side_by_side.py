"""Two recordings of the same sounds: where one lies in the other, how fast its clock runs, and what one of them lost.

Long windows of one are sought in all of the other, then short windows near where that says (`window_lags`). A clock
that runs at another speed makes the lag a line over time; lost samples make it jump, and begin another line. Both
recordings are mono at 22,050 Hz.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.errors import InputError
from umc_cli.response.window_lags import MOST_DRIFT, SAME_LINE, WINDOW, Window, find_anchors, track

LEAST_COMMON_S = 8.0
"""What two recordings must have in common to learn from them."""

_LEAST_WINDOWS = 4
"""Of a line."""
_RECENT = 30
"""Windows that tell where a line is."""
_LEAST_SURE = 0.5
"""Of the windows with sound between the first and the last sure one: unrelated recordings of like sounds (drum hits)
reach 0.37, phones side by side 1."""
_ENDS = 3
"""Windows without a sure place that still count after the last sure one."""

_BLOCK = 256
_QUIET_DB = 15.0
"""Below the mean power of a recording: what is quieter may be the pauses between sounds."""
_MOST_MISMATCH_DB = 10.0
_DIGITAL_SILENCE_DB = -96.0


_REMEDY = "record with both devices at once, side by side, with sound that is clearly louder than the room's noise"


@dataclass(frozen=True)
class Stretch:
    """A part of the reference's recording that the device's holds without a gap."""

    start: int
    """First sample, counted in the reference's recording at 22,050 Hz."""
    stop: int
    lag: float
    """At sample 0: how many samples later the device's recording holds the same sound."""


@dataclass(frozen=True)
class Alignment:
    """How a device's recording lies beside the reference's."""

    stretches: tuple[Stretch, ...]
    """In order, apart from each other."""
    drift_ppm: float
    """How much faster the device's clock counts; 0 where there is too little to tell."""
    lost_s: float
    """Of the common part, what was cut out: samples that were lost, or sounds that one of them alone holds."""
    n_jumps: int
    """Places where samples were lost or added."""

    @property
    def common_s(self) -> float:
        """Return how long all stretches are, in s."""
        return sum(stretch.stop - stretch.start for stretch in self.stretches) / SAMPLE_RATE_HZ

    def device_start(self, start: int, length: int) -> int | None:
        """Return where the device's recording holds a part of the reference's; None where not all of it does."""
        for stretch in self.stretches:
            if stretch.start <= start and start + length <= stretch.stop:
                return round(start + stretch.lag + self.drift_ppm * 1e-6 * (start + length / 2))
        return None


def align(reference: NDArray[np.float32], device: NDArray[np.float32]) -> Alignment:
    """Find the sounds of `reference` in `device`. Shape: [n], [m], mono at 22,050 Hz.

    The offset may have any size, the clocks may differ by 500 ppm, and samples may be missing on either side. Levels
    and polarity do not matter.

    Raises:
        InputError: the recordings do not hold the same sounds, or for less than 8 s in all.
    """
    anchors = find_anchors(reference, device)
    if not anchors:
        raise InputError(
            "do not contain the same sounds: no part of one was found in the other",
            _REMEDY,
        )
    windows = track(reference, device, anchors)
    drift = _drift(windows)
    lines = _lines(windows, drift)
    if not lines:
        raise InputError(
            "do not contain the same sounds for long enough to be aligned",
            _REMEDY,
        )
    if _sure_share(reference, windows, lines) < _LEAST_SURE:
        raise InputError("do not contain the same sounds: most sounds of one cannot be located in the other", _REMEDY)
    found = _stretches(reference, device, windows, lines, drift)
    common = Alignment(found, round(drift * 1e6, 2), 0.0, len(lines) - 1)
    if common.common_s < LEAST_COMMON_S:
        raise InputError(
            f"have only {common.common_s:.1f} s in common; at least {LEAST_COMMON_S:g} s are needed",
            "record with both devices at the same time for a minute",
        )
    whole_s = (found[-1].stop - found[0].start) / SAMPLE_RATE_HZ
    return Alignment(found, common.drift_ppm, round(whole_s - common.common_s, 2), common.n_jumps)


def _drift(windows: Sequence[Window]) -> float:
    """Return by how much the lag grows per sample: the median slope within runs without a jump, weighted by length."""
    runs: list[list[Window]] = [[]]
    for window in windows:
        if window.lag is None:
            continue
        last = runs[-1][-1] if runs[-1] else None
        if last is not None and abs(window.lag - (last.lag or 0)) > SAME_LINE + MOST_DRIFT * (
            window.start - last.start
        ):
            runs.append([])
        runs[-1].append(window)
    slopes, weights = [], []
    for run in runs:
        half = len(run) // 2
        for one, other in zip(run[:half], run[-half:] if half else [], strict=True):
            length = other.start - one.start
            if length >= 4 * SAMPLE_RATE_HZ:
                slopes.append(((other.lag or 0) - (one.lag or 0)) / length)
                weights.append(length)
    if not slopes:
        return 0.0
    order = np.argsort(slopes)
    passed = np.cumsum(np.array(weights)[order])
    return float(np.clip(np.array(slopes)[order][np.searchsorted(passed, passed[-1] / 2)], -MOST_DRIFT, MOST_DRIFT))


def _lines(windows: Sequence[Window], drift: float) -> list[tuple[float, list[int]]]:
    """Return the lag at sample 0 and the windows of every line that enough windows lie on, in the order of time.

    A jump begins another line; single windows off the line (a loud reflection) do not.
    """
    level = {index: one.lag - drift * one.start for index, one in enumerate(windows) if one.lag is not None}
    found: list[list[int]] = []
    current: list[int] = []
    others: list[int] = []
    for index, lag in level.items():
        if not current or abs(lag - np.median([level[one] for one in current[-_RECENT:]])) <= SAME_LINE:
            current.append(index)
            others = []
            continue
        others.append(index)
        near = [one for one in others if abs(level[one] - lag) <= SAME_LINE]
        if len(near) >= min(_LEAST_WINDOWS, len(current) + 1):
            found.append(current)
            current, others = near, []
    merged: list[tuple[float, list[int]]] = []
    for line in [*found, current]:
        if len(line) < _LEAST_WINDOWS:
            continue
        lag = float(np.median([level[one] for one in line]))
        if merged and abs(merged[-1][0] - lag) <= SAME_LINE:
            merged[-1][1].extend(line)
        else:
            merged.append((lag, line))
    return merged


def _sure_share(
    reference: NDArray[np.float32], windows: Sequence[Window], lines: Sequence[tuple[float, list[int]]]
) -> float:
    """Return which share of the windows with sound, from the first to the last on a line, lies on one."""
    levels = _Levels(reference)
    between = range(lines[0][1][0], lines[-1][1][-1] + 1)
    loud = {index for index in between if levels.at(windows[index].start) > levels.quiet_db}
    sure = {index for _, line in lines for index in line}
    return len(loud & sure) / len(loud) if loud else 1.0


def _stretches(
    reference: NDArray[np.float32],
    device: NDArray[np.float32],
    windows: Sequence[Window],
    lines: Sequence[tuple[float, list[int]]],
    drift: float,
) -> tuple[Stretch, ...]:
    """Return what of the reference's recording can be used: on a line, without what only one of the two holds."""
    levels = _Levels(reference), _Levels(device)
    found: list[Stretch] = []
    for number, (lag, line) in enumerate(lines):
        first, last = line[0], line[-1]
        # Next to a jump a window may hold both sides of it; at the ends the silence before and after counts too.
        first = first + 1 if number else max(0, first - _ENDS)
        last = last - 1 if number < len(lines) - 1 else min(len(windows) - 1, last + _ENDS)
        offsets = {index: round(lag + drift * windows[index].start) for index in range(first, last + 1)}
        inside = [
            index for index, offset in offsets.items() if 0 <= windows[index].start + offset <= len(device) - WINDOW
        ]
        if not inside:
            continue
        gains = [
            levels[1].at(windows[i].start + offsets[i]) - levels[0].at(windows[i].start) for i in line if i in offsets
        ]
        gain_db = float(np.median(gains)) if gains else 0.0
        sure = set(line)
        good = [
            index
            for index in inside
            if index in sure or _is_alike(levels, windows[index].start, offsets[index], gain_db)
        ]
        found += _joined(good, windows, lag)
    whole = [part for stretch in found for part in _without_gaps(stretch, levels, drift)]
    return tuple(sorted(whole, key=lambda stretch: stretch.start))


def _joined(good: Sequence[int], windows: Sequence[Window], lag: float) -> list[Stretch]:
    """Return the stretches that neighbouring windows make."""
    stretches: list[Stretch] = []
    for index in good:
        start = windows[index].start
        if stretches and start <= stretches[-1].stop:
            stretches[-1] = Stretch(stretches[-1].start, start + WINDOW, lag)
        else:
            stretches.append(Stretch(start, start + WINDOW, lag))
    return stretches


class _Levels:
    """Short-term levels of a recording."""

    def __init__(self, samples: NDArray[np.float32]) -> None:
        n_blocks = len(samples) // _BLOCK
        power = np.empty(n_blocks, np.float32)
        for first in range(0, n_blocks, 1 << 14):  # not all squares at once
            part = samples[first * _BLOCK : min(n_blocks, first + (1 << 14)) * _BLOCK].reshape(-1, _BLOCK)
            power[first : first + len(part)] = np.square(part - part.mean(axis=1, keepdims=True)).mean(axis=1)
        self.power = power
        self.quiet_db = float(_decibels(power.mean())) - _QUIET_DB

    def at(self, start: int) -> float:
        """Return the level of a window, in dB."""
        return float(_decibels(self.power[start // _BLOCK : (start + WINDOW) // _BLOCK].mean()))


def _decibels(power: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-15)), np.float64)


def _is_alike(levels: tuple[_Levels, _Levels], start: int, offset: int, gain_db: float) -> bool:
    """Tell whether a window without a sure place may be the same sound: as loud as it should be, or quiet in both."""
    before, after = levels[0].at(start), levels[1].at(start + offset)
    both_quiet = before <= levels[0].quiet_db and after <= levels[1].quiet_db
    return both_quiet or abs(after - before - gain_db) <= _MOST_MISMATCH_DB


def _without_gaps(stretch: Stretch, levels: tuple[_Levels, _Levels], drift: float) -> Iterator[Stretch]:
    """Cut out where one recording holds digital silence and the other one sound: lost samples that were filled in."""
    first, stop = -(-stretch.start // _BLOCK), stretch.stop // _BLOCK
    places = np.arange(first, stop)
    shifted = np.round((places * _BLOCK + stretch.lag + drift * places * _BLOCK) / _BLOCK).astype(np.int64)
    shifted = np.clip(shifted, 0, len(levels[1].power) - 1)
    own, other = (_decibels(each) for each in (levels[0].power[places], levels[1].power[shifted]))
    is_gap = ((own < _DIGITAL_SILENCE_DB) & (other > levels[1].quiet_db)) | (
        (other < _DIGITAL_SILENCE_DB) & (own > levels[0].quiet_db)
    )
    edges = np.flatnonzero(np.diff(np.concatenate([[True], is_gap, [True]]).astype(np.int8)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        # A block beside a gap may hold a part of it.
        low = stretch.start if start == 0 else int(places[0] + start + 1) * _BLOCK
        high = stretch.stop if end == len(is_gap) else int(places[0] + end - 1) * _BLOCK
        if high > low:
            yield Stretch(low, high, stretch.lag)
