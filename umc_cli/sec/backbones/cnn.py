"""`cnn`: a small network for CPUs: four stages of two 3x3 convolutions, the mean over time, the maximum over bands.

0.30 million parameters, 0.11 GFLOP a segment, a fortieth of ResNet-50's at this size.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from umc_cli.sec.backbones.staged import StagedClassifier

_WIDTHS = (1, 16, 32, 64, 128)


class Cnn(StagedClassifier):
    """Shape: [B, 1, F, T] -> [B, n_classes]; F and T at least 16."""

    def __init__(self, n_classes: int, stage_norm: Callable[[], nn.Module] | None = None) -> None:
        stages = (_stage(n_in, n_out) for n_in, n_out in pairwise(_WIDTHS))
        super().__init__(stages, _WIDTHS[-1], n_classes, stage_norm)


def _stage(n_in: int, n_out: int) -> list[nn.Module]:
    return [
        *[nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)],
        *[nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)],
        nn.AvgPool2d(2),
    ]
