"""Unified-MC-Synth: every sample gets a difference of its own, drawn anew by the paper's rule (section 3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converters.film_gan import GeneratorConverter
from umc_cli.response.device import N_BANDS
from umc_cli.response.synthesis.contract import Sampler
from umc_cli.response.synthesis.drawing import fit_method

DRAWN_BY = "piecewise"
"""The method of `umc synth-fr` that is the paper's."""


@dataclass(frozen=True)
class DrawnConversions:
    """Converts every sample by a difference that is drawn for it alone; see `sec.dataset.SegmentConverter`."""

    generator: GeneratorConverter
    sampler: Sampler
    weights: str | None = None
    """What it computes with, in words."""
    converter: str = "film_gan"
    targets: tuple[str, ...] = ()
    """No device: a sample's target is a curve."""

    @property
    def made_with(self) -> Mapping[str, str]:
        """What the conversions rest on, for the report."""
        return self.generator.describe() | {"differences": DRAWN_BY}

    def __call__(self, log_mel: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
        """Shape: [B, 80, 80] dB -> the same, on the device that the generator computes on. `random`: on the CPU."""
        numbers = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=random)))
        curves_db = torch.from_numpy(self.sampler.draw(len(log_mel), numbers))
        return self.generator.convert_each(self.generator.begin(log_mel), curves_db)


def drawn_conversions(conversion: Conversion) -> DrawnConversions:
    """Return what converts samples with the generator of `conversion`, which needs no target.

    Raises:
        SettingsError: its weights are broken, or those of a generator for one pair, which is told no difference.
    """
    generator = conversion.built
    assert isinstance(generator, GeneratorConverter)
    sampler = fit_method(DRAWN_BY, np.empty((0, N_BANDS)))
    return DrawnConversions(generator, sampler, conversion.weights())
