"""`filter-augment`: a gain over frequency, linear in pieces, constant over time, within its range."""

import itertools

import numpy as np
import pytest
import torch

from umc_cli.sec.augmentations.filter_augment import FilterAugment, FilterAugmentSettings


def gains_db(n: int = 3000, **settings: object) -> np.ndarray:
    """The curves that were added, [n, 80]; checked to be constant over time."""
    log_mel = torch.zeros(n, 80, 3, dtype=torch.float64)
    targets = torch.rand(n, 4)
    augment = FilterAugment(FilterAugmentSettings(**settings))
    filtered, same_targets = augment(log_mel, targets, torch.Generator().manual_seed(0))
    assert torch.equal(targets, same_targets)
    assert (filtered == filtered[:, :, :1]).all()
    return filtered[:, :, 0].numpy()


def bands(curve_db: np.ndarray) -> list[tuple[int, int]]:
    """First mel of every band, and the one after its last: a band begins with the last value of the one before."""
    repeated = np.flatnonzero(np.abs(np.diff(curve_db)) < 1e-9) + 1
    return list(itertools.pairwise([0, *repeated.tolist(), len(curve_db)]))


def test_three_to_five_bands_of_at_least_six_mels_equally_often() -> None:
    found = [bands(curve) for curve in gains_db()]
    counts = np.bincount([len(row) for row in found], minlength=6)
    assert len(counts) == 6
    np.testing.assert_allclose(counts[3:] / 3000, 1 / 3, atol=0.04)
    assert min(end - first for row in found for first, end in row) == 6


def test_boundaries_can_lie_anywhere_that_leaves_both_bands_their_width() -> None:
    cuts = np.array([bands(curve)[1][0] for curve in gains_db(n=6000, least_bands=2, most_bands=2)])
    assert (cuts.min(), cuts.max()) == (6, 74)
    assert np.bincount(cuts)[6:].min() > 0.5 * 6000 / 69


def test_values_at_boundaries_are_uniform_in_their_range() -> None:
    curves_db = gains_db(gain_db=(-3.0, 9.0))
    assert curves_db.min() >= -3
    assert curves_db.max() <= 9
    ends = curves_db[:, [0, -1]]
    assert ends.mean() == pytest.approx(3, abs=0.2)
    assert ends.std() == pytest.approx(12 / 12**0.5, abs=0.1)
    assert abs(np.corrcoef(ends.T)[0, 1]) < 0.06


def test_each_band_is_a_line_from_its_first_mel_to_its_last_one() -> None:
    """As the authors' code has it: linspace over the band's own mels, the ends' values included."""
    for curve in gains_db(n=50):
        for first, end in bands(curve):
            own = curve[first:end]
            np.testing.assert_allclose(own, np.linspace(own[0], own[-1], end - first), atol=1e-4)
            assert first == 0 or curve[first] == curve[first - 1]


def test_bands_may_take_all_mels_there_are() -> None:
    for curve in gains_db(n=5, least_bands=5, most_bands=5, least_width=16):
        assert bands(curve) == [(0, 16), (16, 32), (32, 48), (48, 64), (64, 80)]


def test_gain_is_added_to_the_levels_but_none_falls_below_the_floor() -> None:
    log_mel = torch.linspace(-100, 0, 80).expand(20, 80, 80)
    augment = FilterAugment(FilterAugmentSettings())
    filtered, _ = augment(log_mel, torch.zeros(20, 2), torch.Generator().manual_seed(0))
    curves_db = torch.from_numpy(gains_db(n=20)).float()
    assert filtered.min() == -100
    torch.testing.assert_close(filtered, (log_mel + curves_db[:, :, None]).clamp_min(-100), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"least_bands": 6}, "least_bands must not be above most_bands"),
        ({"least_width": 17}, "they do not fit"),
        ({"gain_db": (6, -6)}, "lower limit first"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        FilterAugmentSettings(**settings)
