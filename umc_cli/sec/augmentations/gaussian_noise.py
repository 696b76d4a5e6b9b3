"""`gaussian-noise`: white noise at a random signal-to-noise ratio.

One of the rivals in the paper's predecessor [11]; neither gives its level. The range and the probability are the
defaults of audiomentations' `AddGaussianSNR`, which itself draws from global generators, one sample at a time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from umc_cli.config import Range, Settings
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_chosen, draw_uniform


class GaussianNoiseSettings(Settings):
    """Settings of `gaussian-noise`."""

    probability: Probability = 0.5
    snr_db: Range = (5.0, 40.0)
    """Power of the segment over power of the noise, dB; drawn per sample."""


@dataclass(frozen=True)
class GaussianNoise:
    """Adds white noise."""

    settings: GaussianNoiseSettings

    def __call__(self, waveforms: Tensor, random: torch.Generator) -> Tensor:
        """See `WaveformAugmentation`. The noise follows the level of the segment: digital silence stays silent."""
        chosen = draw_chosen(len(waveforms), self.settings.probability, random)
        snr_db = draw_uniform(len(chosen), self.settings.snr_db, random).to(waveforms)
        noise = torch.randn(len(chosen), waveforms.shape[1], generator=random).to(waveforms)
        noisy = waveforms.clone()
        signal_rms = noisy[chosen].square().mean(dim=1).sqrt()
        noise_rms = signal_rms * torch.pow(10, -snr_db / 20)
        noisy[chosen] += noise * noise_rms[:, None]
        return noisy


def _build(settings: GaussianNoiseSettings, _: AugmentationMaterial) -> GaussianNoise:
    return GaussianNoise(settings)


SPEC = AugmentationSpec(
    summary="white noise at a random signal-to-noise ratio",
    settings=GaussianNoiseSettings,
    build_waveform=_build,
)
