"""Where parts of one recording lie in another: GCC-PHAT, the cross-correlation of whitened spectra.

Knapp and Carter, "The generalized correlation method for estimation of time delay", 1976. Recordings are mono at 22,050
Hz.
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

MOST_DRIFT = 500e-6
"""Of two clocks, in samples per sample."""
SAME_LINE = 66
"""3 ms: less does not show in frames that are 11.6 ms apart; reflections that are louder than the direct sound do."""

_LOW_RATE_HZ = 4_410
_ANCHOR_S, _ANCHOR_HOP_S = 4.0, 3.0
_MOST_ANCHORS = 64
_NEXT_TO_NOTHING = 0.01
"""Of the mean magnitude of a cross spectrum."""
_SURE, _CERTAIN = 8.0, 12.0
"""Height of a peak in standard deviations of all lags. Of millions of lags of unrelated noise, the highest is 5.8."""

_FADED_SHARE = 0.05
"""Of a clip, whose sound may begin at once."""

WINDOW = 16_384
"""0.74 s at 22,050 Hz."""
_HOP = WINDOW // 2
_REACH = 2_646
"""0.12 s: how far from its expected place a window is sought."""
_NEAR = 6.0
"""As `_SURE`, among the 5,293 lags of a window, of which noise reaches 4.1."""


@dataclass(frozen=True)
class Anchor:
    """A long window of one recording that was found in the other."""

    place: float
    """Sample of the reference at 22,050 Hz."""
    lag: float
    height: float


@dataclass(frozen=True)
class Window:
    """A short window of the reference, and how much later the device's recording holds it."""

    start: int
    lag: float | None
    """None: no place is sure."""


def find_anchors(reference: NDArray[np.float32], device: NDArray[np.float32]) -> list[Anchor]:
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
            Anchor(in_short, in_long - in_short, height) if swapped else Anchor(in_long, in_short - in_long, height)
        )
    found.sort(key=lambda anchor: anchor.place)
    return [one for one in found if one.height >= _CERTAIN or _is_confirmed(one, found)]


def _is_confirmed(anchor: Anchor, others: Sequence[Anchor]) -> bool:
    return any(
        other is not anchor and abs(other.lag - anchor.lag) <= SAME_LINE + MOST_DRIFT * abs(other.place - anchor.place)
        for other in others
    )


def track(reference: NDArray[np.float32], device: NDArray[np.float32], anchors: Sequence[Anchor]) -> list[Window]:
    """Seek every short window of the reference near where the anchors before and after it, or the last one, say."""
    places = np.array([anchor.place for anchor in anchors])
    windows = []
    last: float | None = None
    for start in range(0, len(reference) - WINDOW + 1, _HOP):
        after = int(np.searchsorted(places, start))
        wanted = [anchors[index].lag for index in (after - 1, after) if 0 <= index < len(anchors)]
        wanted += [] if last is None else [last]
        best: tuple[float, float] | None = None
        for lag in _apart(wanted):
            found = _seek(reference, device, start, round(lag))
            if found and (best is None or found[1] > best[1]):
                best = found
        sure = best is not None and best[1] >= _NEAR
        windows.append(Window(start, best[0] if best and sure else None))
        last = windows[-1].lag if sure else last
    return windows


def lag_of_clip(reference: NDArray[np.float32], device: NDArray[np.float32], most: int) -> int | None:
    """Return how many samples later a device's short recording holds the same sound; None where that is not sure.

    Shape: [n], [m], mono at 22,050 Hz. Searched within +-`most` samples.
    """
    length = min(len(reference), len(device))
    correlation = _correlation(reference[:length], device[:length], _FADED_SHARE)
    near = np.concatenate([correlation[-most:], correlation[: most + 1]])
    lag, height = _peak(near)
    return lag - most if height >= _SURE else None


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
    if first < 0 or first + WINDOW > len(device):
        return None
    correlation = _correlation(reference[start : start + WINDOW], device[first : first + WINDOW])
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
