"""The scores of a classifier on one device, and how they vary with the recordings: pure functions on arrays.

Classes are numbers from 0 to C - 1. A class counts in the macro F1 of a device if it occurs there, in truth or
among the predictions: a class that the device did not record and that was never predicted is left out of the mean, one
that was predicted without occurring has an F1 of zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Classes = NDArray[np.intp]

CONFIDENCE = 0.95
"""Of all intervals."""

_REPLICATES_AT_ONCE = 128


@dataclass(frozen=True)
class DeviceScores:
    """How a classifier does on the segments of one device. Scores are between 0 and 1."""

    n_segments: int
    macro_f1: float
    """Mean of the classes' F1, over the classes that occur in truth or prediction."""
    weighted_f1: float
    """The same mean, weighted by how often each class occurs in truth."""
    accuracy: float
    """Share of segments whose class is right."""
    per_class_f1: tuple[float | None, ...]
    """[C]; None of a class that occurs neither in truth nor in prediction."""
    confusion: tuple[tuple[int, ...], ...]
    """[C, C] segments; a row for each true class, a column for each predicted one."""


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Predictions:
    """What a classifier said of the segments of one device."""

    true: Classes
    """[N]"""
    predicted: Classes
    """[N]"""
    recordings: tuple[str, ...]
    """[N] names of the recordings that the segments were cut from."""


def score_device(true: Classes, predicted: Classes, n_classes: int) -> DeviceScores:
    """Score predictions. Shape: [N], [N].

    F1 = 2 right / (true + predicted), as scikit-learn and torchmetrics have it.

    Raises:
        ValueError: there is no segment, or the arrays differ in length.
    """
    if not len(true) or len(true) != len(predicted):
        raise ValueError(f"{len(true)} true classes and {len(predicted)} predictions cannot be scored")
    pairs = np.asarray(true) * n_classes + np.asarray(predicted)
    confusion = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    right, n_true, n_predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = n_true + n_predicted > 0
    by_class = _f1(right, n_true + n_predicted)
    return DeviceScores(
        n_segments=len(true),
        macro_f1=float(by_class[occurs].mean()),
        weighted_f1=float(by_class @ n_true / len(true)),
        accuracy=float(right.sum() / len(true)),
        per_class_f1=tuple(float(f1) if is_present else None for f1, is_present in zip(by_class, occurs, strict=True)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def macro_f1_of_counts(counts: NDArray[np.float32]) -> Values:
    """Return the macro F1 from what was counted of each class: right, true and predicted segments.

    F1 = 2 right / (true + predicted); nan where no class occurs.

    Shape: [..., 3, C] -> [...].
    """
    right, either = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :]
    by_class = _f1(right, either)
    n_occurring = (either > 0).sum(axis=-1)
    macro_f1: Values = np.divide(
        by_class.sum(axis=-1), n_occurring, out=np.full(n_occurring.shape, np.nan), where=n_occurring > 0
    )
    return macro_f1


def resample_recordings(n_recordings: int, n_replicates: int, seed: int) -> NDArray[np.int16]:
    """Return how often each recording is drawn in each replicate of the bootstrap. Shape: [replicates, recordings].

    Recordings are drawn, not segments, as segments of one recording are alike. One set of draws serves all models and
    devices: the same recording is drawn on all devices that hold it, and differences of models are paired.
    """
    random = np.random.default_rng(seed)
    share = np.full(n_recordings, 1 / n_recordings)
    rows = [random.multinomial(n_recordings, share).astype(np.int16) for _ in range(n_replicates)]
    return np.stack(rows) if rows else np.empty((0, n_recordings), np.int16)


def bootstrap_macro_f1(
    predictions: Predictions, n_classes: int, row_of: Mapping[str, int], draws: NDArray[np.int16]
) -> Values:
    """Return the macro F1 of every replicate; nan where none of the device's recordings was drawn.

    `row_of`: the column of `draws` that belongs to a recording. Shape: draws [B, R] -> [B].
    """
    names, numbers = np.unique(np.array(predictions.recordings, dtype=object), return_inverse=True)
    is_right = predictions.true == predictions.predicted
    counted = (
        (numbers[is_right], predictions.true[is_right]),
        (numbers, predictions.true),
        (numbers, predictions.predicted),
    )
    counts = [np.bincount(row * n_classes + number, minlength=len(names) * n_classes) for row, number in counted]
    flat = np.stack(counts, axis=0).reshape(3, len(names), n_classes).swapaxes(0, 1).reshape(len(names), -1)
    columns = [row_of[name] for name in names]
    drawn = [(part @ flat.astype(np.float32)).reshape(len(part), 3, n_classes) for part in _parts(draws, columns)]
    return np.concatenate([np.empty(0), *(macro_f1_of_counts(part) for part in drawn)])


def percentile_interval(replicates: Values) -> Interval | None:
    """Return the percentile interval of a bootstrap, 2.5 to 97.5 %; nan is left out. Shape: [B].

    None without replicates.
    """
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _f1(right: NDArray[Any], either: NDArray[Any]) -> Values:
    """Return the F1 of every class; 0 where it occurs neither in truth nor among the predictions."""
    f1: Values = np.divide(2.0 * right, either, out=np.zeros(either.shape), where=either > 0)
    return f1


def _parts(draws: NDArray[np.int16], columns: Sequence[int]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(draws), _REPLICATES_AT_ONCE):
        yield draws[start : start + _REPLICATES_AT_ONCE, columns].astype(np.float32)
