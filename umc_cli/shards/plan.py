"""The plan of a run (`run.json`): which segments go into which row of which shard, fixed before work begins."""

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import TypeAdapter

from umc_cli import atomic_write
from umc_cli.audio.files import AudioHeader, read_header
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.audio.modification import Mark, mark
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import segment_starts
from umc_cli.audio.time_limit import TimedOutError, within
from umc_cli.errors import InputError, SettingsError
from umc_cli.json_text import JsonFormat, parse_json
from umc_cli.shards.planned_files import PlannedFile, PlannedFiles, content_of, store_files

_ANOTHER_OUTPUT = "choose another --output, or replace it with --overwrite"

FORMAT = JsonFormat("umc-run", 1, "plan of a run", _ANOTHER_OUTPUT, _ANOTHER_OUTPUT)
PLAN_NAME = "run.json"

_MOST_SHARDS = 1_000_000
"""Of a target; a plan that claims more would fill the memory with their places."""

_SORTED_JSON = json.JSONEncoder(sort_keys=True)

_BEFORE_FILES = b'  "files": ['
"""The line before the first file. Nothing else begins with two spaces and this name."""

_HEADERS_A_TASK = 32
"""To hand a task to a thread takes as long as to read a header that is cached."""

_HEADERS_AHEAD = 1 << 14
"""Read before the first of them is stored."""


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
    files: PlannedFiles
    failed: tuple[FailedInput, ...]
    """Inputs that could not even be planned."""
    chosen_by: dict[str, Any] = field(default_factory=dict)
    """What the converter was chosen by, if it was measured; changes no row, and is not part of the run's identity."""

    @cached_property
    def summary(self) -> "Summary":
        """What has to be known of all files; they are gone through once."""
        n_files = 0
        extra_columns: set[str] = set()
        digest = hashlib.sha256(b'{"files": [')

        def noted() -> Iterator[PlannedFile]:
            nonlocal n_files
            for file in self.files:
                digest.update(((", " if n_files else "") + _SORTED_JSON.encode(content_of(file))).encode())
                extra_columns.update(file.extra)
                n_files += 1
                yield file

        shard_sizes = [sum(piece.n_segments for piece in pieces) for pieces in _cut(noted(), self.shard_size)]
        rest = {"source": self.source, "settings": self.settings, "shard_size": self.shard_size}
        digest.update(("], " + _SORTED_JSON.encode(rest).removeprefix("{")).encode())
        return Summary(digest.hexdigest(), n_files, shard_sizes, sorted(extra_columns))

    @property
    def run_id(self) -> str:
        """The hash of settings and files: equal runs may share an output folder."""
        return self.summary.run_id

    @property
    def n_segments(self) -> int:
        """Return the number of rows of all shards of one target, if no input fails later."""
        return sum(self.summary.shard_sizes)

    @property
    def n_shards(self) -> int:
        """Return the number of shards of one target."""
        return len(self.summary.shard_sizes)

    def shards(self) -> Iterator[list[Piece]]:
        """Cut the ordered segment list into shards of at most `shard_size` segments.

        A file is split between shards only if it alone fills more than one, so that no file is decoded twice.
        """
        return _cut(self.files, self.shard_size)


@dataclass(frozen=True)
class Summary:
    """What a plan's files are together."""

    run_id: str
    """As `hash_of` source, settings, shard size and files."""
    n_files: int
    shard_sizes: list[int]
    """Segments in each shard."""
    extra_columns: list[str]


def _cut(files: Iterable[PlannedFile], shard_size: int) -> Iterator[list[Piece]]:
    pieces: list[Piece] = []
    room = shard_size
    index = 0
    for file in files:
        for first in range(0, file.n_segments, shard_size):
            count = min(shard_size, file.n_segments - first)
            if count > room:
                yield pieces
                pieces, room = [], shard_size
            pieces.append(Piece(file, first, count, index))
            room -= count
            index += count
    if pieces:
        yield pieces


