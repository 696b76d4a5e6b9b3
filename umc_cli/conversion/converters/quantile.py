"""`quantile`: per mel band, the source's level distribution is mapped onto the target's.

Needs no measured response and no training, only unpaired recordings of both devices of similar content.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.quantile_mapping import QuantilePosition, level_at, locate, quantiles_by_band


class QuantileMapper:
    """Maps the quantiles of the source's levels onto those of each target, band by band."""

    def __init__(self, ingredients: Ingredients) -> None:
        tables = {
            device: quantiles_by_band(ingredients.level_quantiles[device], ingredients.torch_device)
            for device in (ingredients.source, *ingredients.targets)
        }
        self._source = tables[ingredients.source]  # [80, Q]
        self._targets = {target: tables[target] for target in ingredients.targets}

    def begin(self, log_mel: Tensor) -> tuple[QuantilePosition, int]:
        """Find each level's place among the source's quantiles, band by band. Shape: [B, 80, 80], dB."""
        levels = log_mel.transpose(0, 1).reshape(log_mel.shape[1], -1)  # [80, B * frames]
        return locate(levels, self._source), len(log_mel)

    def convert(self, begun: tuple[QuantilePosition, int], target: str) -> Tensor:
        """Read the target's levels at the same places. Shape: [B, 80, 80], dB."""
        position, n_segments = begun
        levels = level_at(position, self._targets[target])
        return levels.reshape(len(levels), n_segments, -1).transpose(0, 1)

    def convert_to_each(self, begun: tuple[QuantilePosition, int], targets: Sequence[str]) -> Tensor:
        """Read the levels of each segment's own target. Shape: [B, 80, 80], dB."""
        position, n_segments = begun
        by_segment = (part.reshape(len(part), n_segments, -1).transpose(0, 1) for part in vars(position).values())
        return level_at(QuantilePosition(*by_segment), torch.stack([self._targets[target] for target in targets]))

    def describe(self) -> dict[str, str]:
        """Nothing beyond the tables, which lie beside run.json."""
        return {}
