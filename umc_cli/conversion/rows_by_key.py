"""Rows of a batch that share a key: a target, an engine."""

from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

from torch import Tensor

KeyT = TypeVar("KeyT")


def rows_by_key(values: Tensor, keys: Sequence[KeyT]) -> list[tuple[KeyT, Tensor]]:
    """Return runs of rows whose keys are equal, in order. Shape: [B, ...], B keys -> [n, ...] for each run."""
    runs = [(key, len([*same])) for key, same in groupby(keys)]
    parts = values.split([count for _, count in runs])  # type: ignore[no-untyped-call]
    return [(key, part) for (key, _), part in zip(runs, parts, strict=True)]
