"""Coverage of real differences by drawn ones, where the answer is known."""

import numpy as np
import pytest

from umc_cli.response.synthesis.coverage import measure_coverage


def cloud(n: int, seed: int, spread_db: float = 3.0, dimensions: int = 6) -> np.ndarray:
    axes = np.linalg.qr(np.random.default_rng(9).standard_normal((128, dimensions)))[0].T
    return spread_db * np.random.default_rng(seed).standard_normal((n, dimensions)) @ axes


def test_the_distance_is_the_rms_over_the_bands_whatever_the_level() -> None:
    real_db = np.array([np.linspace(-1, 1, 128)])
    drawn_db = np.concatenate([np.full((20, 128), 50.0), 7.0 - np.linspace(-1, 1, 128)[None]])
    coverage = measure_coverage(real_db, drawn_db)
    size = np.linspace(-1, 1, 128).std()
    np.testing.assert_allclose(coverage.nearest_db, size)  # the flat ones: 2 of 3 lines away from the opposite tilt
    again = measure_coverage(real_db - 30, np.concatenate([drawn_db, real_db + 12]))
    np.testing.assert_allclose(again.nearest_db, 0, atol=1e-6)


def test_ranks_are_uniform_where_real_ones_are_distributed_as_drawn() -> None:
    rank = measure_coverage(cloud(2_000, 1), cloud(2_000, 2)).rank
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert abs((rank <= share).mean() - share) < 0.03


def test_ranks_fall_where_drawn_ones_are_too_narrow_and_rise_where_too_wide() -> None:
    real_db = cloud(500, 1)
    assert np.median(measure_coverage(real_db, cloud(1_000, 2, spread_db=1.0)).rank) < 0.01
    assert np.median(measure_coverage(real_db, cloud(1_000, 2, spread_db=9.0)).rank) > 0.9


def test_far_from_everything_is_the_lowest_rank() -> None:
    far = cloud(1, 1) + 100 * np.sign(np.sin(np.arange(128)))
    assert measure_coverage(far, cloud(99, 2)).rank[0] == 1 / 100


@pytest.mark.parametrize(("n_drawn", "bands"), [(10, 128), (50, 80)])
def test_too_few_drawn_or_other_bands_are_refused(n_drawn: int, bands: int) -> None:
    with pytest.raises(ValueError, match="cannot compare"):
        measure_coverage(np.zeros((3, 128)), np.zeros((n_drawn, bands)))
