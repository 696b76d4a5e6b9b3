"""`strided`: the smallest network: four strided convolutions, the mean over time, mean and maximum over bands.

0.17 million parameters, 0.02 GFLOP a segment, a fifth of what `cnn` takes.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

_WIDTHS = (1, 24, 48, 96, 128)
_SIZES = (5, 3, 3, 3)


class Strided(nn.Module):
    """Shape: [B, 1, F, T] -> [B, n_classes]; F and T at least 16."""

    def __init__(self, n_classes: int, stage_norm: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(*_stage(n_in, n_out, size), *([stage_norm()] if stage_norm else []))
            for (n_in, n_out), size in zip(pairwise(_WIDTHS), _SIZES, strict=True)
        )
        self.output = nn.Linear(2 * _WIDTHS[-1], n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for stage in self.stages:
            x = stage(x)
        over_bands = torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)
        logits: Tensor = self.output(over_bands.mean(dim=2))
        return logits


def _stage(n_in: int, n_out: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, size, stride=2, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