def plan_files(
    clips: Sequence[Clip], root: Path, settings: SegmentSettings, threads: int, timeout_s: float, folder: Path
) -> tuple[PlannedFiles, list[FailedInput]]:
    """Read the headers of all clips; every one is planned or failed.

    `root`: planned paths are relative to it where they lie in it. `timeout_s`: for the header of one recording.
    `folder`: where to store them.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    failed: list[FailedInput] = []

    def plan_file(clip: Clip) -> tuple[PlannedFile, Mark] | FailedInput:
        name = planned_path(clip.file, root)
        seen = mark(clip.path)  # before it is read: what changes later is noticed by the next run
        try:
            header, size_bytes = read_header_and_size(clip.path)
        except InputError as error:
            return FailedInput(name, error.message, error.hint)
        file = PlannedFile(
            path=name,
            label=clip.label,
            recording=clip.recording,
            split=clip.split,
            size_bytes=size_bytes,
            sample_rate_hz=header.sample_rate_hz,
            channels=header.channels,
            frames=header.frames,
            n_segments=len(segment_starts(header.n_samples, settings)),
            extra=dict(clip.extra),
        )
        return file, seen

    def plan_some(first: int) -> list[tuple[PlannedFile, Mark] | FailedInput]:
        some = clips[first : first + _HEADERS_A_TASK]
        with suppress(TimedOutError):
            return within(timeout_s, lambda: [plan_file(clip) for clip in some])
        # One of them hangs: each gets a thread and the time of its own.
        with ThreadPoolExecutor(len(some)) as pool:
            return list(pool.map(plan_alone, some))

    def plan_alone(clip: Clip) -> tuple[PlannedFile, Mark] | FailedInput:
        try:
            return within(timeout_s, lambda: plan_file(clip))
        except InputError as error:
            return FailedInput(planned_path(clip.file, root), error.message, error.hint)

    marks = array("q")

    def planned(pool: ThreadPoolExecutor) -> Iterator[PlannedFile]:
        for first in range(0, len(clips), _HEADERS_AHEAD):
            tasks = range(first, min(first + _HEADERS_AHEAD, len(clips)), _HEADERS_A_TASK)
            for result in chain.from_iterable(pool.map(plan_some, tasks)):
                if isinstance(result, FailedInput):
                    failed.append(result)
                else:
                    file, seen = result
                    marks.extend(seen)
                    yield file

    pool = ThreadPoolExecutor(4 * threads)
    try:
        files = store_files(planned(pool), folder)
    finally:
        pool.shutdown(cancel_futures=True)  # or an interrupted run would read more headers before it ends
    files.marks = marks
    return files, failed


def planned_path(file: str, root: Path) -> str:
    """Return the path of a recording as plans and shards hold it; see `PlannedFile`."""
    return file.removeprefix(str(root).rstrip(os.sep) + os.sep).replace(os.sep, "/")


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
    with atomic_write.atomic_path(root / PLAN_NAME) as partial, partial.open("wb") as file:
        file.writelines(_plan_lines(plan, targets))


def is_written(plan: Plan, targets: dict[str, str], root: Path) -> bool:
    """Return whether `<root>/run.json` is what `write_plan` would write, byte by byte."""
    try:
        with (root / PLAN_NAME).open("rb") as file:
            return all(file.read(len(line)) == line for line in _plan_lines(plan, targets)) and not file.read(1)
    except OSError:
        return False


def _plan_lines(plan: Plan, targets: dict[str, str]) -> Iterator[bytes]:
    head = {
        **FORMAT.header,
        "run_id": plan.run_id,
        "source": plan.source,
        "targets": targets,
        "settings": plan.settings,
        "shard_size": plan.shard_size,
        "n_segments": plan.n_segments,
        "n_shards": plan.n_shards,
        **({"chosen_by": plan.chosen_by} if plan.chosen_by else {}),
    }
    failed = [json.dumps(asdict(entry), ensure_ascii=False) for entry in plan.failed]
    text = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    text += ',\n  "failed": [' + ",".join(f"\n    {entry}" for entry in failed) + ("\n  ]" if failed else "]")
    text += ",\n" + _BEFORE_FILES.decode() + ("\n" if plan.summary.n_files else "")
    yield text.encode()
    yield from plan.files.lines()


def read_plan(root: Path) -> tuple[Plan, dict[str, str]] | None:
    """Return the plan in `<root>/run.json` and its targets, or None if there is none.

    Raises:
        SettingsError: the file is broken or of an unknown version.
    """
    path = root / PLAN_NAME
    if not path.exists():
        return None
    with _explained(path):
        text = path.open("rb")
        head = _read_head(text, path)
        files = PlannedFiles(text, text.tell())
        plan = Plan(head.source, head.settings, head.shard_size, files, tuple(head.failed), head.chosen_by)
        _check_counts(plan)
        if plan.run_id != head.run_id:
            raise ValueError("its content does not fit its run_id")
    return plan, head.targets


@dataclass(frozen=True)
class PlanHead:
    """What `run.json` says before its files."""

    run_id: str
    source: str
    targets: dict[str, str]
    settings: dict[str, Any]
    shard_size: int
    failed: list[FailedInput]
    chosen_by: dict[str, Any] = field(default_factory=dict)

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the source and the targets."""
        return (self.source, *self.targets)


_HEAD = TypeAdapter(PlanHead)


def read_head(root: Path) -> PlanHead | None:
    """Return what `<root>/run.json` says before its files, which are not looked at; None if there is no plan.

    Raises:
        SettingsError: the file is broken or of an unknown version.
    """
    path = root / PLAN_NAME
    if not path.exists():
        return None
    with _explained(path), path.open("rb") as text:
        return _read_head(text, path)


def _read_head(text: BinaryIO, path: Path) -> PlanHead:
    lines = []
    while (line := text.readline()) and not line.startswith(_BEFORE_FILES):
        lines.append(line)
    head_text = b"".join(lines) + b'"files": []}'
    FORMAT.check(parse_json(head_text), path)
    return _HEAD.validate_json(head_text, strict=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise SettingsError(f"{path} cannot be read: it is not a regular file", "choose another --output")
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", _ANOTHER_OUTPUT) from error


def _check_counts(plan: Plan) -> None:
    if plan.shard_size < 1:
        raise ValueError("a count or a rate is not positive")
    n_shards = 0
    for file in plan.files:
        if file.n_segments < 0 or file.sample_rate_hz < 1:
            raise ValueError("a count or a rate is not positive")
        n_shards += -(-file.n_segments // plan.shard_size)
        if n_shards > _MOST_SHARDS:
            raise ValueError(f"it claims more than {_MOST_SHARDS} shards")
