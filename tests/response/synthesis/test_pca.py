"""`pca`: what is drawn has the mean, the covariance and the subspace of what was measured."""

from itertools import permutations

import numpy as np

from umc_cli.response.synthesis.pca import SPEC, Pca, PcaSettings


def responses(n_devices: int, axes: np.ndarray, sizes_db: tuple[float, ...], seed: int = 0) -> np.ndarray:
    """Responses around a hump that differ along orthogonal axes [n, 128]."""
    scores = np.random.default_rng(seed).standard_normal((n_devices, len(sizes_db))) * sizes_db
    return 10 * np.hanning(128) + scores @ axes


def orthogonal(n: int, seed: int = 1) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((128, n)))[0].T


def fit(measured_db: np.ndarray, **settings: float) -> Pca:
    sampler = SPEC.fit(measured_db, PcaSettings(**settings))
    assert isinstance(sampler, Pca)
    return sampler


def test_a_plane_is_found_kept_and_reproduced() -> None:
    axes = orthogonal(2)
    measured_db = responses(12, axes, (40.0, 15.0))
    sampler = fit(measured_db)
    assert sampler.describe() == {"n_components": 2}
    drawn_db = sampler.draw(200_000, np.random.default_rng(0)).astype(np.float64)
    outside = drawn_db - drawn_db @ axes.T @ axes
    assert np.abs(outside).max() < 1e-3
    pairs = [a - b for a, b in permutations(measured_db, 2)]
    expected = np.cov(np.array(pairs).T, bias=True)
    np.testing.assert_allclose(expected, 2 * np.cov(measured_db.T), atol=1e-9)
    np.testing.assert_allclose(np.cov(drawn_db.T), expected, atol=0.02 * expected.max())
    np.testing.assert_allclose(drawn_db.mean(axis=0), 0, atol=0.02 * np.sqrt(expected.max()))


def test_cross_validation_does_not_take_noise_for_components() -> None:
    rng = np.random.default_rng(3)
    measured_db = responses(30, orthogonal(3), (60.0, 40.0, 25.0)) + rng.normal(0, 0.5, (30, 128))
    assert fit(measured_db).describe() == {"n_components": 3}


def test_what_components_miss_of_left_out_devices_is_drawn_too() -> None:
    """One component asked for: the second axis must come back as what it missed."""
    axes = orthogonal(2)
    measured_db = responses(20, axes, (40.0, 15.0))
    drawn_db = fit(measured_db, most_components=1).draw(50_000, np.random.default_rng(0))
    along = (drawn_db @ axes.T).std(axis=0)
    wanted = np.sqrt(2) * (measured_db @ axes.T).std(axis=0, ddof=1)
    np.testing.assert_allclose(along, wanted, rtol=0.2)


def test_spread_scales_what_is_drawn() -> None:
    measured_db = responses(8, orthogonal(3), (30.0, 20.0, 10.0))
    once, twice = (fit(measured_db, spread=spread).draw(9, np.random.default_rng(5)) for spread in (1.0, 2.0))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)


def test_three_devices_are_enough() -> None:
    drawn_db = fit(responses(3, orthogonal(2), (30.0, 20.0))).draw(10, np.random.default_rng(0))
    assert np.isfinite(drawn_db).all()
    assert drawn_db.std() > 0.5


def test_equal_devices_do_not_differ() -> None:
    drawn_db = fit(np.tile(np.hanning(128), (4, 1))).draw(10, np.random.default_rng(0))
    np.testing.assert_allclose(drawn_db, 0, atol=1e-6)
