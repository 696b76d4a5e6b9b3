"""From repeats of an impulse response to the bands of a device record."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
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
from umc_cli.response.noise_floor import is_gated
from umc_cli.response.repeat_coherence import check_coherence

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
    snr_db: NDArray[np.float64] | None
    """Of the average of all repeats; None where the recorder gated the silence and there is one repeat."""
    trusted: NDArray[np.bool_]
    """Bands around 1 kHz, without a gap, that stimulus and calibrations cover with at least 10 dB SNR, and in which the
    repeats agree in waveform."""
    covered: NDArray[np.bool_]
    """Bands that the stimulus, the window and the calibrations cover."""
    disagreement_db: float
    """Of the two repeats that differ most: RMS over trusted bands, level included; 0 for one repeat."""
    odd_repeats: tuple[tuple[int, int], ...]
    """Repeats that disagree with the others in waveform and were left out: index of the take, index in it."""
    incoherent_hz: tuple[float, float] | None
    """Lowest and highest centre of the bands in which those left still disagree; None: there are none."""
    loss_db: float
    """The most that averaging loses in those bands."""


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
            "measure recordings of one rate at a time, or record all with the same settings",
        )
    every = np.concatenate([take.repeats for take in takes])
    if len(every) > 1:
        every = aligned(every, _MOST_LAG_S * rates[0])[0]
    low_hz = max(1000 / window_ms, *(take.covered_hz[0] for take in takes))
    high_hz = min(take.covered_hz[1] for take in takes)
    covered_hz = [(low_hz, high_hz), *covered_by(taken_out)]
    covered = trusted_bands(None, covered_hz)
    noise_db = _noise_of_a_repeat_db(takes)
    coherence = check_coherence(every, rates[0], noise_db, covered)
    odd = sorted(set(range(len(every))) - set(coherence.kept.tolist()))
    every = every[coherence.kept]
    average = impulse_response_curve(every.mean(axis=0), rates[0])
    curve = without(average, taken_out)
    levels_db = np.stack([band_level_db(impulse_response_curve(repeat, rates[0])) for repeat in every])
    if noise_db is None:  # what differs between repeats is what is left to tell
        noise_db = coherence.scatter_db
    # Noise of n repeats adds in power, and their average is divided by n.
    snr_db = None if noise_db is None else band_level_db(average) - noise_db + 10 * np.log10(len(every))
    trusted = trusted_bands(snr_db, covered_hz, coherence.is_coherent)
    incoherent_hz = band_centres_hz()[~coherence.is_coherent]
    return MeasuredResponse(
        curve=curve,
        frequency_response_db=shape_db(curve),
        spread_db=levels_db.std(axis=0, ddof=1) if len(levels_db) > 1 else None,
        snr_db=snr_db,
        trusted=trusted,
        covered=covered,
        disagreement_db=_disagreement_db(levels_db[:, trusted]) if trusted.any() else 0.0,
        odd_repeats=tuple(_place(takes, index) for index in odd),
        incoherent_hz=(float(incoherent_hz[0]), float(incoherent_hz[-1])) if len(incoherent_hz) else None,
        loss_db=float(coherence.loss_db[~coherence.is_coherent].max(initial=0)),
    )


def _noise_of_a_repeat_db(takes: Sequence[Take]) -> NDArray[np.float64] | None:
    """Return the mean level of the noise of one repeat in each mel band, [128] in dB; None where a take is gated."""
    powers = [
        10 ** (band_level_db(take.noise) / 10) * len(take.repeats)
        for take in takes
        if not is_gated(take.silence, take.sample_rate_hz)
    ]
    if len(powers) < len(takes):
        return None
    return np.asarray(10 * np.log10(np.sum(powers, axis=0) / sum(len(take.repeats) for take in takes)))


def _place(takes: Sequence[Take], index: int) -> tuple[int, int]:
    """Return the take that holds a repeat, and its index there."""
    for number, take in enumerate(takes):
        if index < len(take.repeats):
            return number, index
        index -= len(take.repeats)
    raise IndexError(index)


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


def trusted_bands(
    snr_db: NDArray[np.float64] | None,
    covered_hz: Sequence[tuple[float, float]],
    is_coherent: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return the bands that lie in all ranges with enough signal to noise, without a gap around 1 kHz. Shape: [128].

    `is_coherent`: bands in which repeats agree; None: all.
    """
    centres = band_centres_hz()
    good = np.ones(len(centres), bool) if is_coherent is None else is_coherent.copy()
    if snr_db is not None:
        good &= snr_db >= LEAST_SNR_DB
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
