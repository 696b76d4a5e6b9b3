"""`spec-augment`: masked bands and masked frames.

Park et al., "SpecAugment: A simple data augmentation method for automatic speech recognition", Interspeech 2019,
policy SM (Table 1: F = 15, m_F = 2, T = 70, p = 0.2, m_T = 2; 80 bands as here). In 80 frames p bounds the time masks:
16 frames. Masks take the mean of the training segments, as in the paper, where the mean is 0. Time warping is left
out: the paper finds it to help least and cost most. `torchaudio.functional.mask_along_axis_iid` draws such masks too,
but from the global generator.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from umc_cli.config import Settings
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_chosen, draw_integers


class SpecAugmentSettings(Settings):
    """Settings of `spec-augment`."""

    probability: Probability = 1.0
    """As in the paper; a mask can have width 0, so a few samples stay unaltered even so."""
    band_masks: Annotated[int, Field(ge=0)] = 2
    most_bands: Annotated[int, Field(ge=0)] = 15
    """A mask hides 0 to this many mel bands, all equally likely."""
    time_masks: Annotated[int, Field(ge=0)] = 2
    most_frames: Annotated[int, Field(ge=0)] = 70
    """A mask hides 0 to this many frames, or `most_time_share` of all if that is less."""
    most_time_share: Annotated[float, Field(ge=0, le=1)] = 0.2


@dataclass(frozen=True)
class SpecAugment:
    """Masks bands and frames."""

    settings: SpecAugmentSettings
    fill_db: float

    def __call__(self, log_mel: Tensor, targets: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `SpectrogramAugmentation`. The targets stay."""
        settings = self.settings
        n, n_bands, n_frames = log_mel.shape
        chosen = draw_chosen(n, settings.probability, random)
        most_frames = min(settings.most_frames, int(settings.most_time_share * n_frames))
        is_masked = torch.zeros(len(chosen), n_bands, n_frames, dtype=torch.bool)
        for _ in range(settings.band_masks):
            is_masked |= _draw_mask(len(chosen), n_bands, settings.most_bands, random)[:, :, None]
        for _ in range(settings.time_masks):
            is_masked |= _draw_mask(len(chosen), n_frames, most_frames, random)[:, None, :]
        masked = log_mel.clone()
        masked[chosen] = masked[chosen].masked_fill(is_masked.to(log_mel.device), self.fill_db)
        return masked, targets


def _draw_mask(n: int, length: int, widest: int, random: torch.Generator) -> Tensor:
    """Return one run of True per row, anywhere, of a width of 0 to `widest`. Shape: [n, length]."""
    width = draw_integers(torch.full((n,), min(widest, length)), random)[:, None]
    start = draw_integers(length - width.squeeze(1), random)[:, None]
    places = torch.arange(length)
    return (places >= start) & (places < start + width)


def _build(settings: SpecAugmentSettings, material: AugmentationMaterial) -> SpecAugment:
    return SpecAugment(settings, material.mean_db)


SPEC = AugmentationSpec(
    summary="masked bands and masked frames",
    settings=SpecAugmentSettings,
    build_spectrogram=_build,
)
