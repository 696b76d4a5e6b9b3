"""Repeats of an impulse response, cut out of a recording: what all ways of measuring have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
import scipy.stats
from numpy.typing import NDArray

from umc_cli.response.frequency_response import Curve

BEFORE_S = 0.010
"""A window begins this long before the direct sound: room for what a band limit rings ahead of it."""

_FADE_SHARE = 0.1
"""Of the window behind the direct sound: faded out, lest its end makes a step."""

FULL_SCALE = 0.999
"""Samples at this height or above count as clipped."""

_LEAST_SILENCE_S = 0.2
_SKIPPED_SILENCE_S = 0.1
"""At the start of a recording the finger is still on the button."""

_LATE_S = 0.002
"""Repeats that depart by more from equal distances are late."""

_COMMON_RATES_HZ = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000)
_SAME_RATE = 0.002


@dataclass(frozen=True)
class Rejected:
    """A repeat that was not used."""

    time_s: float
    """When it arrives in the recording."""
    reason: str


@dataclass(frozen=True)
class Take:
    """What one recording gave."""

    sample_rate_hz: int
    repeats: NDArray[np.float64]
    """[n, length], windowed impulse responses, the direct sound `BEFORE_S` behind the start of each."""
    arrivals_s: tuple[float, ...]
    """When each of the n repeats arrives in the recording."""
    rejected: tuple[Rejected, ...]
    silence: NDArray[np.float64]
    """[m], full scale 1: the recording before the first sound, or its quietest stretch."""
    noise: Curve
    """Level of the noise in one windowed repeat, as `impulse_response_curve` would show it."""
    covered_hz: tuple[float, float]
    """Frequencies that the stimulus held."""
    drift_ppm: float | None = None
    """How much slower the player's clock ran than the recorder's; None where it was not measured."""


def without_offset(recording: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a recording less the constant that converters of cheap sound cards add: its median. Shape: [n].

    In a window of 200 ms a constant of 1 % of full scale weighs as much as a hundred impulses of full scale.
    """
    return np.asarray(recording - np.median(recording))


def window(rate_hz: int, window_ms: float) -> NDArray[np.float64]:
    """Return the weights of a window: flat from the direct sound on, faded in before it and out at the end.

    Shape: [`BEFORE_S` + window_ms, in samples].
    """
    before, behind = round(BEFORE_S * rate_hz), max(2, round(window_ms / 1000 * rate_hz))
    weights = np.ones(before + behind)
    fade_in, fade_out = before // 2, max(1, round(_FADE_SHARE * behind))
    weights[:fade_in] = scipy.signal.windows.hann(2 * fade_in)[:fade_in]
    weights[-fade_out:] = scipy.signal.windows.hann(2 * fade_out)[fade_out:]
    return weights


def quiet_part(recording: NDArray[np.float64], rate_hz: int, first_sound_s: float) -> NDArray[np.float64]:
    """Return the samples before the first sound; where they are too few, the quietest 0.2 s anywhere. Shape: [m]."""
    before = recording[round(_SKIPPED_SILENCE_S * rate_hz) : max(0, round((first_sound_s - BEFORE_S) * rate_hz))]
    n = round(_LEAST_SILENCE_S * rate_hz)
    if len(before) >= n or len(recording) <= n:
        return before if len(before) else recording
    energy = np.cumsum(np.square(np.concatenate([[0.0], recording])))
    start = int(np.argmin(energy[n:] - energy[:-n]))
    return recording[start : start + n]


def noise_in_window(silence: NDArray[np.float64], rate_hz: int, weights: NDArray[np.float64]) -> Curve:
    """Return the level that noise such as `silence` has in a window of these weights, in dB over frequency.

    E |N(f)|^2 = sum(w^2) S(f), with the two-sided density S per sample by Welch's method.
    """
    frequency_hz, density = scipy.signal.welch(silence, rate_hz, nperseg=min(len(silence), 4096))
    power = np.maximum(density[1:] * rate_hz / 2 * np.square(weights).sum(), 1e-20)
    return Curve(np.asarray(frequency_hz[1:], np.float64), np.asarray(10 * np.log10(power), np.float64))


def late_repeats(times_s: Sequence[float], spacing_s: float | None) -> NDArray[np.bool_]:
    """Tell which repeats do not arrive at equal distances. Shape: [n].

    `spacing_s` None: the median distance counts; where most repeats then look late, there is no common distance
    (fingers snapped, claps) and none is.
    """
    times = np.array(times_s)
    if len(times) < 3:
        return np.zeros(len(times), bool)
    spacing = spacing_s or float(np.median(np.diff(times)))
    numbers = _numbers(times, spacing)
    slope = scipy.stats.theilslopes(times, numbers)[0] if len(set(numbers)) > 1 else spacing
    offset = np.median(times - slope * numbers)
    late: NDArray[np.bool_] = np.abs(times - offset - slope * numbers) > _LATE_S
    return late if spacing_s or late.mean() < 0.5 else np.zeros(len(times), bool)


def drift_ppm(times_s: Sequence[float], spacing_s: float) -> float | None:
    """Return by how much the distances of repeats exceed what was played, in millionths; None for one repeat."""
    times = np.array(times_s)
    numbers = _numbers(times, spacing_s)
    if len(set(numbers)) < 2:
        return None
    return float((np.polyfit(numbers, times, 1)[0] / spacing_s - 1) * 1e6)


def rate_hint(stretch: float, header_rate_hz: int) -> str:
    """Say which rate a recording was made at whose distances are `stretch` times too long; empty if it is no usual one.

    A file whose header names another rate than it was made at plays too slowly or too fast.
    """
    made_at_hz = min(_COMMON_RATES_HZ, key=lambda rate_hz: abs(rate_hz - stretch * header_rate_hz))
    if made_at_hz == header_rate_hz or abs(made_at_hz / (stretch * header_rate_hz) - 1) > _SAME_RATE:
        return ""
    return (
        f"it looks like a recording made at {made_at_hz} Hz although its header says {header_rate_hz} Hz: "
        "correct the header"
    )


def _numbers(times: NDArray[np.float64], spacing_s: float) -> NDArray[np.float64]:
    """Return which repeat each one is, counted from 0: from one to the next, so that a wrong rate does not add up."""
    return np.concatenate([[0.0], np.cumsum(np.round(np.diff(times) / spacing_s))])
