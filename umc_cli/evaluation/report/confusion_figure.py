"""Confusion matrices for a page, and which classes are taken for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from umc_cli.evaluation.device_table import ScoredModel

_SHADES = 8
_SIDE = 340
_LARGEST_CELL, _SMALLEST_CELL = 26, 4
_MOST_NAMED, _MOST_COUNTED = 30, 12
"""Classes up to which their names stand at the matrix, and the segments in its cells."""
_NAME_CHARACTERS = 16


@dataclass(frozen=True)
class Confused:
    """Segments of one class that were taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the segments of the true class."""


def summed_confusion(models: Sequence[ScoredModel], devices: Sequence[str]) -> NDArray[np.int64]:
    """Return the confusion matrix summed over models and devices. Shape: [C, C] (true, predicted), segments."""
    n_classes = len(models[0].classes)
    total = np.zeros((n_classes, n_classes), dtype=np.int64)
    for model in models:
        for device in devices:
            total += np.array(model.devices[device].confusion, dtype=np.int64)
    return total


def most_confused(confusion: NDArray[np.int64], classes: Sequence[str], most: int) -> list[Confused]:
    """Return the most frequent confusions, at most `most`."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    of_class = confusion.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = [divmod(int(place), len(classes)) for place in order]
    return [
        Confused(
            classes[true],
            classes[predicted],
            int(wrong[true, predicted]),
            float(wrong[true, predicted] / of_class[true]),
        )
        for true, predicted in places
        if wrong[true, predicted]
    ]


def confusion_svg(confusion: ArrayLike, classes: Sequence[str], title: str) -> Markup:
    """Return an SVG element; rows are true classes, the darker a cell the larger its share of the row.

    Names are escaped.

    Raises:
        ValueError: the matrix has another size than `classes`.
    """
    counts = np.asarray(confusion)
    n = len(classes)
    if counts.shape != (n, n):
        raise ValueError(f"a matrix of shape {counts.shape} does not belong to {n} classes")
    cell = int(min(_LARGEST_CELL, max(_SMALLEST_CELL, _SIDE // n)))
    names = classes if n <= _MOST_NAMED else ()
    margin = 6 + round(max((min(len(name), _NAME_CHARACTERS) for name in names), default=0) * 5.6)
    side = n * cell
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = [Markup('<rect class="frame" x="{m}" y="{m}" width="{s}" height="{s}"/>').format(m=margin, s=side)]
    for shade in range(1, _SHADES + 1):
        rows, columns = np.nonzero(np.ceil(share * _SHADES) == shade)
        squares = "".join(
            f"M{margin + column * cell} {margin + row * cell}h{cell}v{cell}h-{cell}z"
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        )
        if squares:
            parts.append(Markup('<path class="cell" opacity="{:.2f}" d="{}"/>').format(shade / _SHADES, squares))
    parts += _names(names, margin, cell)
    parts += _counts(counts, share, margin, cell) if n <= _MOST_COUNTED else []
    size = margin + side + 2
    return Markup(
        '<svg class="confusion" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}</svg>'
    ).format(title, size, size, size, size, Markup("").join(parts))


def _names(names: Sequence[str], margin: int, cell: int) -> list[Markup]:
    parts = []
    for index, name in enumerate(names):
        shown = name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"
        middle = margin + index * cell + cell / 2
        parts.append(
            Markup('<text class="true" x="{}" y="{:.1f}">{}<title>{}</title></text>').format(
                margin - 4, middle + 3, shown, name
            )
        )
        parts.append(
            Markup('<text class="said" transform="translate({:.1f} {}) rotate(-90)">{}<title>{}</title></text>').format(
                middle + 3, margin - 4, shown, name
            )
        )
    return parts


def _counts(counts: NDArray[np.int64], share: NDArray[np.float64], margin: int, cell: int) -> list[Markup]:
    return [
        Markup('<text class="count{}" x="{:.1f}" y="{:.1f}">{}</text>').format(
            " on-dark" if share[row, column] > 0.5 else "",
            margin + (column + 0.5) * cell, margin + (row + 0.5) * cell + 3, int(counts[row, column]),
        )
        for row, column in np.argwhere(counts).tolist()
    ]  # fmt: skip
