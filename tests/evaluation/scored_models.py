"""Scored models whose macro F1 is given, for tests of what is made of it."""

from collections.abc import Mapping, Sequence

import numpy as np

from umc_cli.evaluation.device_table import ScoredModel
from umc_cli.evaluation.macro_f1 import DeviceScores

CLASSES = ("dog", "rain")


def scored_model(
    scores: Mapping[str, float],
    source: str = "S",
    method: str = "none",
    name: str = "run",
    replicates: Mapping[str, Sequence[float]] | None = None,
    classes: tuple[str, ...] = CLASSES,
) -> ScoredModel:
    """Return a model of these macro F1 by device; weighted F1 is a tenth lower, accuracy a tenth higher."""
    confusion = tuple(
        tuple(9 if row == column else row + column for column in range(len(classes))) for row in range(len(classes))
    )
    devices = {
        device: DeviceScores(20, score, score - 0.1, score + 0.1, (score,) * len(classes), confusion)
        for device, score in scores.items()
    }
    drawn = replicates or {}
    return ScoredModel(
        name, source, method, classes, devices, {device: np.array(drawn.get(device, ()), float) for device in scores}
    )
