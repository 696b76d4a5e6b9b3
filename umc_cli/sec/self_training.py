"""Self-training: a classifier gives the targets' own recordings labels, and learns from these anew.

Round 0 trains as without. Each later round begins with fresh weights; the weights that end a round label the unlabeled
segments, and of every device and class the surest ones are learned from (pseudo-labels: Scudder 1965, Lee 2013; with a
growing share and fresh weights: Cascante-Bonilla et al. 2021).
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.training.schedule import ScheduleSettings

ROUND_SHARES = (0.5, 0.75)
"""How many of the labels given are learned from, in each round after the first training: the surest ones. A third
round, with all of them, gains nothing more."""
SAMPLE_SHARE = 1 / 3
"""Probability that a sample is one with a label given by the classifier."""

ScheduleT = TypeVar("ScheduleT", bound=ScheduleSettings)


@dataclass(frozen=True)
class UnlabeledSegments:
    """Segments of the targets' own recordings, whose labels nobody looks at."""

    log_mel: NDArray[np.float16]
    """[n, 80, 80] (or of features of one's own) dB re full scale; in memory or mapped from a file."""
    device: NDArray[np.int64]
    """[n] Which of the devices each is of."""


@dataclass(frozen=True)
class GivenLabels:
    """The unlabeled segments that a round learns from, and what the classifier took them for."""

    row: NDArray[np.int64]
    """[m] Of `UnlabeledSegments`."""
    label: NDArray[np.int64]
    """[m] Index of the class."""


def surest(logits: Tensor, device: NDArray[np.int64], share: float) -> GivenLabels:
    """Return the surest `share` of what was taken for each class on each device, but at least one of each.

    Shape: [n, n_classes], [n]. A device or class on which the classifier is less sure is not left out.
    """
    sureness, label = torch.softmax(logits.double(), dim=1).max(dim=1)
    row = np.sort(np.concatenate([_first(rows, sureness.numpy(), share) for rows in _alike(device, label.numpy())]))
    return GivenLabels(row, label.numpy()[row])


def _alike(device: NDArray[np.int64], label: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of every device and class."""
    _, group = np.unique(np.stack([device, label]), axis=1, return_inverse=True)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _first(rows: NDArray[np.int64], sureness: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    order = np.argsort(-sureness[rows], kind="stable")
    return rows[order[: max(1, int(np.ceil(share * len(rows))))]]


def over_all_rounds(schedule: ScheduleT) -> ScheduleT:
    """Return the schedule of a whole run, where `schedule` is that of each round."""
    count = 1 + len(ROUND_SHARES)
    most = None if schedule.max_steps is None else schedule.max_steps * count
    return schedule.model_copy(update={"epochs": schedule.epochs * count, "max_steps": most})
