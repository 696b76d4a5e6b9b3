"""`freq-mixstyle`: statistics per frequency move between samples, the shape within a frequency stays."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from umc_cli.sec.augmentations.freq_mixstyle import FreqMixstyle, FreqMixstyleSettings

N = 12


def feature_maps(n_channels: int = 3, n_bands: int = 10, n_frames: int = 14) -> Tensor:
    """Samples with a mean and a deviation of their own in every frequency."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(N, n_channels, n_bands, n_frames, generator=random)
    spread = torch.rand(N, 1, n_bands, 1, generator=random) * 4 + 0.5
    return x * spread + 5 * torch.randn(N, 1, n_bands, 1, generator=random)


def mixstyle(seed: int = 0, **settings: float) -> FreqMixstyle:
    part = FreqMixstyle(FreqMixstyleSettings(**{"probability": 1.0, **settings}))
    part.random = torch.Generator().manual_seed(seed)
    return part


def statistics(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per sample and frequency, [N, F] each."""
    by_band = np.moveaxis(x.detach().double().numpy(), 2, 1).reshape(len(x), x.shape[2], -1)
    return by_band.mean(2), by_band.std(2)


@pytest.mark.parametrize("shape", [(1, 80, 80), (3, 10, 14)])
def test_shape_within_a_frequency_stays(shape: tuple[int, int, int]) -> None:
    x = feature_maps(*shape)
    y = mixstyle()(x)
    for before, after in zip(x, y, strict=True):
        for band in range(shape[1]):
            pair = np.corrcoef(before[:, band].flatten().numpy(), after[:, band].flatten().numpy())
            assert pair[0, 1] > 1 - 1e-5


def test_statistics_are_mixed_with_another_samples_in_one_share_for_all_frequencies() -> None:
    x = feature_maps()
    (mean, std), (mixed_mean, mixed_std) = statistics(x), statistics(mixstyle(alpha=1.0)(x))
    shares = []
    for row in range(N):
        fits = []
        for partner in range(N):
            away = np.concatenate([mean[partner] - mean[row], std[partner] - std[row]])
            moved = np.concatenate([mixed_mean[row] - mean[row], mixed_std[row] - std[row]])
            share = float(away @ moved / max(away @ away, 1e-12))
            fits.append((np.abs(moved - share * away).max(), share))
        error, share = min(fits)
        assert error < 1e-3
        assert -1e-4 <= share <= 1 + 1e-4
        shares.append(share)
    assert len({round(share, 3) for share in shares}) > N / 2


def test_a_small_alpha_swaps_statistics_or_leaves_them() -> None:
    x = feature_maps()
    (mean, std), (mixed_mean, mixed_std) = statistics(x), statistics(mixstyle(alpha=0.001)(x))
    partners = [int(np.abs(mean - row).max(axis=1).argmin()) for row in mixed_mean]
    np.testing.assert_allclose(mixed_mean, mean[partners], atol=1e-3)
    np.testing.assert_allclose(mixed_std, std[partners], atol=1e-3)
    assert any(partner != row for row, partner in enumerate(partners))


def test_evaluation_is_the_identity_and_draws_nothing() -> None:
    part, x = mixstyle().eval(), feature_maps()
    assert part.random
    state = part.random.get_state()
    assert part(x) is x
    assert torch.equal(part.random.get_state(), state)


def test_without_a_generator_it_draws_from_torchs_own() -> None:
    part, x = FreqMixstyle(FreqMixstyleSettings(probability=1)), feature_maps()
    torch.manual_seed(5)
    first = part(x)
    torch.manual_seed(5)
    assert torch.equal(part(x), first)
    assert not torch.equal(part(x), first)


def test_gradients_flow_through_the_samples_but_not_through_their_statistics() -> None:
    x = feature_maps().requires_grad_()
    y = mixstyle(alpha=1.0)(x)
    y.sum().backward()
    assert x.grad is not None
    # d y / d x is the ratio of deviations, mixed to own, in every place: it would be 0 in sum through the mean.
    ratio = statistics(y)[1] / statistics(x)[1]
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(ratio[:, None, :, None], x.shape), rtol=1e-3)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        FreqMixstyleSettings(alpha=0)


class RowsChosenFromTheHost(TorchDispatchMode):
    """Counts the row numbers on the CPU that choose rows elsewhere: on a GPU, each waits for all that was computed."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.index.Tensor:
            self.count += sum(rows is not None and rows.device != args[0].device for rows in args[1])
        return function(*args, **(kwargs or {}))


def test_no_row_numbers_are_sent_where_rows_are_chosen() -> None:
    with RowsChosenFromTheHost() as chosen:
        mixed = mixstyle()(torch.zeros(N, 1, 8, 8, device="meta"))
    assert mixed.device.type == "meta"
    assert chosen.count == 0  # it was 7
