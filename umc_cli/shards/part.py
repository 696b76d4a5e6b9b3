"""A part of a run: the shards that one of several processes makes, all of which write to one output folder."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Part `number` (from 1) of `count`; every shard belongs to one of them."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def shards(self, n_shards: int) -> range:
        """Return which of `n_shards` shards, counted from 0, belong to this part."""
        return range(self.number - 1, n_shards, self.count)


WHOLE = Part(1, 1)
"""All shards."""


def parse_part(text: str) -> Part:
    """Return the part that `text` names, as in `2/8`.

    Raises:
        ValueError: it is not two numbers with a slash between them, the first from 1 to the second.
    """
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    part = Part(int(match[1]), int(match[2])) if match else None
    if part is None or not 1 <= part.number <= part.count:
        raise ValueError(f"{text!r} is not I/N, two whole numbers with I from 1 to N")
    return part
