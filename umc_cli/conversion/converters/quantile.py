"""`quantile`: per mel band, the source's level distribution is mapped onto the target's.

Needs no measured response and no training, only unpaired recordings of both devices of similar content.
The map is piecewise linear between the quantiles and shifted beyond the ends.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from umc_cli.audio.log_mel import FLOOR_DB
from umc_cli.conversion.converters.contract import ConverterSpec, Ingredients, Need


@dataclass(frozen=True)
class QuantilePosition:
    """Where each level stands in the source's distribution; the same for every target."""

    interval: Tensor
    """[80, B * frames] int64: index of the quantile below (0 below the first one)."""
    fraction: Tensor
    """[80, B * frames]: place between that quantile and the next one, 0-1."""
    beyond_db: Tensor
    """[80, B * frames]: by how much the level lies below the first or above the last quantile."""
    n_segments: int


class QuantileMapper:
    """Maps the quantiles of the source's levels onto those of each target, band by band."""

    def __init__(self, ingredients: Ingredients) -> None:
        tables = {
            device: torch.from_numpy(ingredients.level_quantiles[device]).T.contiguous().to(ingredients.torch_device)
            for device in (ingredients.source, *ingredients.targets)
        }
        self._source = tables[ingredients.source]  # [80, Q]
        self._targets = {target: tables[target] for target in ingredients.targets}

    def begin(self, log_mel: Tensor) -> QuantilePosition:
        """Find each level's place among the source's quantiles. Shape: [B, 80, 80], dB."""
        levels = log_mel.transpose(0, 1).reshape(log_mel.shape[1], -1)  # [80, B * frames]
        lowest, highest = self._source[:, :1], self._source[:, -1:]
        inside = levels.clamp(lowest, highest)
        interval = torch.searchsorted(self._source, inside, right=True).sub_(1).clamp_(0, self._source.shape[1] - 2)
        below = self._source.gather(1, interval)
        width = self._source.gather(1, interval + 1) - below
        # Equal neighbouring quantiles (digital silence) have no width: the level stands at their lower edge.
        fraction = torch.where(width > 0, (inside - below) / width, 0.0)
        return QuantilePosition(interval, fraction, levels - inside, log_mel.shape[0])

    def convert(self, begun: QuantilePosition, target: str) -> Tensor:
        """Read the target's levels at the same places. Shape: [B, 80, 80], dB."""
        table = self._targets[target]
        below = table.gather(1, begun.interval)
        level = below + begun.fraction * (table.gather(1, begun.interval + 1) - below) + begun.beyond_db
        return level.clamp_min_(FLOOR_DB).reshape(table.shape[0], begun.n_segments, -1).transpose(0, 1)

    def describe(self) -> dict[str, str]:
        """Nothing beyond the tables, which lie beside run.json."""
        return {}


SPEC = ConverterSpec(
    summary="maps each band's level distribution onto that of the target's recordings",
    needs=frozenset({Need.RECORDINGS}),
    build=QuantileMapper,
)
