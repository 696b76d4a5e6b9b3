"""`residual-norm` and `rfn` against numpy, and what they are for: a device's filter no longer shows."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from umc_cli.sec.augmentations.residual_norm import ResidualNorm, ResidualNormSettings
from umc_cli.sec.augmentations.rfn import Rfn, RfnSettings


def feature_maps(shape: tuple[int, int, int, int] = (4, 3, 10, 14), seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=random) * torch.rand(shape[0], 1, shape[2], 1, generator=random).add(0.5)
    return x + 3 * torch.randn(shape[0], 1, shape[2], 1, generator=random)


def normalised(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def residual_norm(shortcut_weight: float = 0.1) -> ResidualNorm:
    return ResidualNorm(ResidualNormSettings(shortcut_weight=shortcut_weight))


def rfn(relaxation: float = 0.5) -> Rfn:
    return Rfn(RfnSettings(relaxation=relaxation))


@pytest.mark.parametrize("shape", [(4, 3, 10, 14), (2, 1, 80, 80), (1, 64, 5, 5)])
@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 1.0])
def test_both_equal_their_formulas_in_numpy(shape: tuple[int, int, int, int], weight: float) -> None:
    x = feature_maps(shape)
    by_frequency, whole = normalised(x.double().numpy(), (1, 3)), normalised(x.double().numpy(), (1, 2, 3))
    np.testing.assert_allclose(residual_norm(weight)(x), weight * x.numpy() + by_frequency, atol=1e-4)
    np.testing.assert_allclose(rfn(weight)(x), weight * whole + (1 - weight) * by_frequency, atol=1e-4)


@pytest.mark.parametrize("part", [residual_norm(0), rfn(0)])
def test_lambda_0_gives_mean_0_and_deviation_1_in_every_frequency(part: nn.Module) -> None:
    y = part(feature_maps())
    assert y.mean((1, 3)).abs().max() < 1e-5
    torch.testing.assert_close(y.std((1, 3), correction=0), torch.ones(4, 10), rtol=0, atol=1e-3)


def test_rfn_of_lambda_1_keeps_differences_between_frequencies() -> None:
    y = rfn(1)(feature_maps())
    assert y.mean((1, 2, 3)).abs().max() < 1e-5
    assert y.mean((1, 3)).std(1).min() > 0.5


def test_a_filter_over_frequency_vanishes_as_far_as_lambda_lets_it() -> None:
    x = feature_maps()
    filtered = x + torch.linspace(-2, 2, 10)[:, None]
    difference = (residual_norm(0.1)(filtered) - residual_norm(0.1)(x)).mean((0, 1, 3))
    torch.testing.assert_close(difference, 0.1 * torch.linspace(-2, 2, 10), rtol=0, atol=1e-4)
    torch.testing.assert_close(rfn(0)(filtered), rfn(0)(x), rtol=0, atol=1e-4)
    assert (rfn(0.5)(filtered) - rfn(0.5)(x)).abs().max() > 0.1


@pytest.mark.parametrize("part", [residual_norm(), rfn()])
def test_training_and_evaluation_are_alike_and_samples_do_not_see_each_other(part: nn.Module) -> None:
    x = feature_maps()
    trained = part.train()(x)
    assert torch.equal(part.eval()(x), trained)
    torch.testing.assert_close(part(x[1:2]), trained[1:2], rtol=0, atol=1e-6)
    assert not list(part.parameters())
    assert not list(part.buffers())


@pytest.mark.parametrize("part", [residual_norm(), rfn()])
def test_digital_silence_is_normalised_without_a_division_by_zero(part: nn.Module) -> None:
    silence = torch.full((2, 1, 80, 80), -100.0, requires_grad=True)
    y = part(silence)
    y.sum().backward()
    assert y.isfinite().all()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="shortcut_weight"):
        ResidualNormSettings(shortcut_weight=-1)
    with pytest.raises(ValueError, match="relaxation"):
        RfnSettings(relaxation=1.5)
