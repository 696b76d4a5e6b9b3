"""`freq-mixstyle`: a sample takes over part of another sample's mean and deviation per frequency.

Schmid et al., "CP-JKU submission to DCASE22", DCASE 2022 Challenge, which turns MixStyle (Zhou et al., ICLR 2021; the
paper's [2]) from channels to frequencies. Defaults as in their submission 2: alpha 0.3, p 0.6. Each sample decides by
itself whether it is mixed (theirs: the batch).
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from umc_cli.config import Settings
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_beta, draw_chosen
from umc_cli.sec.augmentations.frequency_statistics import frequency_statistics
from umc_cli.training.row_numbers import sent


class FreqMixstyleSettings(Settings):
    """Settings of `freq-mixstyle`."""

    probability: Probability = 0.6
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.3
    """Of the Beta distribution of the share of a sample's own statistics."""


class FreqMixstyle(nn.Module):
    """Mixes statistics per frequency while it trains; the identity in evaluation."""

    def __init__(self, settings: FreqMixstyleSettings) -> None:
        super().__init__()
        self.settings = settings
        self.random: torch.Generator | None = None
        """On the CPU; None: torch's global generator."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, C, F, T] -> the same. No gradient flows through the statistics, as in MixStyle."""
        if not self.training:
            return x
        chosen = draw_chosen(len(x), self.settings.probability, self.random)
        partners = torch.randperm(len(x), generator=self.random)[chosen]
        share = draw_beta(len(chosen), self.settings.alpha, self.random)[:, None, None, None]
        # Drawn on the CPU; each would be sent anew wherever it chooses rows, and a GPU be waited for.
        chosen, partners, share = (sent(drawn, x.device) for drawn in (chosen, partners, share.to(x.dtype)))
        mean, std = (statistic.detach() for statistic in frequency_statistics(x))
        normalised = (x[chosen] - mean[chosen]) / std[chosen]
        mixed_mean = torch.lerp(mean[partners], mean[chosen], share)
        mixed_std = torch.lerp(std[partners], std[chosen], share)
        return x.index_copy(0, chosen, normalised * mixed_std + mixed_mean)


def _build(settings: FreqMixstyleSettings, _: AugmentationMaterial) -> FreqMixstyle:
    return FreqMixstyle(settings)


SPEC = AugmentationSpec(
    summary="mixes mean and deviation per frequency between samples, in training only",
    settings=FreqMixstyleSettings,
    build_network_part=_build,
)
