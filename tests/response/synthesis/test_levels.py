"""Noise floors and sensitivities of invented devices."""

import numpy as np
import pytest

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.response.frequency_response import band_centres_hz, white_noise_floor_db
from umc_cli.response.synthesis.levels import draw_noise_floors, draw_sensitivity_differences
from umc_cli.response.synthesis_settings import LevelSettings
from umc_cli.simulation.simulated_device import SimulatedDeviceSettings, build_device


def floors(n: int = 2_000, **settings: tuple[float, float]) -> np.ndarray:
    return draw_noise_floors(n, LevelSettings(**settings), np.random.default_rng(0))


def test_white_noise_has_the_same_level_in_every_band() -> None:
    floors_db = floors(noise_level_dbfs=(-60, -60), noise_slope_db_per_octave=(0, 0))
    np.testing.assert_allclose(floors_db, white_noise_floor_db(-60.0), atol=1e-3)


def test_levels_fill_their_range() -> None:
    floors_db = floors(noise_level_dbfs=(-70, -50), noise_slope_db_per_octave=(0, 0))[:, 0]
    limits = [white_noise_floor_db(level) for level in (-70.0, -50.0)]
    assert limits[0] <= floors_db.min() < limits[0] + 0.1
    assert limits[1] - 0.1 < floors_db.max() <= limits[1]
    assert abs(floors_db.mean() - np.mean(limits)) < 0.5


def test_the_slope_is_that_of_the_band_centres() -> None:
    floors_db = floors(n=1, noise_level_dbfs=(-60, -60), noise_slope_db_per_octave=(-3, -3))[0].astype(float)
    octaves = np.log2(band_centres_hz() / 1000)
    np.testing.assert_allclose(floors_db - floors_db[0], -3 * (octaves - octaves[0]), atol=1e-3)


@pytest.mark.parametrize("slope_db", [-4.0, 0.0, 1.0])
def test_floors_are_those_of_simulated_devices(slope_db: float) -> None:
    """A second implementation, which filters noise and measures it."""
    settings = SimulatedDeviceSettings(
        id="d", microphone_db=(0.0,) * 128, sensitivity_db=0, noise_level_dbfs=-60, noise_slope_db_per_octave=slope_db
    )
    measured_db = np.array(build_device(settings).record.noise_floor_db)
    floors_db = floors(n=1, noise_level_dbfs=(-60, -60), noise_slope_db_per_octave=(slope_db, slope_db))[0]
    middle = (band_centres_hz() > 200) & (band_centres_hz() < 10_500)
    assert abs((measured_db - floors_db)[middle].mean()) < 0.7
    assert np.abs(measured_db - floors_db)[middle].max() < 2


def test_no_floor_lies_below_that_of_a_spectrogram() -> None:
    assert floors(noise_level_dbfs=(-150, -120)).min() == FLOOR_DB


def test_sensitivities_fill_their_range() -> None:
    drawn_db = draw_sensitivity_differences(
        5_000, LevelSettings(sensitivity_difference_db=(-2.0, 6.0)), np.random.default_rng(0)
    )
    assert -2 <= drawn_db.min() < -1.9
    assert 5.9 < drawn_db.max() <= 6
    assert abs(drawn_db.mean() - 2) < 0.15


def test_a_range_that_falls_is_refused() -> None:
    with pytest.raises(ValueError, match="lower limit first"):
        LevelSettings(noise_level_dbfs=(-50, -70))
