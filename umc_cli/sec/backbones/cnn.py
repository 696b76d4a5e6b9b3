"""`cnn`: a small network for CPUs: four stages of two 3x3 convolutions, the mean over time, the maximum over bands.

0.30 million parameters, 0.11 GFLOP a segment, a fortieth of ResNet-50's at this size.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

_WIDTHS = (1, 16, 32, 64, 128)


class Cnn(nn.Module):
    """Shape: [B, 1, F, T] -> [B, n_classes]; F and T at least 16."""

    def __init__(self, n_classes: int, stage_norm: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(*_stage(n_in, n_out), *([stage_norm()] if stage_norm else []))
            for n_in, n_out in pairwise(_WIDTHS)
        )
        self.output = nn.Linear(2 * _WIDTHS[-1], n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for stage in self.stages:
            x = stage(x)
        over_bands = torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)
        logits: Tensor = self.output(over_bands.mean(dim=2))
        return logits


def _stage(n_in: int, n_out: int) -> list[nn.Module]:
    return [
        *[nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)],
        *[nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)],
        nn.AvgPool2d(2),
    ]
