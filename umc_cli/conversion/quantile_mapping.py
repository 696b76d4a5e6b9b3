"""A level's place in one distribution, and the level at the same place of another: piecewise linear between quantiles.

Beyond the ends a level keeps its distance to the outermost quantile.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB


@dataclass(frozen=True)
class QuantilePosition:
    """Where each level stands in the source's distribution; the same for every target."""

    interval: Tensor
    """[..., n] int64: index of the quantile below (0 below the first one)."""
    fraction: Tensor
    """[..., n]: place between that quantile and the next one, 0-1."""
    beyond_db: Tensor
    """[..., n]: by how much the level lies below the first or above the last quantile."""


def quantiles_by_band(table_db: NDArray[np.float32], device: torch.device | str) -> Tensor:
    """Return a level table as the functions below take it. Shape: [Q, 80] -> [80, Q], dB.

    It is a copy: on a cluster tables cannot be written to.
    """
    return torch.tensor(table_db).T.contiguous().to(device)


def locate(levels_db: Tensor, source_quantiles_db: Tensor) -> QuantilePosition:
    """Find each level's place. Shape: [..., n] and rising quantiles [..., Q], in dB."""
    lowest, highest = source_quantiles_db[..., :1], source_quantiles_db[..., -1:]
    inside = levels_db.clamp(lowest, highest)
    interval = torch.searchsorted(source_quantiles_db, inside, right=True).sub_(1)
    interval = interval.clamp_(0, source_quantiles_db.shape[-1] - 2)
    below = source_quantiles_db.gather(-1, interval)
    width = source_quantiles_db.gather(-1, interval + 1) - below
    # Equal neighbouring quantiles (digital silence) have no width: the level stands at their lower edge.
    fraction = torch.where(width > 0, (inside - below) / width, 0.0)
    return QuantilePosition(interval, fraction, levels_db - inside)


def level_at(position: QuantilePosition, target_quantiles_db: Tensor) -> Tensor:
    """Return the target's levels at these places. Shape: quantiles [..., Q] -> [..., n] dB, never below -100 dB."""
    below = target_quantiles_db.gather(-1, position.interval)
    step = target_quantiles_db.gather(-1, position.interval + 1) - below
    return (below + position.fraction * step + position.beyond_db).clamp_min_(FLOOR_DB)
