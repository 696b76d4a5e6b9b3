"""`gaussian-noise`: white, normal, and as loud as asked."""

import pytest
import torch
from torch import Tensor

from umc_cli.sec.augmentations.gaussian_noise import GaussianNoise, GaussianNoiseSettings


def added_noise(waveforms: Tensor, snr_db: tuple[float, float]) -> Tensor:
    augment = GaussianNoise(GaussianNoiseSettings(probability=1, snr_db=snr_db))
    return augment(waveforms, torch.Generator().manual_seed(0)) - waveforms


def measured_snr_db(waveforms: Tensor, noise: Tensor) -> Tensor:
    return 10 * (waveforms.square().mean(1) / noise.square().mean(1)).log10()


@pytest.mark.parametrize("level", [0.001, 0.5])
def test_snr_is_as_asked_whatever_the_level(level: float) -> None:
    tones = level * torch.sin(2 * torch.pi * 440 * torch.arange(20_480) / 22_050).expand(200, -1)
    snr_db = measured_snr_db(tones, added_noise(tones, (17.0, 17.0)))
    assert abs(snr_db.mean() - 17) < 0.01
    assert (snr_db - 17).abs().max() < 0.2  # 20,480 normal numbers: 0.04 dB standard deviation


def test_snr_is_uniform_in_its_range_and_differs_between_samples() -> None:
    tones = torch.sin(torch.arange(20_480) / 5).expand(400, -1)
    snr_db = measured_snr_db(tones, added_noise(tones, (5.0, 40.0)))
    assert snr_db.min() > 4.8
    assert snr_db.max() < 40.2
    quartiles = torch.quantile(snr_db, torch.tensor([0.25, 0.5, 0.75]))
    assert torch.allclose(quartiles, torch.tensor([13.75, 22.5, 31.25]), atol=3.5)


def test_noise_is_white_and_normal() -> None:
    noise = added_noise(torch.ones(50, 20_480), (0.0, 0.0))
    power = torch.fft.rfft(noise).abs().square()[:, 1:10_001].mean(0).reshape(10, -1).mean(1)
    assert (10 * (power / power.mean()).log10()).abs().max() < 0.2
    assert abs(noise.pow(4).mean() / noise.square().mean() ** 2 - 3) < 0.05
    assert abs((noise[0] * noise[1]).mean()) < 0.03


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="lower limit first"):
        GaussianNoiseSettings(snr_db=(40, 5))
