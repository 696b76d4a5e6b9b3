"""`residual-norm`: frequency-wise instance normalisation with a weak shortcut around it.

Kim et al., "QTI submission to DCASE 2021: Residual normalization for device-imbalanced acoustic scene classification
with efficient design", DCASE 2021 Challenge (the paper's [9]): lambda * x + FreqIN(x), lambda 0.1, at the input and
after the stages of the network.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from umc_cli.config import Settings
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec
from umc_cli.sec.augmentations.frequency_statistics import normalise_frequencies


class ResidualNormSettings(Settings):
    """Settings of `residual-norm`."""

    shortcut_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    """The paper's lambda: how much of the input is let through beside its normalised form."""


class ResidualNorm(nn.Module):
    """Normalises every frequency of every sample, in training and evaluation alike; learns nothing."""

    def __init__(self, settings: ResidualNormSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, C, F, T] -> the same. A sample's result does not depend on the others."""
        return self.settings.shortcut_weight * x + normalise_frequencies(x)


def _build(settings: ResidualNormSettings, _: AugmentationMaterial) -> ResidualNorm:
    return ResidualNorm(settings)


SPEC = AugmentationSpec(
    summary="instance normalization per frequency with a weak shortcut",
    settings=ResidualNormSettings,
    build_network_part=_build,
    after_stages=True,
)
