"""The noise floor of a device: the log-mel level of a recording of silence."""

import numpy as np
import soxr
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import FLOOR_DB, HOP_SAMPLES, LOG_MEL_SETTINGS, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.mel_scale import at_mel_bands
from umc_cli.audio.spectrograms import spectrograms_of
from umc_cli.response.device import N_BANDS
from umc_cli.response.frequency_response import white_noise_floor_db

_GATED_S = 0.02
"""Equal samples for so long are no silence of a room: a recorder's gate, or what an editor put there."""


MOST_NOISE_DBFS = -40.0
"""Of white noise: what is louder is a room's, or sound, and is not taken for the device's noise floor. The noisiest
device of the simulated family has -52."""


def is_too_loud(floor_db: NDArray[np.float64]) -> bool:
    """Tell whether levels [bands], in dB re full scale, are louder than a device's noise floor can be."""
    return bool(np.median(floor_db) > white_noise_floor_db(MOST_NOISE_DBFS))


def is_gated(silence: NDArray[np.float64], rate_hz: int) -> bool:
    """Tell whether what should be the noise of a room holds 20 ms of equal samples. Shape: [n]."""
    changes = np.flatnonzero(np.diff(silence))
    ends = np.concatenate([[-1], changes, [len(silence) - 1]])
    return bool(np.diff(ends).max() >= _GATED_S * rate_hz)


def noise_floor_db(silence: NDArray[np.float64], rate_hz: int) -> NDArray[np.float64] | None:
    """Return the level of the mean power of silence in the 80 bands of a log-mel spectrogram, spread over 128.

    Shape: [n], full scale 1 -> [128] in dB re full scale; None where `silence` is shorter than three windows (140 ms).
    Only frames that lie wholly in the silence count. It holds the noise of the room, as no recording is without it.
    """
    samples = soxr.resample(silence, rate_hz, SAMPLE_RATE_HZ, quality="HQ") if rate_hz != SAMPLE_RATE_HZ else silence
    half = LOG_MEL_SETTINGS.n_fft // 2
    if len(samples) < 3 * LOG_MEL_SETTINGS.n_fft:
        return None
    n_segments = -(-len(samples) // SEGMENT_SAMPLES)
    padded = np.zeros(n_segments * SEGMENT_SAMPLES, np.float32)
    padded[: len(samples)] = samples
    levels_db = spectrograms_of(padded.reshape(n_segments, SEGMENT_SAMPLES))
    # A frame reaches half a window to both sides of its centre; beyond a segment's ends there is nothing.
    centres = np.arange(levels_db.shape[2]) * HOP_SAMPLES
    inside = (centres >= half) & (centres <= SEGMENT_SAMPLES - half)
    heard = np.arange(n_segments)[:, None] * SEGMENT_SAMPLES + centres <= len(samples) - half
    power = 10 ** (levels_db.transpose(0, 2, 1)[inside & heard] / 10)
    return to_response_bands(np.maximum(10 * np.log10(power.mean(axis=0)), FLOOR_DB))


def to_response_bands(log_mel_bands_db: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate values of the 80 bands of a log-mel spectrogram linearly on the mel axis. Shape: [80] -> [128]."""
    return at_mel_bands(log_mel_bands_db, N_BANDS)
