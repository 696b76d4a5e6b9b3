"""Two recordings of the same sounds: where one lies in the other, how fast its clock runs, and what one of them lost.

Long windows of one are sought in all of the other (GCC-PHAT: the cross-correlation of whitened spectra, Knapp and
Carter 1976), then short windows near where that says. A clock that runs at another speed makes the lag a line over
time; lost samples make it jump, and begin another line. Both recordings are mono at 22,050 Hz.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.signal.windows
import soxr
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.errors import InputError

LEAST_COMMON_S = 8.0
"""What two recordings must have in common to learn from them."""

_LOW_RATE_HZ = 4_410
_ANCHOR_S, _ANCHOR_HOP_S = 4.0, 3.0
_MOST_ANCHORS = 128
_NEXT_TO_NOTHING = 0.01
"""Of the mean magnitude of a cross spectrum."""
_SURE, _CERTAIN = 8.0, 12.0
"""Height of a peak in standard deviations of all lags. Of millions of lags of unrelated noise, the highest is 5.8."""

_FADED_SHARE = 0.05
"""Of a clip, whose sound may begin at once."""

_WINDOW = 16_384
"""0.74 s at 22,050 Hz."""
_HOP = _WINDOW // 2
_REACH = 2_646
"""0.12 s: how far from its expected place a window is sought."""
_NEAR = 6.0
"""As `_SURE`, among the 5,293 lags of a window, of which noise reaches 4.1."""

_MOST_DRIFT = 500e-6
_SAME_LINE = 66
"""3 ms: less does not show in frames that are 11.6 ms apart; reflections that are louder than the direct sound do."""
_LEAST_WINDOWS = 4
"""Of a line."""
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
    anchors = _find_anchors(reference, device)
    if not anchors:
        raise InputError(
            "do not hold the same sounds: no part of one is found in the other",
            _REMEDY,
        )
    windows = _track(reference, device, anchors)
    drift = _drift(windows)
    lines = _lines(windows, drift)
    if not lines:
        raise InputError(
            "do not hold the same sounds for long enough to be laid beside each other",
            _REMEDY,
        )
    if _sure_share(reference, windows, lines) < _LEAST_SURE:
        raise InputError(
            "do not hold the same sounds: most of what sounds in one has no certain place in the other", _REMEDY
        )
    found = _stretches(reference, device, windows, lines, drift)
    common = Alignment(found, round(drift * 1e6, 2), 0.0, len(lines) - 1)
    if common.common_s < LEAST_COMMON_S:
        raise InputError(
            f"have {common.common_s:.1f} s in common, of which at least {LEAST_COMMON_S:g} are needed",
            "record for a minute with both devices at once",
        )
    whole_s = (found[-1].stop - found[0].start) / SAMPLE_RATE_HZ
    return Alignment(found, common.drift_ppm, round(whole_s - common.common_s, 2), common.n_jumps)


def lag_of_clip(reference: NDArray[np.float32], device: NDArray[np.float32], most: int) -> int | None:
    """Return how many samples later a device's short recording holds the same sound; None where that is not sure.

    Shape: [n], [m], mono at 22,050 Hz. Searched within +-`most` samples.
    """
    length = min(len(reference), len(device))
    correlation = _correlation(reference[:length], device[:length], _FADED_SHARE)
    near = np.concatenate([correlation[-most:], correlation[: most + 1]])
    lag, height = _peak(near)
    return lag - most if height >= _SURE else None


@dataclass(frozen=True)
class _Anchor:
    place: float
    """Sample of the reference at 22,050 Hz."""
    lag: float
    height: float


@dataclass(frozen=True)
class _Window:
    start: int
    lag: float | None
    """None: no place is sure."""


def _find_anchors(reference: NDArray[np.float32], device: NDArray[np.float32]) -> list[_Anchor]:
    """Seek windows of the shorter recording in all of the longer one; return the sure ones, in the order of time."""
    swapped = len(device) > len(reference)
    short, long = (reference, device) if swapped else (device, reference)
    low_short, low_long = (soxr.resample(each, SAMPLE_RATE_HZ, _LOW_RATE_HZ, quality="MQ") for each in (short, long))
    length = min(round(_ANCHOR_S * _LOW_RATE_HZ), len(low_short))
    hop = max(round(_ANCHOR_HOP_S * _LOW_RATE_HZ), -(-len(low_short) // _MOST_ANCHORS))
    n = scipy.fft.next_fast_len(len(low_long) + length, real=True)
    spectrum = scipy.fft.rfft(low_long, n)
    taper = _taper(length, 1.0)
    factor = SAMPLE_RATE_HZ / _LOW_RATE_HZ
    found = []
    for start in range(0, len(low_short) - length + 1, hop):
        cross = np.conj(spectrum) * scipy.fft.rfft(low_short[start : start + length] * taper, n)
        correlation = np.abs(scipy.fft.irfft(_whitened(cross), n))
        # Index i: the window lies i samples earlier in its own time than in the other's.
        index, height = _peak(correlation)
        if height < _SURE:
            continue
        place = -index if index <= n - len(low_long) else n - index
        if not -length < place < len(low_long):
            continue
        in_short, in_long = start * factor, place * factor
        found.append(
            _Anchor(in_short, in_long - in_short, height) if swapped else _Anchor(in_long, in_short - in_long, height)
        )
    found.sort(key=lambda anchor: anchor.place)
    return [one for one in found if one.height >= _CERTAIN or _is_confirmed(one, found)]


def _is_confirmed(anchor: _Anchor, others: Sequence[_Anchor]) -> bool:
    return any(
        other is not anchor
        and abs(other.lag - anchor.lag) <= _SAME_LINE + _MOST_DRIFT * abs(other.place - anchor.place)
        for other in others
    )


def _track(reference: NDArray[np.float32], device: NDArray[np.float32], anchors: Sequence[_Anchor]) -> list[_Window]:
    """Seek every short window of the reference near where the anchors before and after it, or the last one, say."""
    places = np.array([anchor.place for anchor in anchors])
    windows = []
    last: float | None = None
    for start in range(0, len(reference) - _WINDOW + 1, _HOP):
        after = int(np.searchsorted(places, start))
        wanted = [anchors[index].lag for index in (after - 1, after) if 0 <= index < len(anchors)]
        wanted += [] if last is None else [last]
        best: tuple[float, float] | None = None
        for lag in _apart(wanted):
            found = _seek(reference, device, start, round(lag))
            if found and (best is None or found[1] > best[1]):
                best = found
        sure = best is not None and best[1] >= _NEAR
        windows.append(_Window(start, best[0] if best and sure else None))
        last = windows[-1].lag if sure else last
    return windows


def _apart(lags: Sequence[float]) -> Iterator[float]:
    """Yield the lags without those that a search around an earlier one covers."""
    taken: list[float] = []
    for lag in lags:
        if all(abs(lag - other) > _REACH / 2 for other in taken):
            taken.append(lag)
            yield lag


def _seek(
    reference: NDArray[np.float32], device: NDArray[np.float32], start: int, lag: int
) -> tuple[float, float] | None:
    """Return the lag near `lag` at which a window is found, and the height of its peak; None beyond the recording."""
    first = start + lag
    if first < 0 or first + _WINDOW > len(device):
        return None
    correlation = _correlation(reference[start : start + _WINDOW], device[first : first + _WINDOW])
    near = np.concatenate([correlation[-_REACH:], correlation[: _REACH + 1]])
    best, height = _peak(near)
    return lag + best - _REACH, height


def _correlation(
    reference: NDArray[np.float32], device: NDArray[np.float32], share: float = 1.0
) -> NDArray[np.float32]:
    """Return the whitened cross-correlation of equally long windows: at index i, of the device i samples later.

    `share`: of the windows, that is faded in or out.
    """
    n = scipy.fft.next_fast_len(2 * len(reference), real=True)
    taper = _taper(len(reference), share)
    cross = scipy.fft.rfft(device * taper, n) * np.conj(scipy.fft.rfft(reference * taper, n))
    return np.asarray(np.abs(scipy.fft.irfft(_whitened(cross), n)))


def _whitened(cross: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Leave of a cross spectrum its phases, but where there is next to nothing."""
    magnitude = np.abs(cross)
    return np.asarray(cross / (magnitude + _NEXT_TO_NOTHING * magnitude.mean() + np.finfo(np.float32).tiny))


