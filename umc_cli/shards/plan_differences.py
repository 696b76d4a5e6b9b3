"""What makes the plans of two runs incompatible, in the user's words."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from umc_cli.shards.plan import Plan
from umc_cli.shards.planned_files import PlannedFile
from umc_cli.splits import OLD_NAMES, OLD_SHARES, SplitRules

_OPTIONS = {"label", "split", "converter", "batch_size", "dtype"}
_WORDS = {
    "made_with.checkpoint_sha256": "weights (--checkpoint)",
    "source_record_sha256": "record of the source",
    "source_levels_sha256": "levels of the source's recordings",
}
_LONGEST = 60
"""Letters of a value that are shown."""


def differences(old: Plan, new: Plan) -> Iterator[str]:
    """Name everything that differs."""
    yield from setting_differences(old, new)
    yield from recording_differences(old, new)


def setting_differences(old: Plan, new: Plan) -> Iterator[str]:
    """Name what is set otherwise; recordings left aside."""
    if old.source != new.source:
        yield f"--source: {old.source} then, {new.source} now"
    if old.shard_size != new.shard_size:
        yield f"--shard-size: {old.shard_size} then, {new.shard_size} now"
    yield from _differing(old.settings, new.settings, "")


def recording_differences(old: Plan, new: Plan) -> Iterator[str]:
    """Name how the recordings differ."""
    before, now = set(_identities(old.files)), set(_identities(new.files))
    if before != now:
        yield f"recordings: {len(now - before)} new or changed, {len(before - now)} gone or changed"
    elif n_moved := sum(before.split != after.split for before, after in zip(old.files, new.files, strict=False)):
        yield f"recordings: {n_moved} in another split, {_why_moved(old.files, new.files)}"
    elif any(before != after for before, after in zip(old.files, new.files, strict=False)):
        yield "recordings: other labels, columns or order"


def _why_moved(old: Iterable[PlannedFile], new: Iterable[PlannedFile]) -> str:
    if any(file.split in OLD_NAMES for file in old) and not any(file.split in OLD_NAMES for file in new):
        shares = SplitRules(OLD_SHARES).in_words()
        return f"as version 0.1.0 dealt them out differently; --shares {shares} does as it did"
    return "as others came or went, or other shares are given (a manifest's column `split` fixes it)"


def _differing(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differing(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        words = _in_words(name)
        is_known = old is not None and new is not None
        if name.endswith("_sha256") and is_known:
            yield f"{words}: changed"
        else:
            yield f"{words}: {_value(name, old)} then, {_value(name, new)} now"


def _in_words(name: str) -> str:
    """Return what users call a setting of a plan: `--short-clips` for `segments.short_clips`."""
    group, _, last = name.rpartition(".")
    if name in _WORDS:
        return _WORDS[name]
    if group == "recorded_noise_floors":
        return f"noise floor of {last}"
    if group == "segments" or name in _OPTIONS:
        return "--" + last.replace("_", "-")
    return last if group == "made_with" else name


def _value(name: str, value: Any) -> str:
    if name.endswith("_sha256") and isinstance(value, str):
        return value[:12]
    if value is None:
        return "mix" if name == "segments.channel" else "none"
    if value == []:
        return "all"
    text = ", ".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, str) else None
    text = json.dumps(value) if text is None else text
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _identities(files: Iterable[PlannedFile]) -> Iterator[int]:
    return (hash((file.path, file.size_bytes, file.frames)) for file in files)
