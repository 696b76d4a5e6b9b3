"""Repeats that agree in magnitude but not in waveform: a millisecond lost, another sound, a move."""

import numpy as np
import pytest

from tests.response.measurements import microphone, recorded, true_shape_db
from umc_cli.response.frequency_response import band_centres_hz
from umc_cli.response.impulse_train import take_impulses
from umc_cli.response.measured_response import MeasuredResponse, measure_response
from umc_cli.response.repeat_coherence import check_coherence
from umc_cli.response.stimulus import ImpulseTrain, SineSweep
from umc_cli.response.sweep_recording import sweep_of_stimulus, take_sweeps

RATE_HZ = 48_000
ALL_BANDS = np.ones(128, bool)


def measured(sweep: SineSweep, recording: np.ndarray) -> MeasuredResponse:
    take = take_sweeps(recording, sweep_of_stimulus(sweep, RATE_HZ), sweep.spacing_s, 200)
    return measure_response([take], [], 200)


def without_a_millisecond(sweep: SineSweep, recording: np.ndarray, repeat: int) -> np.ndarray:
    at = round((sweep.first_s + repeat * sweep.spacing_s + 0.6 * sweep.duration_s) * RATE_HZ)
    return np.delete(recording, slice(at, at + 48))


@pytest.mark.parametrize("repeat", [0, 1, 2])
def test_a_sweep_that_lost_a_millisecond_is_left_out(repeat: int) -> None:
    sweep = SineSweep(duration_s=2, spacing_s=3)
    whole = recorded(sweep, microphone(), drift_ppm=0)
    found = measured(sweep, without_a_millisecond(sweep, whole, repeat))
    assert found.odd_repeats == ((0, repeat),)
    assert found.incoherent_hz is None
    error_db = found.frequency_response_db - true_shape_db(microphone(), RATE_HZ)
    assert np.abs(error_db[found.trusted]).max() < 0.5
    assert found.trusted.sum() >= 126
    assert measured(sweep, whole).odd_repeats == ()


def test_of_two_sweeps_nobody_knows_which_is_right_so_their_bands_are_not_trusted() -> None:
    sweep = SineSweep(duration_s=2, repeats=2)
    found = measured(sweep, without_a_millisecond(sweep, recorded(sweep, microphone(), drift_ppm=0), 1))
    assert found.odd_repeats == ()
    assert found.incoherent_hz is not None
    assert found.loss_db > 3
    low, high = found.incoherent_hz
    centres = band_centres_hz()[found.trusted]
    assert not np.any((centres >= low) & (centres <= high)) or found.trusted.sum() < 126
    error_db = found.frequency_response_db - true_shape_db(microphone(), RATE_HZ)
    assert np.abs(error_db[~found.trusted]).max() > 3


@pytest.mark.parametrize("noise_dbfs", [-75.0, -50.0, -45.0])
def test_noise_makes_no_repeat_odd(noise_dbfs: float) -> None:
    train = ImpulseTrain(repeats=8)
    for seed in range(4):
        take = take_impulses(recorded(train, microphone(), noise_dbfs, seed=seed), RATE_HZ, train, 200)
        found = measure_response([take], [], 200)
        assert found.odd_repeats == ()
        assert found.incoherent_hz is None


def test_scatter_is_the_noise_of_one_repeat() -> None:
    random = np.random.default_rng(0)
    clean = np.zeros(9600)
    clean[480] = 1
    repeats = clean + 1e-3 * random.standard_normal((20, 9600))
    found = check_coherence(repeats, RATE_HZ, None, ALL_BANDS)
    np.testing.assert_array_equal(found.kept, np.arange(20))
    assert found.scatter_db is not None
    assert np.abs(found.scatter_db - 10 * np.log10(1e-6 * 9600)).max() < 2  # E |N(f)|^2 = n sigma^2
    assert check_coherence(repeats[:1], RATE_HZ, None, ALL_BANDS).scatter_db is None


def test_an_inverted_repeat_is_odd_and_a_louder_one_is_not() -> None:
    clean = np.zeros(4800)
    clean[480] = 1
    inverted = check_coherence(np.stack([clean, -clean, clean]), RATE_HZ, np.full(128, -90.0), ALL_BANDS)
    np.testing.assert_array_equal(inverted.kept, [0, 2])
    assert inverted.is_coherent.all()
    louder = check_coherence(np.stack([clean, 1.2 * clean, clean]), RATE_HZ, np.full(128, -90.0), ALL_BANDS)
    np.testing.assert_array_equal(louder.kept, [0, 1, 2])
    np.testing.assert_allclose(louder.loss_db, 10 * np.log10(3 * (2 + 1.44) / 3.2**2), atol=1e-6)


@pytest.mark.parametrize("offset", [0.01, -0.05])
def test_a_constant_offset_changes_nothing(offset: float) -> None:
    train = ImpulseTrain(repeats=3)
    recording = recorded(train, microphone(), noise_dbfs=-75)
    before, after = (
        measure_response([take_impulses(samples, RATE_HZ, train, 200)], [], 200)
        for samples in (recording, recording + offset)
    )
    np.testing.assert_allclose(after.frequency_response_db, before.frequency_response_db, atol=1e-6)
    assert before.snr_db is not None
    assert after.snr_db is not None
    np.testing.assert_allclose(after.snr_db, before.snr_db, atol=1e-6)


def test_an_impulse_that_clips_is_left_out_though_an_offset_hides_it() -> None:
    train = ImpulseTrain(repeats=3, level_dbfs=0)
    recording = recorded(train, microphone(), noise_dbfs=-75)
    recording[round(2.0 * RATE_HZ) : round(2.6 * RATE_HZ)] *= 3
    take = take_impulses(np.clip(recording + 0.02, -1, 1), RATE_HZ, train, 200)
    assert [each.reason for each in take.rejected] == ["clipped"]
