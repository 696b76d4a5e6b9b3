"""`rfn`: relaxed instance frequency-wise normalisation.

Kim et al., "Domain generalization with relaxed instance frequency-wise normalization for multi-device acoustic scene
classification", Interspeech 2022 (the paper's [3]): lambda * LN(x) + (1 - lambda) * IFN(x), lambda 0.5, at the input
and after the stages of the network. Neither norm has learned weights.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from umc_cli.config import Settings
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec
from umc_cli.sec.augmentations.frequency_statistics import EPSILON, normalise_frequencies


class RfnSettings(Settings):
    """Settings of `rfn`."""

    relaxation: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The paper's lambda. 0: only frequency-wise normalisation; 1: only layer normalisation."""


class Rfn(nn.Module):
    """Normalises every frequency and the whole of every sample, in training and evaluation alike; learns nothing."""

    def __init__(self, settings: RfnSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, C, F, T] -> the same. A sample's result does not depend on the others."""
        relaxation = self.settings.relaxation
        whole = nn.functional.layer_norm(x, x.shape[1:], eps=EPSILON)
        return relaxation * whole + (1 - relaxation) * normalise_frequencies(x)


def _build(settings: RfnSettings, _: AugmentationMaterial) -> Rfn:
    return Rfn(settings)


SPEC = AugmentationSpec(
    summary="instance normalization per frequency, relaxed by layer normalization",
    settings=RfnSettings,
    build_network_part=_build,
    after_stages=True,
)
