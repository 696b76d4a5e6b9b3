"""`pitch-shift`: tones move by the asked interval, clicks stay where they were, levels stay."""

import numpy as np
import pytest
import torch

from umc_cli.sec.augmentations.pitch_shift import PitchShift, PitchShiftSettings, shift_pitch

RATE_HZ = 22_050
N_SAMPLES = 20_480


def tone(frequency_hz: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(N_SAMPLES) / RATE_HZ)).astype(np.float32)


def peak_hz(waveform: np.ndarray) -> float:
    """Frequency of the highest peak of the spectrum, between bins by a parabola through the levels."""
    level_db = 20 * np.log10(np.abs(np.fft.rfft(waveform * np.blackman(N_SAMPLES), 1 << 16)) + 1e-9)
    peak = int(level_db.argmax())
    below, at, above = level_db[peak - 1 : peak + 2]
    return float((peak + 0.5 * (below - above) / (below - 2 * at + above)) * RATE_HZ / (1 << 16))


def level_db(waveform: np.ndarray) -> float:
    return float(10 * np.log10(np.square(waveform, dtype=np.float64).mean()))


@pytest.mark.parametrize(("semitones", "expected_hz"), [(2, 493.88), (-2, 391.995), (12, 880.0), (-12, 220.0)])
def test_440_hz_moves_by_the_interval(semitones: float, expected_hz: float) -> None:
    assert peak_hz(shift_pitch(tone(440)[None], [semitones])[0]) == pytest.approx(expected_hz, rel=0.003)


@pytest.mark.parametrize("frequency_hz", [300.0, 1000.0, 3000.0])
def test_every_interval_is_within_ten_cents(frequency_hz: float) -> None:
    asked = np.arange(-3.5, 3.6, 0.5)
    shifted = shift_pitch(np.repeat(tone(frequency_hz)[None], len(asked), axis=0), asked.tolist())
    semitones = [12 * np.log2(peak_hz(each) / frequency_hz) for each in shifted]
    np.testing.assert_allclose(semitones, asked, atol=0.1)


@pytest.mark.parametrize("semitones", [-3.5, 2.0, 3.5])
def test_level_stays_from_the_first_part_of_the_segment_to_the_last(semitones: float) -> None:
    shifted_tone, shifted_noise = shift_pitch(
        np.stack([tone(440), np.random.default_rng(0).standard_normal(N_SAMPLES).astype(np.float32)]), [semitones] * 2
    )
    for part in np.split(shifted_tone, 10):
        assert level_db(part) == pytest.approx(level_db(tone(440)), abs=0.5)
    for part in np.split(shifted_noise, 10):
        assert level_db(part) == pytest.approx(0, abs=2.5)


@pytest.mark.parametrize("semitones", [-3.5, 3.5])
@pytest.mark.parametrize("place", [500, 10_000, 20_300])
def test_a_click_stays_where_it_was_and_sharp(semitones: float, place: int) -> None:
    click = np.zeros(N_SAMPLES, np.float32)
    click[place] = 1
    energy = np.square(shift_pitch(click[None], [semitones])[0], dtype=np.float64)
    centre = energy @ np.arange(N_SAMPLES) / energy.sum()
    spread = np.sqrt(energy @ (np.arange(N_SAMPLES) - centre) ** 2 / energy.sum())
    assert abs(centre - place) < 10
    assert spread < 40  # samples: 1.8 ms


def test_intervals_are_uniform_in_their_range() -> None:
    waveforms = torch.from_numpy(np.repeat(tone(440)[None], 150, axis=0))
    augment = PitchShift(PitchShiftSettings(probability=1, semitones=(-1, 3)))
    shifted = augment(waveforms, torch.Generator().manual_seed(0)).numpy()
    semitones = np.array([12 * np.log2(peak_hz(each) / 440) for each in shifted])
    assert -1.1 < semitones.min() < -0.8
    assert 2.8 < semitones.max() < 3.1
    np.testing.assert_allclose(np.quantile(semitones, [0.25, 0.5, 0.75]), [0, 1, 2], atol=0.45)


def test_a_segment_does_not_depend_on_those_before_it() -> None:
    waveforms = np.stack([tone(300), tone(700), tone(1500)])
    together = shift_pitch(waveforms, [2.0, -3.0, 1.0])
    np.testing.assert_array_equal(together[2], shift_pitch(waveforms[2:], [1.0])[0])


@pytest.mark.parametrize(("semitones", "complaint"), [((-13, 0), "within an octave"), ((2, -2), "lower limit first")])
def test_ranges_that_make_no_sense_are_refused(semitones: tuple[float, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        PitchShiftSettings(semitones=semitones)
