"""Simulated devices against closed forms."""

import numpy as np
import pytest
import torch

from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.response.device import N_BANDS
from umc_cli.response.frequency_response import band_centres_hz, white_noise_floor_db
from umc_cli.simulation.simulated_device import (
    FULL_SCALE_SENSITIVITY_DBFS,
    GainControl,
    SimulatedDevice,
    SimulatedDeviceSettings,
    build_device,
)

FLAT = (0.0,) * N_BANDS


def simulated(**changes: object) -> SimulatedDevice:
    settings = {"id": "d", "microphone_db": FLAT, "sensitivity_db": 0.0}
    settings |= {"noise_level_dbfs": -120.0, "noise_slope_db_per_octave": 0.0}
    return build_device(SimulatedDeviceSettings(**(settings | changes)))


def tone(level_dbfs: float, seconds: float = 2.0, frequency_hz: float = 1000.0) -> np.ndarray:
    """A sine whose RMS is `level_dbfs`."""
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (np.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def level_dbfs(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def recorded(device: SimulatedDevice, sound: np.ndarray, seed: int = 0) -> np.ndarray:
    return device.record_sound(sound, np.random.default_rng(seed))


def test_a_flat_quiet_device_changes_nothing_but_the_level() -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(SEGMENT_SAMPLES).astype(np.float32)
    np.testing.assert_allclose(recorded(simulated(), sound), sound, atol=1e-4)
    np.testing.assert_allclose(recorded(simulated(sensitivity_db=-6.0), sound), sound * 10 ** (-6 / 20), atol=1e-4)


def test_the_record_says_what_the_microphone_does() -> None:
    tilt_db = tuple(np.linspace(-8, 8, N_BANDS))
    device = simulated(microphone_db=tilt_db, sensitivity_db=-3.0)
    expected = np.array(tilt_db) - np.interp(1000, band_centres_hz(), tilt_db)
    np.testing.assert_allclose(device.record.frequency_response_db, expected, atol=0.3)
    assert device.record.sensitivity_dbfs == pytest.approx(FULL_SCALE_SENSITIVITY_DBFS - 3.0, abs=0.05)
    for frequency_hz in (300.0, 3000.0):
        gain_db = level_dbfs(recorded(device, tone(-20, frequency_hz=frequency_hz))) + 20
        assert gain_db == pytest.approx(np.interp(frequency_hz, band_centres_hz(), expected) - 3.0, abs=0.3)


def test_an_impulse_stays_where_it_is() -> None:
    impulse = np.zeros(4000, np.float32)
    impulse[1000] = 0.5
    device = simulated(microphone_db=tuple(np.linspace(-8, 8, N_BANDS)))
    assert abs(int(np.abs(recorded(device, impulse)).argmax()) - 1000) <= 2


def test_the_noise_floor_is_that_of_white_noise_of_its_level() -> None:
    floor_db = np.array(simulated(noise_level_dbfs=-60.0).record.noise_floor_db)
    # Wide bands only: narrow ones hold few values even in eight segments.
    np.testing.assert_allclose(floor_db[40:], white_noise_floor_db(-60.0), atol=0.6)


def test_pink_noise_falls_by_three_decibels_an_octave_and_has_its_level() -> None:
    device = simulated(noise_level_dbfs=-50.0, noise_slope_db_per_octave=-3.0)
    silence = np.zeros(10 * SAMPLE_RATE_HZ, np.float32)
    assert level_dbfs(recorded(device, silence)) == pytest.approx(-50.0, abs=0.3)
    floor_db = np.array(device.record.noise_floor_db)
    at_2k, at_8k = np.interp([2000, 8000], band_centres_hz(), floor_db)
    assert at_2k - at_8k == pytest.approx(6.0, abs=0.7)


@pytest.mark.parametrize(("given_dbfs", "expected_dbfs"), [(-40.0, -40.0), (-20.0, -27.5), (-10.0, -25.0)])
def test_gain_control_compresses_above_its_threshold(given_dbfs: float, expected_dbfs: float) -> None:
    control = GainControl(threshold_dbfs=-30.0, ratio=4.0, attack_s=0.005, release_s=0.1)
    result = recorded(simulated(gain_control=control), tone(given_dbfs))
    assert level_dbfs(result[len(result) // 2 :]) == pytest.approx(expected_dbfs, abs=0.3)


def test_gain_control_attacks_faster_than_it_releases() -> None:
    control = GainControl(threshold_dbfs=-40.0, ratio=10.0, attack_s=0.005, release_s=0.5)
    sound = np.concatenate([tone(-50, 1.0), tone(-10, 1.0), tone(-50, 1.0)])
    result = recorded(simulated(gain_control=control), sound)
    part = SAMPLE_RATE_HZ // 10
    after_onset, after_end = result[SAMPLE_RATE_HZ + part :][:part], result[2 * SAMPLE_RATE_HZ + part :][:part]
    assert level_dbfs(after_onset) == pytest.approx(-37.0, abs=0.5)
    assert level_dbfs(after_end) < -60.0  # still turned down


def test_soft_clipping_bounds_loud_sounds_and_spares_quiet_ones() -> None:
    device = simulated(clip_at=0.2)
    assert np.abs(recorded(device, tone(0))).max() <= 0.2
    assert level_dbfs(recorded(device, tone(-50))) == pytest.approx(-50.0, abs=0.05)


def test_the_band_limit_is_in_the_record() -> None:
    record = simulated(low_pass_hz=5000.0).record
    response_db = np.array(record.frequency_response_db)
    assert np.interp(5000, record.band_centres_hz, response_db) == pytest.approx(-3.0, abs=0.4)
    assert response_db[-1] < -40


def test_the_codec_keeps_length_and_place() -> None:
    sound = tone(-20) * np.linspace(0, 1, 2 * SAMPLE_RATE_HZ, dtype=np.float32)
    sound += 0.02 * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    coded = recorded(simulated(codec_quality=0.1), sound)
    assert len(coded) == len(sound)
    lags = np.correlate(coded[5000:9000], sound[5000 - 20 : 9000 + 20], "valid")
    assert int(lags.argmax()) == 20
    assert np.abs(coded - sound).max() > 1e-3  # it does lose something


def test_two_devices_differ_by_their_responses_where_nothing_else_acts() -> None:
    bent = tuple(6 * np.sin(np.linspace(0, 6, N_BANDS)))
    plain, other = simulated(), simulated(microphone_db=bent, sensitivity_db=4.0)
    sound = 0.05 * np.random.default_rng(1).standard_normal(SEGMENT_SAMPLES).astype(np.float32)
    levels = [log_mel(torch.from_numpy(recorded(device, sound)[None]))[0].mean(dim=1) for device in (plain, other)]
    difference_db = (levels[1] - levels[0]).numpy()
    expected = np.array(other.record.frequency_response_db) - plain.record.frequency_response_db + 4.0
    axis_80, axis_128 = (np.arange(1, n + 1) / (n + 1) for n in (80, N_BANDS))
    np.testing.assert_allclose(difference_db[2:], np.interp(axis_80, axis_128, expected)[2:], atol=0.5)
