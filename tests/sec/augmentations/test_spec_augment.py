"""`spec-augment`: contiguous masks of at most the asked width at the training mean; the rest untouched."""

import numpy as np
import pytest
import torch

from umc_cli.sec.augmentations.spec_augment import SpecAugment, SpecAugmentSettings

FILL_DB = -47.25


def masks(n: int = 2000, **settings: float) -> np.ndarray:
    """Where the augmentation put the fill value, [n, 80, 80]; all else is checked to be as it was."""
    log_mel = torch.randn(10, 80, 80, generator=torch.Generator().manual_seed(1)).repeat(-(-n // 10), 1, 1)[:n] * 10
    targets = torch.rand(n, 4)
    augment = SpecAugment(SpecAugmentSettings(**settings), FILL_DB)
    masked, same_targets = augment(log_mel, targets, torch.Generator().manual_seed(0))
    is_masked = masked == FILL_DB
    assert torch.equal(masked.where(~is_masked, log_mel), log_mel)
    assert torch.equal(targets, same_targets)
    return is_masked.numpy()


def widths(hidden: np.ndarray) -> np.ndarray:
    """Widths of the one run in each row, [n, length] -> [n]; fails if a row has two."""
    edges = np.diff(np.pad(hidden, ((0, 0), (1, 1))).astype(int), axis=1)
    assert ((edges == 1).sum(axis=1) <= 1).all()
    return hidden.sum(axis=1)


@pytest.mark.parametrize("axis", ["bands", "frames"])
def test_one_mask_is_one_run_over_the_whole_other_axis(axis: str) -> None:
    is_masked = masks(band_masks=int(axis == "bands"), time_masks=int(axis == "frames"), most_bands=15, most_frames=15)
    other = 2 if axis == "bands" else 1
    assert (is_masked.all(axis=other) == is_masked.any(axis=other)).all()
    hidden = is_masked.any(axis=other)
    counts = np.bincount(widths(hidden), minlength=16)
    assert len(counts) == 16
    assert counts.min() > 0.6 * 2000 / 16  # widths 0 to 15 equally often
    assert hidden.any(axis=0).all()  # everywhere, both ends included


def test_policy_sm_masks_at_most_30_bands_and_32_frames() -> None:
    is_masked = masks(n=4000)
    bands, frames = is_masked.all(axis=2).sum(axis=1), is_masked.all(axis=1).sum(axis=1)
    assert 25 < bands.max() <= 30
    assert 26 < frames.max() <= 32
    expected = is_masked.all(axis=2)[:, :, None] | is_masked.all(axis=1)[:, None, :]
    assert (is_masked == expected).all()
    assert abs(bands.mean() - 2 * 7.5) < 1.5  # less where the two overlap


def test_time_masks_are_bounded_by_their_share() -> None:
    hidden = masks(n=200, band_masks=0, time_masks=1, most_time_share=0.05).any(axis=1)
    assert widths(hidden).max() == 4


def test_no_masks_change_nothing() -> None:
    assert not masks(n=20, band_masks=0, time_masks=0).any()


def test_a_mask_can_be_as_wide_as_the_spectrogram() -> None:
    assert widths(masks(n=1000, band_masks=1, time_masks=0, most_bands=200).any(axis=2)).max() == 80
