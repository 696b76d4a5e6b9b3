"""From repeats of an impulse response to the bands of a device record."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel import LOG_MEL_SETTINGS
from umc_cli.errors import InputError
from umc_cli.response.alignment import aligned
from umc_cli.response.frequency_response import (
    REFERENCE_HZ,
    Curve,
    band_centres_hz,
    band_level_db,
    impulse_response_curve,
)
from umc_cli.response.impulse_response import Take

LEAST_SNR_DB = 10.0
"""Bands with less cannot be trusted: noise would add 0.4 dB and more."""

_MOST_LAG_S = 0.001


@dataclass(frozen=True)
class MeasuredResponse:
    """What repeats say of a device. Lists run over 128 mel bands."""

    curve: Curve
    """Of the average of all repeats, calibrations taken out."""
    frequency_response_db: NDArray[np.float64]
    spread_db: NDArray[np.float64] | None
    """Standard deviation over repeats; None for one repeat."""
    snr_db: NDArray[np.float64]
    """Of the average of all repeats."""
    trusted: NDArray[np.bool_]
    """Bands around 1 kHz, without a gap, that stimulus and calibrations cover with at least 10 dB SNR."""
    covered: NDArray[np.bool_]
    """Bands that the stimulus, the window and the calibrations cover."""
    disagreement_db: float
    """Of the two repeats that differ most: RMS over trusted bands, level included; 0 for one repeat."""


def measure_response(takes: Sequence[Take], taken_out: Sequence[Curve], window_ms: float) -> MeasuredResponse:
    """Average the repeats of all takes, aligned to a fraction of a sample, and take out calibrations.

    `taken_out`: responses of all else in the chain, in dB; subtracted, held constant beyond their ends, where bands
    are not trusted.

    Raises:
        InputError: the takes are of different sample rates.
    """
    rates = sorted({take.sample_rate_hz for take in takes})
    if len(rates) > 1:
        raise InputError(
            f"the recordings have different sample rates: {', '.join(map(str, rates))} Hz",
            "measure those of one rate at a time, or record all with the same settings",
        )
    repeats = np.concatenate([take.repeats for take in takes])
    if len(repeats) > 1:
        repeats = aligned(repeats, _MOST_LAG_S * rates[0])[0]
    average = impulse_response_curve(repeats.mean(axis=0), rates[0])
    curve = without(average, taken_out)
    levels_db = np.stack([band_level_db(impulse_response_curve(repeat, rates[0])) for repeat in repeats])
    grid_hz = takes[0].noise.frequency_hz
    noise_power = [
        10 ** (np.interp(grid_hz, take.noise.frequency_hz, take.noise.response_db) / 10) * len(take.repeats)
        for take in takes
    ]
    # Noise of n repeats adds in power, and their average is divided by n.
    noise_db = 10 * np.log10(np.sum(noise_power, axis=0) / len(repeats) ** 2)
    snr_db = band_level_db(average) - band_level_db(Curve(grid_hz, noise_db))
    low_hz = max(1000 / window_ms, *(take.covered_hz[0] for take in takes))
    high_hz = min(take.covered_hz[1] for take in takes)
    covered_hz = [(low_hz, high_hz), *covered_by(taken_out)]
    trusted = trusted_bands(snr_db, covered_hz)
    return MeasuredResponse(
        curve=curve,
        frequency_response_db=shape_db(curve),
        spread_db=levels_db.std(axis=0, ddof=1) if len(levels_db) > 1 else None,
        snr_db=snr_db,
        trusted=trusted,
        covered=trusted_bands(None, covered_hz),
        disagreement_db=_disagreement_db(levels_db[:, trusted]) if trusted.any() else 0.0,
    )


def shape_db(curve: Curve) -> NDArray[np.float64]:
    """Return the mean power of a measured curve in each mel band, 0 dB within a third of an octave of 1 kHz.

    Shape: [128], dB. `band_response_db` with the mean power around 1 kHz as reference instead of the value there: in a
    room that one value may lie in a notch 20 dB deep, and would lift all bands.
    """
    third_hz = REFERENCE_HZ * 2.0 ** np.linspace(-1 / 6, 1 / 6, 101)
    around_db = np.interp(np.log(third_hz), np.log(curve.frequency_hz), curve.response_db)
    return np.asarray(band_level_db(curve) - 10 * np.log10(np.mean(10 ** (around_db / 10))))


def without(curve: Curve, taken_out: Sequence[Curve]) -> Curve:
    """Return `curve` less the responses in `taken_out`, in dB, interpolated over log frequency."""
    log_frequency = np.log(curve.frequency_hz)
    response_db = curve.response_db.copy()
    for other in taken_out:
        response_db -= np.interp(log_frequency, np.log(other.frequency_hz), other.response_db)
    return Curve(curve.frequency_hz, response_db)


def covered_by(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Return the ranges that curves cover, in Hz."""
    return [(float(curve.frequency_hz[0]), float(curve.frequency_hz[-1])) for curve in curves]


def trusted_bands(snr_db: NDArray[np.float64] | None, covered_hz: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Return the bands that lie in all ranges with enough signal to noise, without a gap around 1 kHz. Shape: [128]."""
    centres = band_centres_hz()
    good = np.ones(len(centres), bool) if snr_db is None else snr_db >= LEAST_SNR_DB
    for low, high in covered_hz:
        good &= (centres >= low) & (centres <= high)
    middle = int(np.argmin(np.abs(centres - REFERENCE_HZ)))
    bad = np.flatnonzero(~good)
    below, above = bad[bad <= middle], bad[bad >= middle]
    first = int(below[-1]) + 1 if len(below) else 0
    last = int(above[0]) if len(above) else len(centres)
    trusted = np.zeros(len(centres), bool)
    trusted[first:last] = True
    return trusted


def trusted_range_hz(trusted: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the range of centres of the trusted bands, of which there are two at least; the ends of all include 0."""
    centres = band_centres_hz().round(1)[trusted]
    low = 0.0 if trusted[0] else float(centres[0])
    return low, LOG_MEL_SETTINGS.f_max_hz if trusted[-1] else float(centres[-1])


def _disagreement_db(levels_db: NDArray[np.float64]) -> float:
    pairs = combinations(levels_db, 2)
    return max((float(np.sqrt(np.mean((one - other) ** 2))) for one, other in pairs), default=0.0)
