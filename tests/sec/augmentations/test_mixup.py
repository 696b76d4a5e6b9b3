"""`mixup`: spectrograms and targets are mixed with one lambda, which is Beta distributed."""

import numpy as np
import pytest
import scipy.stats
import torch

from umc_cli.sec.augmentations.mixup import Mixup, MixupSettings

N = 64


def mixed_samples(seed: int = 0, **settings: object) -> tuple[np.ndarray, np.ndarray]:
    """Sample i has level -i dB everywhere and target i: the targets then name partner and lambda."""
    levels = -torch.arange(N).float()
    augment = Mixup(MixupSettings(**settings))
    log_mel, targets = augment(
        levels[:, None, None].expand(-1, 80, 80), torch.eye(N), torch.Generator().manual_seed(seed)
    )
    assert (log_mel == log_mel[:, :1, :1]).all()
    return log_mel[:, 0, 0].double().numpy(), targets.double().numpy()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_levels_are_mixed_with_the_lambda_of_the_targets(alpha: float) -> None:
    levels_db, targets = mixed_samples(alpha=alpha)
    np.testing.assert_allclose(levels_db, targets @ -np.arange(N), atol=1e-4)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert ((targets > 0).sum(axis=1) <= 2).all()


def test_powers_are_mixed_if_asked() -> None:
    levels_db, targets = mixed_samples(mixed="power", alpha=1.0)
    np.testing.assert_allclose(levels_db, 10 * np.log10(targets @ 10 ** (-np.arange(N) / 10)), atol=1e-4)
    by_level_db, _ = mixed_samples(alpha=1.0)
    assert np.abs(levels_db - by_level_db).max() > 3


@pytest.mark.parametrize("alpha", [0.2, 2.0])
def test_every_sample_draws_its_own_lambda_from_the_beta_distribution(alpha: float) -> None:
    own = []
    for seed in range(20):
        _, targets = mixed_samples(seed=seed, alpha=alpha)
        is_mixed = np.diag(targets) < 1 - 1e-7  # not with itself, which says nothing of lambda
        own.append(np.diag(targets)[is_mixed])
    cut = 1 - 1e-7
    beta = scipy.stats.beta(alpha, alpha)
    assert scipy.stats.kstest(np.concatenate(own), lambda x: beta.cdf(x) / beta.cdf(cut)).pvalue > 0.01
    assert len(np.unique(own[0])) > 0.9 * len(own[0])


def test_partners_are_a_permutation() -> None:
    _, targets = mixed_samples(alpha=1.0)
    partners = targets - np.diag(np.diag(targets))
    assert ((partners > 0).sum(axis=0) <= 1).all()
    assert (partners > 0).any(axis=1).sum() > N - 6


def test_soft_targets_stay_soft() -> None:
    soft = torch.rand(N, 5).softmax(1)
    _, targets = Mixup(MixupSettings())(torch.randn(N, 80, 80), soft, torch.Generator().manual_seed(0))
    torch.testing.assert_close(targets.sum(1), torch.ones(N))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        MixupSettings(alpha=0)
    with pytest.raises(ValueError, match="mixed"):
        MixupSettings(mixed="amplitude")
