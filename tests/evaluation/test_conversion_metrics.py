"""Distances with known answers."""

import numpy as np
import pytest
import scipy.linalg

from umc_cli.evaluation.conversion_metrics import (
    frames_with_signal,
    frechet_distance,
    frechet_distance_of_gaussians,
    frechet_distances_of_halves,
    log_spectral_distance,
    response_error,
)

ALL_BANDS = np.ones(80, dtype=bool)


def levels(n_segments: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-80, -20, (n_segments, 80, 80)).astype(np.float32)


def test_identical_spectrograms_are_0_db_apart() -> None:
    assert log_spectral_distance(levels(), levels()).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("offset_db", [4.0, -4.0])
def test_a_constant_offset_is_the_distance(offset_db: float) -> None:
    np.testing.assert_allclose(log_spectral_distance(levels() + offset_db, levels()), 4.0, atol=1e-5)


def test_the_root_is_taken_of_each_frame_before_the_mean_over_frames() -> None:
    true, converted = np.zeros((2, 1, 80, 80), dtype=np.float32)
    converted[0, :40, :20] = 8.0  # half of the bands, a quarter of the frames
    np.testing.assert_allclose(log_spectral_distance(converted, true), np.sqrt(32) / 4)


def test_only_the_chosen_frames_count_and_a_segment_without_any_is_nan() -> None:
    true = np.zeros((2, 80, 80), dtype=np.float32)
    converted = true + np.arange(80, dtype=np.float32)  # frame i is i dB off
    frames = np.zeros((2, 80), dtype=bool)
    frames[0, [10, 20]] = True
    assert log_spectral_distance(converted, true, frames)[0] == 15.0
    assert np.isnan(log_spectral_distance(converted, true, frames)[1])


def test_frames_6_db_above_the_noise_floor_hold_signal() -> None:
    floor_db = np.linspace(-70, -90, 80).astype(np.float32)
    true = np.repeat(floor_db[None, :, None], 80, axis=2)
    true[0, :, 1] += 5.9
    true[0, :, 2] += 6.1
    found = frames_with_signal(true, floor_db, ["a"])
    assert np.flatnonzero(found[0]).tolist() == [2]
    # One loud band is enough: powers are summed before they are compared.
    true[0, 40, 3] = -40.0
    assert frames_with_signal(true, floor_db, ["a"])[0, 3]


def test_without_a_floor_each_recording_is_compared_with_its_own_quiet_frames() -> None:
    true = np.full((3, 80, 80), -80.0, dtype=np.float32)
    true[1] = -40.0  # a loud recording of steady sound holds nothing above its own quiet frames
    true[0, :, 60:] = -60.0
    true[2, :, :2] = -75.0
    found = frames_with_signal(true, None, ["quiet", "loud", "quiet"])
    assert found.sum(axis=1).tolist() == [20, 0, 0]
    assert found[0, 60:].all()


def test_an_equalised_set_has_no_response_error() -> None:
    gain_db = np.linspace(-6, 9, 80).astype(np.float32)
    error = response_error(levels() + gain_db[:, None], levels(), gain_db, ALL_BANDS)
    assert error.shape_db == pytest.approx(0, abs=1e-5)
    assert error.level_db == pytest.approx(0, abs=1e-5)


def test_response_error_parts_shape_from_level_and_leaves_out_bands_that_cannot_be_trusted() -> None:
    gain_db = np.zeros(80, dtype=np.float32)
    change_db = np.tile([5.0, 1.0], 40).astype(np.float32)  # 3 dB too loud, 2 dB off in shape
    change_db[70:] = 50.0
    error = response_error(levels() + change_db[:, None], levels(), gain_db, np.arange(80) < 70)
    assert error.shape_db == pytest.approx(2.0, abs=1e-5)
    assert error.level_db == pytest.approx(3.0, abs=1e-5)
    with pytest.raises(ValueError, match="no band is trusted"):
        response_error(levels(), levels(), gain_db, ~ALL_BANDS)


def test_frechet_distance_of_gaussians_whose_covariances_commute() -> None:
    first, second = np.diag([4.0, 9.0, 0.0]), np.diag([1.0, 25.0, 0.0])
    apart = np.array([1.0, 2.0, 2.0])
    # 9 + (2 - 1)^2 + (3 - 5)^2
    assert frechet_distance_of_gaussians(apart, first, np.zeros(3), second) == pytest.approx(14.0)


def test_frechet_distance_agrees_with_scipy_and_has_no_first_set() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(200, 8)), random.normal(size=(150, 8)) @ random.normal(size=(8, 8)) + 1
    (c1, c2), (m1, m2) = ((np.cov(s, rowvar=False) for s in (first, second)), (s.mean(0) for s in (first, second)))
    expected = np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_a_set_to_itself_is_0_also_with_fewer_members_than_dimensions() -> None:
    few = np.random.default_rng(0).normal(size=(5, 64))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="two members"):
        frechet_distance(few[:1], few)


def test_the_noise_level_is_that_of_a_perfect_conversion_and_a_shift_stands_out_from_it() -> None:
    random = np.random.default_rng(0)
    recordings = [f"{index // 4}" for index in range(400)]
    real, perfect = random.normal(size=(2, 400, 4)).astype(np.float32)
    noise, ours, shifted = (
        frechet_distances_of_halves(each, recordings, real, recordings, range(5)) for each in (real, perfect, real + 2)
    )
    assert 0 < noise.mean() < 0.1
    assert ours.mean() == pytest.approx(noise.mean(), abs=0.05)
    np.testing.assert_allclose(shifted, 16, atol=2)
    # The same seeds give the same halves.
    np.testing.assert_array_equal(noise, frechet_distances_of_halves(real, recordings, real, recordings, range(5)))


def test_no_recording_is_on_both_sides() -> None:
    real = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    assert np.isnan(frechet_distances_of_halves(real, ["one"] * 40, real, ["one"] * 40, [0])).all()
