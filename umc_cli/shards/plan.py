"""The plan of a run (`run.json`): which segments go into which row of which shard, fixed before work begins."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from umc_cli import atomic_write
from umc_cli.audio.files import AudioHeader, read_header
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.audio.segments import SegmentSettings, segment_starts
from umc_cli.errors import InputError, SettingsError
from umc_cli.json_text import parse_json

FORMAT_NAME = "umc-run"
FORMAT_VERSION = 1
PLAN_NAME = "run.json"

_MOST_SHARDS = 1_000_000
"""Of a target; a plan that claims more would fill the memory with their places."""

_SORTED_JSON = json.JSONEncoder(sort_keys=True)
_READABLE_JSON = json.JSONEncoder(ensure_ascii=False)

_HEADERS_A_TASK = 32
"""To hand a task to a thread takes as long as to read a header that is cached."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A recording as the plan knows it."""

    path: str
    """Relative to the workspace where it lies in it, else absolute; with forward slashes."""
    label: str
    recording: str
    split: str
    size_bytes: int
    sample_rate_hz: int
    channels: int
    frames: int
    n_segments: int
    extra: Mapping[str, str]

    @property
    def header(self) -> AudioHeader:
        """Return the audio header that the plan was made from."""
        return AudioHeader(self.sample_rate_hz, self.channels, self.frames)


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive segments of one file, all in one shard."""

    file: PlannedFile
    first_segment: int
    """Counted within the file."""
    n_segments: int
    first_index: int
    """Counted over the whole plan."""

    def starts(self, settings: SegmentSettings) -> range:
        """Return the start samples of the segments."""
        starts = segment_starts(self.file.header.n_samples, settings)
        return starts[self.first_segment : self.first_segment + self.n_segments]


@dataclass(frozen=True)
class Plan:
    """All that decides the content of a run's shards."""

    source: str
    settings: dict[str, Any]
    """Everything but the targets that can change a row: mel, segments, converter, precision, source device..."""
    shard_size: int
    files: tuple[PlannedFile, ...]
    failed: tuple[FailedInput, ...]
    """Inputs that could not even be planned."""

    @property
    def n_segments(self) -> int:
        """Return the number of rows of all shards of one target, if no input fails later."""
        return sum(file.n_segments for file in self.files)

    @cached_property
    def run_id(self) -> str:
        """The hash of settings and files: equal runs may share an output folder."""
        # As `hash_of` all of it, but the text of a million files is never in memory as a whole.
        digest = hashlib.sha256(b'{"files": [')
        for index, file in enumerate(self.files):
            digest.update(((", " if index else "") + _SORTED_JSON.encode(_content(file))).encode())
        rest = {"source": self.source, "settings": self.settings, "shard_size": self.shard_size}
        digest.update(("], " + _SORTED_JSON.encode(rest).removeprefix("{")).encode())
        return digest.hexdigest()

    @cached_property
    def shards(self) -> list[list[Piece]]:
        """Cut the ordered segment list into shards of at most `shard_size` segments.

        A file is split between shards only if it alone fills more than one, so that no file is decoded twice.
        """
        shards: list[list[Piece]] = []
        room = 0
        index = 0
        for file in self.files:
            for first in range(0, file.n_segments, self.shard_size):
                count = min(self.shard_size, file.n_segments - first)
                if count > room:
                    shards.append([])
                    room = self.shard_size
                shards[-1].append(Piece(file, first, count, index))
                room -= count
                index += count
        return shards


def plan_files(
    clips: Sequence[Clip], root: Path, settings: SegmentSettings, threads: int
) -> tuple[tuple[PlannedFile, ...], list[FailedInput]]:
    """Read the headers of all clips; every one is planned or failed.

    `root`: planned paths are relative to it where they lie in it.
    """
    inside = str(root).rstrip(os.sep) + os.sep

    def plan_file(clip: Clip) -> PlannedFile | FailedInput:
        name = str(clip.path).removeprefix(inside).replace(os.sep, "/")
        try:
            header, size_bytes = read_header_and_size(clip.path)
        except InputError as error:
            return FailedInput(name, error.message, error.hint)
        return PlannedFile(
            path=name,
            label=clip.label,
            recording=clip.recording,
            split=clip.split,
            size_bytes=size_bytes,
            sample_rate_hz=header.sample_rate_hz,
            channels=header.channels,
            frames=header.frames,
            n_segments=len(segment_starts(header.n_samples, settings)),
            extra=clip.extra,
        )

    def plan_some(first: int) -> list[PlannedFile | FailedInput]:
        return [plan_file(clip) for clip in clips[first : first + _HEADERS_A_TASK]]

    pool = ThreadPoolExecutor(4 * threads)
    try:
        results = list(chain.from_iterable(pool.map(plan_some, range(0, len(clips), _HEADERS_A_TASK))))
    finally:
        pool.shutdown(cancel_futures=True)  # or an interrupted run would read all headers before it ends
    planned = tuple(result for result in results if isinstance(result, PlannedFile))
    return planned, [result for result in results if isinstance(result, FailedInput)]


