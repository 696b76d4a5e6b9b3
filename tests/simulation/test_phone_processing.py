"""What phones do to a recording, against what each stage promises."""

import numpy as np
import pytest

from tests.samples import noise
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.simulation.phone_processing import (
    CODEC_RATES_HZ,
    Codec,
    GainControl,
    MultiBandGainControl,
    NoiseGate,
    NoiseSuppression,
    band_limited,
    coded,
    controlled_in_bands,
    gated,
    noise_suppressed,
)

GATE = NoiseGate(threshold_dbfs=-40, range_db=12, attack_s=0.002, release_s=0.02)


def tone(level_dbfs: float, frequency_hz: float = 1_000.0, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * frequency_hz * time)


def level_dbfs(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples))))


def test_the_gate_lowers_what_is_quiet_and_leaves_what_is_loud() -> None:
    later = slice(SAMPLE_RATE_HZ // 2, None)
    assert level_dbfs(gated(tone(-50), GATE)[later]) == pytest.approx(-62, abs=0.1)
    assert level_dbfs(gated(tone(-30), GATE)[later]) == pytest.approx(-30, abs=0.1)


def test_the_gate_opens_faster_than_it_closes() -> None:
    levels = np.concatenate([tone(-30, seconds=0.5), tone(-50, seconds=0.5), tone(-30, seconds=0.5)])
    gain = np.abs(gated(levels, GATE)).reshape(-1, 245).max(axis=1) / np.abs(levels).reshape(-1, 245).max(axis=1)
    after_closing = gain[round(0.51 * SAMPLE_RATE_HZ / 245)]
    after_opening = gain[round(1.015 * SAMPLE_RATE_HZ / 245)]
    assert 0.5 < after_closing < 0.9  # still closing 10 ms after the sound ended
    assert after_opening > 0.97


def test_bands_without_control_add_up_to_the_recording() -> None:
    idle = GainControl(threshold_dbfs=0, ratio=2, attack_s=0.01, release_s=0.1)
    control = MultiBandGainControl(edges_hz=(400, 2_500), bands=(idle, idle, idle))
    sound = 0.1 * noise(0.5, seed=1).astype(np.float64)
    np.testing.assert_allclose(controlled_in_bands(sound, control), sound, atol=1e-12)


def test_only_the_band_that_is_loud_is_held_down() -> None:
    idle = GainControl(threshold_dbfs=0, ratio=2, attack_s=0.01, release_s=0.1)
    strong = GainControl(threshold_dbfs=-40, ratio=10, attack_s=0.005, release_s=0.1)
    control = MultiBandGainControl(edges_hz=(500, 2_500), bands=(strong, idle, idle))
    later = slice(SAMPLE_RATE_HZ // 2, None)
    assert level_dbfs(controlled_in_bands(tone(-20, 100), control)[later]) == pytest.approx(-38, abs=1.5)
    assert level_dbfs(controlled_in_bands(tone(-20, 6_000), control)[later]) == pytest.approx(-20, abs=0.5)


def test_suppression_lowers_steady_noise_and_keeps_a_tone_that_comes_and_goes() -> None:
    hiss = 0.003 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE_HZ)
    suppression = NoiseSuppression(oversubtraction=3, most_db=15)
    assert level_dbfs(noise_suppressed(hiss, suppression)) < level_dbfs(hiss) - 8
    spoken = hiss.copy()
    spoken[SAMPLE_RATE_HZ : SAMPLE_RATE_HZ + 8_000] += tone(-20)[:8_000]
    cleaned = noise_suppressed(spoken, suppression)
    middle = slice(SAMPLE_RATE_HZ + 2_000, SAMPLE_RATE_HZ + 6_000)
    assert level_dbfs(cleaned[middle]) == pytest.approx(level_dbfs(spoken[middle]), abs=0.2)
    assert len(cleaned) == len(spoken)


def test_a_lower_rate_empties_the_bands_above_half_of_it() -> None:
    assert level_dbfs(band_limited(tone(-20, 6_000), 8_000)[2_000:-2_000]) < -80
    kept = band_limited(tone(-20, 2_000), 8_000)[2_000:-2_000]
    assert level_dbfs(kept) == pytest.approx(-20, abs=0.1)


@pytest.mark.parametrize("name", CODEC_RATES_HZ)
def test_a_codec_keeps_length_place_and_roughly_the_sound(name: str) -> None:
    time = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sound = 0.2 * np.sin(2 * np.pi * (200 * time + 900 * time**2)) * np.hanning(SAMPLE_RATE_HZ)  # 200 to 2,000 Hz
    there = coded(sound, Codec(name=name, quality=0.3))
    assert len(there) == len(sound)
    lag = np.argmax(np.correlate(there[5_000:15_000], sound[5_100:14_900], "valid")) - 100
    assert abs(lag) <= 2
    assert np.corrcoef(there, sound)[0, 1] > 0.9
