"""What else tells devices apart: the noise floor and the sensitivity of an invented device.

Neither is published for enough devices to learn from. The ranges of the noise are those of the family of simulated
devices that the shipped refiner learned from; that of the sensitivity is an assumption.
"""

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.response.frequency_response import REFERENCE_HZ, band_centres_hz, white_noise_floor_db
from umc_cli.response.synthesis_settings import LevelSettings


def draw_noise_floors(n: int, settings: LevelSettings, random: np.random.Generator) -> NDArray[np.float32]:
    """Return noise floors as log-mel spectrograms show them. Shape: [n, 128], dB re full scale, -100 or more."""
    level_dbfs = random.uniform(*settings.noise_level_dbfs, (n, 1)).astype(np.float32)
    slope_db = random.uniform(*settings.noise_slope_db_per_octave, (n, 1)).astype(np.float32)
    centres_hz = band_centres_hz()
    floors_db: NDArray[np.float32] = slope_db * np.log2(centres_hz / REFERENCE_HZ).astype(np.float32)
    # The slope colours the noise and leaves its RMS: bands count by their share of the frequency axis.
    shares = (np.gradient(centres_hz) / np.gradient(centres_hz).sum()).astype(np.float32)
    floors_db -= 10 * np.log10(10 ** (floors_db / 10) @ shares)[:, None]
    floors_db += level_dbfs + np.float32(white_noise_floor_db(0.0))
    return np.maximum(floors_db, np.float32(FLOOR_DB))


def draw_sensitivity_differences(n: int, settings: LevelSettings, random: np.random.Generator) -> NDArray[np.float32]:
    """Return sensitivity differences, target minus source. Shape: [n], dB."""
    return random.uniform(*settings.sensitivity_difference_db, n).astype(np.float32)