def read_header_and_size(path: Path) -> tuple[AudioHeader, int]:
    """Return a recording's header and its size in bytes.

    Raises:
        InputError: see `read_header`.
    """
    return read_header(path), path.stat().st_size


def hash_of(content: Any) -> str:
    """Return the sha256 of JSON content, whatever the order of its keys."""
    return hashlib.sha256(_SORTED_JSON.encode(content).encode()).hexdigest()


def write_plan(plan: Plan, targets: dict[str, str], root: Path) -> None:
    """Write `<root>/run.json`, one file a line. `targets`: the hash of what is known of each target."""
    with atomic_write.atomic_path(root / PLAN_NAME) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(_plan_text(plan, targets))


def is_written(plan: Plan, targets: dict[str, str], root: Path) -> bool:
    """Return whether `<root>/run.json` is what `write_plan` would write, letter by letter."""
    try:
        with (root / PLAN_NAME).open(encoding="utf-8") as file:
            return all(file.read(len(text)) == text for text in _plan_text(plan, targets)) and not file.read(1)
    except (OSError, UnicodeDecodeError):
        return False


def _plan_text(plan: Plan, targets: dict[str, str]) -> Iterator[str]:
    head = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "run_id": plan.run_id,
        "source": plan.source,
        "targets": targets,
        "settings": plan.settings,
        "shard_size": plan.shard_size,
        "n_segments": plan.n_segments,
        "n_shards": len(plan.shards),
    }
    yield json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    lists: dict[str, Sequence[PlannedFile | FailedInput]] = {"failed": plan.failed, "files": plan.files}
    for name, entries in lists.items():
        yield f',\n  "{name}": ['
        for index, entry in enumerate(entries):
            yield ("," if index else "") + "\n    " + _READABLE_JSON.encode(_content(entry))
        yield "\n  ]" if entries else "]"
    yield "\n}\n"


def read_plan(root: Path) -> tuple[Plan, dict[str, str]] | None:
    """Return the plan in `<root>/run.json` and its targets, or None if there is none.

    Raises:
        SettingsError: the file is broken or of an unknown version.
    """
    path = root / PLAN_NAME
    if not path.exists():
        return None
    if not path.is_file():
        raise SettingsError(f"{path} cannot be read: it is no regular file", "choose another --output")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if (content["format"], content["format_version"]) != (FORMAT_NAME, FORMAT_VERSION):
            raise SettingsError(
                f"{path} has format {content['format']!r}, version {content['format_version']!r}; "
                f"this umc reads version {FORMAT_VERSION}",
                "choose another --output, or --overwrite it",
            )
        plan = TypeAdapter(Plan).validate_python(
            {name: content[name] for name in ("source", "settings", "shard_size", "files", "failed")}
        )
        if [_content(file) for file in plan.files] != content["files"] or plan.shard_size != content["shard_size"]:
            raise ValueError("a value is of a wrong type")
        _check_counts(plan)
        targets = {str(name): str(known) for name, known in content["targets"].items()}
        if plan.run_id != content["run_id"]:
            raise ValueError("its content does not fit its run_id")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", "choose another --output, or --overwrite it") from error
    return plan, targets


def _check_counts(plan: Plan) -> None:
    counts = [file.n_segments for file in plan.files]
    rates = [file.sample_rate_hz for file in plan.files]
    if plan.shard_size < 1 or min(counts, default=0) < 0 or min(rates, default=1) < 1:
        raise ValueError("a count or a rate is not positive")
    if sum(-(-count // plan.shard_size) for count in counts) > _MOST_SHARDS:
        raise ValueError(f"it claims more than {_MOST_SHARDS} shards")


def differences(old: Plan, new: Plan) -> Iterator[str]:
    """Name what makes two plans incompatible, in the user's words."""
    if old.source != new.source:
        yield f"source: {old.source} then, {new.source} now"
    if old.shard_size != new.shard_size:
        yield f"shard_size: {old.shard_size} then, {new.shard_size} now"
    yield from _setting_differences(old.settings, new.settings, "")
    before, now = set(_identities(old.files)), set(_identities(new.files))
    if before != now:
        yield f"recordings: {len(now - before)} new or changed, {len(before - now)} gone or changed"
    elif n_moved := sum(before.split != after.split for before, after in zip(old.files, new.files, strict=False)):
        yield f"recordings: {n_moved} in another split, as others came or went (a manifest's column `split` fixes it)"
    elif old.files != new.files:
        yield "recordings: other labels, columns or order"


def _setting_differences(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _setting_differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        short = [text if len(text := json.dumps(value)) < 40 else "..." for value in (old, new)]
        yield f"{name}: {short[0]} then, {short[1]} now"


def _identities(files: Sequence[PlannedFile]) -> Iterator[tuple[Any, ...]]:
    return ((file.path, file.size_bytes, file.frames) for file in files)


def _content(entry: PlannedFile | FailedInput) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}
