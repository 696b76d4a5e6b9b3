"""`strided`: the smallest network: four strided convolutions, the mean over time, mean and maximum over bands.

0.17 million parameters, 0.02 GFLOP a segment, a fifth of what `cnn` takes.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from umc_cli.sec.backbones.staged import StagedClassifier

_WIDTHS = (1, 24, 48, 96, 128)
_SIZES = (5, 3, 3, 3)


class Strided(StagedClassifier):
    """Shape: [B, 1, F, T] -> [B, n_classes]; F and T at least 16."""

    def __init__(self, n_classes: int, stage_norm: Callable[[], nn.Module] | None = None) -> None:
        stages = (_stage(n_in, n_out, size) for (n_in, n_out), size in zip(pairwise(_WIDTHS), _SIZES, strict=True))
        super().__init__(stages, _WIDTHS[-1], n_classes, stage_norm)


def _stage(n_in: int, n_out: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(n_in, n_out, size, stride=2, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
