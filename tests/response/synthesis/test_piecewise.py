"""`piecewise`: straight lines between boundaries that keep to their settings."""

import numpy as np
import pytest

from umc_cli.response.synthesis.piecewise import Piecewise, PiecewiseSettings


def draw(n: int = 5_000, seed: int = 0, **settings: float) -> np.ndarray:
    return Piecewise(PiecewiseSettings(**settings)).draw(n, np.random.default_rng(seed)).astype(np.float64)


def bends(differences_db: np.ndarray) -> list[np.ndarray]:
    """Return the inner bands of each row at which its slope changes."""
    second = np.diff(differences_db, n=2, axis=1)
    return [np.flatnonzero(np.abs(row) > 1e-4) + 1 for row in second]


def test_lines_bend_at_the_boundaries_only() -> None:
    found = bends(draw())
    counts = np.bincount([len(row) + 1 for row in found], minlength=6)
    # A bend can be too small to see, so a few rows seem to have a band less.
    assert counts[:3].sum() < 0.01 * 5_000
    assert len(counts) == 6
    np.testing.assert_allclose(counts[3:] / 5_000, 1 / 3, atol=0.03)


def test_bands_keep_their_least_width() -> None:
    found = bends(draw(least_width=20, most_bands=6, least_bands=6))
    widths = np.concatenate([np.diff(np.concatenate([[0], row, [127]])) for row in found if len(row) == 5])
    assert widths.min() == 20
    assert widths.max() == 127 - 5 * 20


def test_boundaries_can_lie_anywhere() -> None:
    """With two bands the only cut is uniform over all places that leave both their width."""
    cuts = np.concatenate(bends(draw(least_bands=2, most_bands=2, n=20_000)))
    assert (cuts.min(), cuts.max()) == (10, 117)
    assert np.bincount(cuts, minlength=128)[10:118].min() > 0.6 * 20_000 / 108


def test_values_at_boundaries_are_in_range_with_either_sign_as_often() -> None:
    differences_db = draw(least_db=2.0, most_db=9.0, n=20_000)
    ends = differences_db[:, [0, -1]]
    assert np.abs(differences_db).max() <= 9 + 1e-4
    assert np.abs(ends).min() >= 2 - 1e-4
    assert abs(np.abs(ends).mean() - 5.5) < 0.05
    assert abs((ends > 0).mean() - 0.5) < 0.01
    assert abs((ends[:, 0] * ends[:, 1] > 0).mean() - 0.5) < 0.01


def test_one_band_is_one_line() -> None:
    differences_db = draw(least_bands=1, most_bands=1, n=100)
    lines = np.linspace(differences_db[:, 0], differences_db[:, -1], 128, axis=1)
    np.testing.assert_allclose(differences_db, lines, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"least_bands": 6}, "least_bands must not be above most_bands"),
        ({"least_db": 7.0}, "least_db must not be above most_db"),
        ({"least_width": 26}, "the bands do not fit"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        PiecewiseSettings(**settings)