@lru_cache(maxsize=8)
def _taper(length: int, share: float) -> NDArray[np.float32]:
    """Return a window that fades: edges of two cut-out parts are alike, and whitened they would be found."""
    return np.asarray(scipy.signal.windows.tukey(length, share, sym=False), np.float32)


def _peak(correlation: NDArray[np.float32]) -> tuple[int, float]:
    """Return the index of the highest value, and its height in standard deviations of normal noise."""
    index = int(np.argmax(correlation))
    scale = float(np.median(correlation)) / 0.6745
    return index, float(correlation[index]) / scale if scale > 0 else 0.0


def _drift(windows: Sequence[_Window]) -> float:
    """Return by how much the lag grows per sample: the median slope within runs without a jump, weighted by length."""
    runs: list[list[_Window]] = [[]]
    for window in windows:
        if window.lag is None:
            continue
        last = runs[-1][-1] if runs[-1] else None
        if last is not None and abs(window.lag - (last.lag or 0)) > _SAME_LINE + _MOST_DRIFT * (
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
    return float(np.clip(np.array(slopes)[order][np.searchsorted(passed, passed[-1] / 2)], -_MOST_DRIFT, _MOST_DRIFT))


def _lines(windows: Sequence[_Window], drift: float) -> list[tuple[float, list[int]]]:
    """Return the lag at sample 0 and the windows of every line that enough windows lie on, in the order of time.

    A jump begins another line; single windows off the line (a loud reflection) do not.
    """
    level = {index: one.lag - drift * one.start for index, one in enumerate(windows) if one.lag is not None}
    lines: list[tuple[float, list[int]]] = []
    current: list[int] = []
    others: list[int] = []
    for index, lag in level.items():
        if not current or abs(lag - np.median([level[one] for one in current])) <= _SAME_LINE:
            current.append(index)
            others = []
            continue
        others.append(index)
        near = [one for one in others if abs(level[one] - lag) <= _SAME_LINE]
        if len(near) >= min(_LEAST_WINDOWS, len(current) + 1):
            lines.append((0.0, current))
            current, others = near, []
    lines.append((0.0, current))
    lines = [(float(np.median([level[one] for one in line])), line) for _, line in lines if len(line) >= _LEAST_WINDOWS]
    merged: list[tuple[float, list[int]]] = []
    for lag, line in lines:
        if merged and abs(merged[-1][0] - lag) <= _SAME_LINE:
            merged[-1][1].extend(line)
        else:
            merged.append((lag, line))
    return merged


def _sure_share(
    reference: NDArray[np.float32], windows: Sequence[_Window], lines: Sequence[tuple[float, list[int]]]
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
    windows: Sequence[_Window],
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
            index for index, offset in offsets.items() if 0 <= windows[index].start + offset <= len(device) - _WINDOW
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


def _joined(good: Sequence[int], windows: Sequence[_Window], lag: float) -> list[Stretch]:
    """Return the stretches that neighbouring windows make."""
    stretches: list[Stretch] = []
    for index in good:
        start = windows[index].start
        if stretches and start <= stretches[-1].stop:
            stretches[-1] = Stretch(stretches[-1].start, start + _WINDOW, lag)
        else:
            stretches.append(Stretch(start, start + _WINDOW, lag))
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
        return float(_decibels(self.power[start // _BLOCK : (start + _WINDOW) // _BLOCK].mean()))


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
