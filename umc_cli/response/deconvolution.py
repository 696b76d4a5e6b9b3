"""Impulse responses from recorded exponential sine sweeps (Farina 2000), whatever latency and clock drift.

Divided by the sweep's spectrum, a recording becomes impulse responses where the sweeps began. What the n-th harmonic
of the sweep leaves lies L ln(n) before them, apart from the linear response: the window does not reach it.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

_REGULARISATION_DB = -80.0
"""Of the sweep's loudest frequency: added to its power where it sounds. Beyond its ends 0 dB are added."""

_EDGE = 2 ** (1 / 6)
"""A sixth of an octave inside an end of the sweep the regularisation begins: its fades must not be undone, which would
lift the noise there by 40 dB."""

_RESAMPLED_SHARE = 0.95
"""Of half the sample rate: what soxr's VHQ leaves alone."""

_WEAKEST_DB = 20.0
_LEAST_DB = 20.0
_FOUND_FROM_HZ, _FOUND_TO_HZ = 200.0, 8_000.0
"""Where the direct sound of a sweep is looked for."""

MOST_DRIFT_PPM = 200.0
"""More than any two clocks differ by."""


@dataclass(frozen=True)
class Sweep:
    """An exponential sine sweep as it was played, at the rate of the recording."""

    samples: NDArray[np.float64]
    """[n], without silence."""
    rate_hz: int
    start_hz: float
    stop_hz: float

    @property
    def duration_s(self) -> float:
        """Return its length in s."""
        return len(self.samples) / self.rate_hz

    @property
    def usable_hz(self) -> tuple[float, float]:
        """Return the range in which the division by its spectrum is exact: without a sixth of an octave at its ends.

        A sweep that was resampled to the rate of a recording ends where the resampler falls off.
        """
        return self.start_hz * _EDGE, min(self.stop_hz / _EDGE, _RESAMPLED_SHARE * self.rate_hz / 2)

    def moment_s(self, frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return when the sweep passes a frequency, [n] in s: L ln(f / f1)."""
        growth_s = self.duration_s / np.log(self.stop_hz / self.start_hz)
        passed = np.clip(frequency_hz, self.start_hz, self.stop_hz)
        return np.asarray(growth_s * np.log(passed / self.start_hz))


def inverse_spectrum(sweep: Sweep, n_points: int) -> NDArray[np.complex128]:
    """Return the regularised inverse conj(X) / (|X|^2 + e) of the sweep's spectrum. Shape: [n_points // 2 + 1].

    e is -80 dB of the largest |X|^2 in the sweep's usable range and rises to that maximum at its ends (Kirkeby and
    Nelson 1999).
    """
    spectrum = scipy.fft.rfft(sweep.samples, n_points)
    power = np.square(np.abs(spectrum))
    frequency_hz = np.maximum(scipy.fft.rfftfreq(n_points, 1 / sweep.rate_hz), 1e-3)
    corners_hz = [sweep.start_hz, sweep.start_hz * _EDGE, sweep.stop_hz / _EDGE, sweep.stop_hz]
    added_db = np.interp(np.log(frequency_hz), np.log(corners_hz), [0.0, _REGULARISATION_DB, _REGULARISATION_DB, 0.0])
    inverse: NDArray[np.complex128] = np.conj(spectrum) / (power + power.max() * 10 ** (added_db / 10))
    return inverse


def deconvolve(recording: NDArray[np.float64], sweep: Sweep) -> NDArray[np.float64]:
    """Return the recording with every sweep turned into an impulse response that begins where the sweep began.

    Shape: [n] -> [more than n + length of the sweep]; what lies before the start of the recording stands at the end.
    """
    n_points = scipy.fft.next_fast_len(len(recording) + 2 * len(sweep.samples), real=True)
    spectrum = scipy.fft.rfft(recording, n_points) * inverse_spectrum(sweep, n_points)
    responses: NDArray[np.float64] = scipy.fft.irfft(spectrum, n_points)
    return responses


def find_sweeps(responses: NDArray[np.float64], n_recorded: int, sweep: Sweep) -> list[int]:
    """Return the samples at which sweeps begin, in order; negative before the recording's start.

    `responses`: of `deconvolve`, from a recording of `n_recorded` samples. Peaks count that exceed its 90th percentile
    by 20 dB (noise alone reaches 12), lie less than 20 dB below the highest, and are not nearer to a higher one than
    0.9 sweeps, as harmonics are.
    """
    # Division by the sweep, whose power falls with 1 / f, tilts white noise; this takes the tilt out again.
    frequency_hz = np.maximum(scipy.fft.rfftfreq(len(responses), 1 / sweep.rate_hz), 1.0)
    band_hz = [_FOUND_FROM_HZ, min(_FOUND_TO_HZ, 0.9 * sweep.stop_hz, 0.9 * sweep.rate_hz / 2)]
    band = scipy.signal.butter(2, band_hz, "bandpass", fs=sweep.rate_hz, output="sos")
    gain = np.square(np.abs(scipy.signal.sosfreqz(band, frequency_hz, fs=sweep.rate_hz)[1])) / np.sqrt(frequency_hz)
    magnitude = np.abs(scipy.fft.irfft(scipy.fft.rfft(responses) * gain, len(responses)))
    threshold = max(
        float(magnitude.max()) * 10 ** (-_WEAKEST_DB / 20),
        float(np.percentile(magnitude[:n_recorded], 90)) * 10 ** (_LEAST_DB / 20),
    )
    reach = round(0.9 * len(sweep.samples))
    n = len(responses)
    found = []
    while magnitude[peak := int(np.argmax(magnitude))] >= threshold and threshold > 0:
        # Behind the recording's end there is room for one sweep, then what lies before its start.
        found.append(peak - n if peak >= n - len(sweep.samples) else peak)
        magnitude[np.arange(peak - reach, peak + reach + 1) % n] = 0
    return sorted(found)


def without_drift(response: NDArray[np.float64], sweep: Sweep, drift_ppm: float) -> NDArray[np.float64]:
    """Return an impulse response as it would be if player and recorder had had one clock. Shape: [n].

    Where the player's clock is slow by d, the frequency that the sweep passes at t comes d t too late; an all-pass
    filter takes the delay out and leaves the magnitude as it is.
    """
    n_points = scipy.fft.next_fast_len(len(response) + round(0.02 * sweep.rate_hz), real=True)
    frequency_hz = scipy.fft.rfftfreq(n_points, 1 / sweep.rate_hz)
    delay_s = drift_ppm * 1e-6 * sweep.moment_s(frequency_hz)
    phase = 2 * np.pi * np.cumsum(delay_s) * frequency_hz[1]
    corrected: NDArray[np.float64] = scipy.fft.irfft(scipy.fft.rfft(response, n_points) * np.exp(1j * phase), n_points)
    return corrected[: len(response)]
