"""Recordings of stimuli whose answer is known: what tests of measuring share."""

from functools import lru_cache

import numpy as np
import scipy.signal
import soxr

from umc_cli.response.frequency_response import impulse_response_curve
from umc_cli.response.measured_response import shape_db
from umc_cli.response.stimulus import ImpulseTrain, SineSweep, stimulus_samples

LATENCY_S = 0.037
DRIFT_PPM = 30.0


def microphone(rate_hz: int = 48_000, seed: int = 0) -> np.ndarray:
    """A minimum-phase FIR filter with a rippled response, +-6 dB, and less below 80 Hz. Shape: [511]."""
    random = np.random.default_rng(seed)
    frequency_hz = np.concatenate([[0, 40], np.geomspace(80, 16_000, 16), [rate_hz / 2]])
    gain_db = np.concatenate([[-20, -12], random.uniform(-6, 6, 16), [-6]])
    linear = scipy.signal.firwin2(1021, frequency_hz, 10 ** (gain_db / 20), fs=rate_hz)
    return scipy.signal.minimum_phase(linear, half=False, n_fft=1 << 14)[:511]


def true_shape_db(impulse_response: np.ndarray, rate_hz: int) -> np.ndarray:
    return shape_db(impulse_response_curve(impulse_response, rate_hz))


def drifted(samples: np.ndarray, rate_hz: int, ppm: float) -> np.ndarray:
    """The samples as a recorder hears them whose clock runs faster than the player's by `ppm` millionths."""
    finer = soxr.resample(samples, rate_hz, 8 * rate_hz, quality="VHQ")
    times = np.arange(int(len(samples) * (1 + ppm * 1e-6))) / (1 + ppm * 1e-6)
    return np.interp(8 * times, np.arange(len(finer)), finer)


@lru_cache(4)
def _played(stimulus: ImpulseTrain | SineSweep, clip_at: float | None, drift_ppm: float) -> np.ndarray:
    """What a recorder gets to hear. Shape: [n]."""
    rate_hz = stimulus.sample_rate_hz
    played = np.concatenate([np.zeros(round(LATENCY_S * rate_hz)), stimulus_samples(stimulus)])
    if clip_at is not None:
        played = clip_at * np.tanh(played / clip_at)
    return drifted(played, rate_hz, drift_ppm)


def recorded(
    stimulus: ImpulseTrain | SineSweep,
    impulse_response: np.ndarray,
    noise_dbfs: float = -80.0,
    clip_at: float | None = None,
    drift_ppm: float = DRIFT_PPM,
    seed: int = 0,
) -> np.ndarray:
    """A recording of a stimulus, 37 ms late, peak at 0.5, with white noise. Shape: [n]."""
    heard = scipy.signal.oaconvolve(_played(stimulus, clip_at, drift_ppm), impulse_response)
    noise = 10 ** (noise_dbfs / 20) * np.random.default_rng(seed).standard_normal(len(heard))
    return 0.5 * heard / np.abs(heard).max() + noise


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
