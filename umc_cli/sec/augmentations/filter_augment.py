"""`filter-augment`: random gains over frequency, a straight line in each of a few random bands.

Nam, Kim, Park, "FilterAugment: An acoustic environmental data augmentation method", ICASSP 2022, linear type, with the
authors' settings: 3 to 5 bands of at least 6 mels, gains within +-6 dB, every sample altered. As in the authors' code
the line of a band runs from its first mel to its last one, and the next band begins with the value at which it ended.
Bands are drawn per sample (the authors' code: per batch).
"""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB, LOG_MEL_SETTINGS
from umc_cli.config import Range, Settings
from umc_cli.errors import SettingsError
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_chosen, numpy_random


class FilterAugmentSettings(Settings):
    """Settings of `filter-augment`."""

    probability: Probability = 1.0
    least_bands: Annotated[int, Field(ge=1)] = 3
    most_bands: Annotated[int, Field(ge=1)] = 5
    least_width: Annotated[int, Field(ge=1)] = 6
    """Of a band, in mel bands (of 80)."""
    gain_db: Range = (-6.0, 6.0)
    """At both ends of each band; two bands share the value where they meet."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.least_bands > self.most_bands:
            raise ValueError("least_bands must not be above most_bands")
        if self.most_bands * self.least_width > LOG_MEL_SETTINGS.n_mels:
            raise ValueError(
                f"most_bands times least_width must not be above {LOG_MEL_SETTINGS.n_mels}: they do not fit"
            )
        return self


@dataclass(frozen=True)
class FilterAugment:
    """Adds a gain curve to each sample."""

    settings: FilterAugmentSettings

    def __call__(self, log_mel: Tensor, targets: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `SpectrogramAugmentation`. Levels stay at or above -100 dB; the targets stay."""
        chosen = draw_chosen(len(log_mel), self.settings.probability, random)
        numbers = numpy_random(random)
        gains_db = np.zeros((len(log_mel), log_mel.shape[1], 1), np.float32)
        for row in chosen:
            gains_db[row, :, 0] = _draw_gain_db(log_mel.shape[1], self.settings, numbers)
        return (log_mel + torch.from_numpy(gains_db).to(log_mel)).clamp_min(FLOOR_DB), targets


def _draw_gain_db(n_mels: int, settings: FilterAugmentSettings, numbers: np.random.Generator) -> NDArray[np.float64]:
    """Return a gain curve. Shape: [n_mels], dB."""
    count = int(numbers.integers(settings.least_bands, settings.most_bands, endpoint=True))
    slack = n_mels - count * settings.least_width
    cuts = np.sort(numbers.integers(0, slack, count - 1, endpoint=True)) + settings.least_width * np.arange(1, count)
    widths = np.diff([0, *cuts, n_mels])
    gains_db = numbers.uniform(*settings.gain_db, count + 1)
    ends = zip(gains_db[:-1], gains_db[1:], widths, strict=True)
    return np.concatenate([np.linspace(first, last, width) for first, last, width in ends])


def _build(settings: FilterAugmentSettings, material: AugmentationMaterial) -> FilterAugment:
    if settings.most_bands * settings.least_width > material.shape[0]:
        raise SettingsError(
            f"method filter-augment: {settings.most_bands} bands of at least {settings.least_width} mel bands do not "
            f"fit into features of {material.shape[0]}",
            "lower most_bands or least_width in [train-sec.method_settings.filter-augment], or raise --feature-mels",
        )
    return FilterAugment(settings)


SPEC = AugmentationSpec(
    summary="random gains over frequency, a straight line in each of a few random bands",
    settings=FilterAugmentSettings,
    build_spectrogram=_build,
)
