"""What recordings are for: the names of splits, those of other data sets, and the share that each gets."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from umc_cli.errors import SettingsError, did_you_mean

CONVERTER, TRAIN, VAL, TEST = "train-converter", "train", "val", "test"
SPLIT_NAMES = (TRAIN, VAL, TEST, CONVERTER)
"""What classifiers learn from, what their training is validated on, what neither learns from, and what converters
learn from alone. Where nothing is in the last, converters learn from `train`."""

OLD_NAMES = {"train-mc": CONVERTER, "train-sec": TRAIN, "val-sec": TEST}
"""What version 0.1.0 called them. Manifests and shards may use either."""

KNOWN_NAMES = (*SPLIT_NAMES, *OLD_NAMES)

FOR_CONVERTERS = f"{CONVERTER} or {TRAIN}"
"""For messages: the splits that converters learn from."""

OLD_SHARES = {"train-mc": 0.4, "train-sec": 0.4, "val-sec": 0.2}
"""What version 0.1.0 gave where none were stated."""

_ORDER = (CONVERTER, TRAIN, VAL, TEST)
_SUM_TOLERANCE = 1e-6


def role(split: str) -> str:
    """Return what the recordings of a split are for: one of `SPLIT_NAMES`, whatever the split is called."""
    return OLD_NAMES.get(split, split)


@dataclass(frozen=True)
class SplitRules:
    """How the recordings of a workspace get their splits. The same for all commands that work with the workspace."""

    shares: Mapping[str, float] = field(default_factory=lambda: {TRAIN: 0.8, TEST: 0.2})
    """Of the recordings of each label that have no split, in the order in which they are dealt."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What a manifest calls its splits, in our names. With any, those that are neither ours nor in it are refused."""
    shares_are_of_call: bool = False
    """The command was told the shares, so that it says where they have no effect."""

    def split_at(self, position: float) -> str:
        """Return the split of a recording at a position from 0 to 1 among those of its label."""
        for split, size in self.shares.items():
            if position < size:
                return split
            position -= size
        return split

    def in_words(self) -> str:
        """Return the shares as they can be given."""
        return ",".join(f"{name}={round(100 * share, 6):g}" for name, share in self.shares.items())


DEFAULT_RULES = SplitRules()


def parse_shares(given: Any) -> dict[str, float]:
    """Return the shares that `train=70,val=10,test=20`, or a table, says; of 1, in the order in which they are dealt.

    Raises:
        ValueError: a name or number is not right, or they do not sum to 100 or 1.
    """
    shares: dict[str, float] = {}
    for name, text in _pairs(given, "train=80,test=20"):
        if name not in KNOWN_NAMES:
            raise ValueError(f"unknown split {name!r}; {did_you_mean(name, KNOWN_NAMES, 'splits')}")
        if role(name) in map(role, shares):
            raise ValueError(f"split {name!r} gets two shares")
        shares[name] = _number(name, text)
    total = sum(shares.values())
    whole = next((whole for whole in (1, 100) if math.isclose(total, whole, abs_tol=_SUM_TOLERANCE * whole)), None)
    if whole is None:
        raise ValueError(f"shares sum to {total:g}, not to 100")
    return {name: shares[name] / whole for name in sorted(shares, key=lambda name: _ORDER.index(role(name)))}


def parse_split_map(given: Any) -> dict[str, str]:
    """Return our name for each name that `train=training,train=extra,val=dev`, or a table, says.

    Raises:
        ValueError: a name of ours is unknown, or one of theirs stands twice.
    """
    names: dict[str, str] = {}
    for ours, theirs in _pairs(given, "train=training,val=dev"):
        if ours not in KNOWN_NAMES:
            raise ValueError(
                f"unknown split {ours!r}: the manifest's name comes after the sign, train=training; "
                + did_you_mean(ours, KNOWN_NAMES, "splits")
            )
        for name in [theirs] if isinstance(theirs, str) else theirs:
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"{ours}={name} names no split of the manifest")
            if names.setdefault(name.strip(), ours) != ours:
                raise ValueError(f"the manifest's split {name.strip()!r} is to be {names[name.strip()]} and {ours}")
    return names


def left_out_of_map(counts: Mapping[str, int]) -> SettingsError:
    """Return the error of a manifest with splits that its map leaves out, with the number of their rows."""
    parts = [f"{name!r} ({count} {'row' if count == 1 else 'rows'})" for name, count in sorted(counts.items())]
    first = min(counts)
    return SettingsError(
        f"the split map leaves out splits of the manifest: {', '.join(parts)}",
        f"add each of them, for example --split-map ...,train={first}; ours are {', '.join(SPLIT_NAMES)}",
    )


def _pairs(given: Any, example: str) -> Iterable[tuple[str, Any]]:
    if isinstance(given, Mapping):
        yield from given.items()
        return
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{given!r} is not a list like {example}")
    parts = [part.strip() for part in parts if part.strip()]
    if not parts:
        raise ValueError(f"it names no split; write for example {example}")
    for part in parts:
        name, sign, value = part.partition("=")
        if not sign or not value.strip():
            raise ValueError(f"{part!r} has no value; write for example {example}")
        yield name.strip(), value.strip()


def _number(name: str, text: Any) -> float:
    try:
        share = float(text)
    except (TypeError, ValueError):
        share = math.nan
    if isinstance(text, bool) or not 0 <= share <= 100:
        raise ValueError(f"the share of {name} is {text!r}, not a number from 0 to 100")
    return share
