"""`mixture`: inside the convex hull of the measured differences, unless it is bent."""

from itertools import permutations

import numpy as np
import scipy.optimize

from umc_cli.response.synthesis.mixture import SPEC, MixtureSettings


def draw(measured_db: np.ndarray, n: int, **settings: float) -> np.ndarray:
    return SPEC.fit(measured_db, MixtureSettings(**settings)).draw(n, np.random.default_rng(0))


def measured(n_devices: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 5, (n_devices, 128))


def test_without_jitter_nothing_leaves_the_convex_hull() -> None:
    measured_db = measured()
    pairs = np.array([a - b for a, b in permutations(measured_db, 2)])
    for drawn_db in draw(measured_db, 30, jitter_db=0.0):
        # Weights of at least 0 that add up to 1: one more equation.
        weights, rest = scipy.optimize.nnls(np.vstack([pairs.T, np.ones(len(pairs))]), np.append(drawn_db, 1.0))
        assert rest < 1e-3
        assert abs(weights.sum() - 1) < 1e-4


def test_a_single_difference_is_a_measured_one_each_as_often() -> None:
    measured_db = measured(4).astype(np.float32)
    pairs = np.array([a - b for a, b in permutations(measured_db, 2)])
    drawn_db = draw(measured_db, 6_000, jitter_db=0.0, most_mixed=1)
    distances = np.abs(drawn_db[:, None] - pairs).max(axis=2)
    assert distances.min(axis=1).max() < 1e-5
    np.testing.assert_allclose(np.bincount(distances.argmin(axis=1)) / 6_000, 1 / 12, atol=0.015)


def test_jitter_bends_as_far_as_it_says_between_its_knots() -> None:
    bent_db = draw(np.zeros((2, 128)), 20_000, jitter_db=3.0, knots=2)
    np.testing.assert_allclose(np.diff(bent_db, n=2, axis=1), 0, atol=1e-4)
    # A standard deviation uniform over 0 to 3 dB: the mean square is a third of 9.
    assert abs(np.square(bent_db[:, 0]).mean() - 3) < 0.15
