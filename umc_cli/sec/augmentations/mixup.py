"""`mixup`: convex mixtures of two samples and of their targets.

Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018, equation 1: lambda ~ Beta(alpha, alpha), alpha
0.2 (the paper: 0.1 to 0.4). Each sample draws its own lambda and mixes with its partner in a random permutation of the
batch. By default levels in dB are mixed, as the paper mixes what the network sees; `power` mixes powers, which is what
two sounds at once do. torchvision's `MixUp` draws from the global generator, one lambda a batch.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from umc_cli.config import Settings
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_beta, draw_chosen


class MixupSettings(Settings):
    """Settings of `mixup`."""

    probability: Probability = 1.0
    """As in the paper; with alpha 0.2 two samples in three are one of the two parts to more than 90 %."""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """Of the Beta distribution: 1 draws all shares equally, less than 1 small and large ones more often."""
    mixed: Literal["level", "power"] = "level"
    """Mix levels in dB, or powers."""


@dataclass(frozen=True)
class Mixup:
    """Mixes each sample with another one of its batch."""

    settings: MixupSettings

    def __call__(self, log_mel: Tensor, targets: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `SpectrogramAugmentation`. Targets are mixed with the same lambda. A partner may be the sample itself."""
        chosen = draw_chosen(len(log_mel), self.settings.probability, random)
        partners = torch.randperm(len(log_mel), generator=random)[chosen]
        share = draw_beta(len(chosen), self.settings.alpha, random)
        mixed, mixed_targets = log_mel.clone(), targets.clone()
        mix = _mix_power if self.settings.mixed == "power" else torch.lerp
        mixed[chosen] = mix(log_mel[partners], log_mel[chosen], share.to(log_mel)[:, None, None])
        mixed_targets[chosen] = torch.lerp(targets[partners], targets[chosen], share.to(targets)[:, None])
        return mixed, mixed_targets


def _mix_power(first_db: Tensor, second_db: Tensor, share: Tensor) -> Tensor:
    """Return the level of the powers' mixture, `share` of it the second's."""
    return torch.lerp(torch.pow(10, first_db / 10), torch.pow(10, second_db / 10), share).log10() * 10


def _build(settings: MixupSettings, _: AugmentationMaterial) -> Mixup:
    return Mixup(settings)


SPEC = AugmentationSpec(
    summary="convex mixtures of two samples and of their targets",
    settings=MixupSettings,
    build_spectrogram=_build,
)
