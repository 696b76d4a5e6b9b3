"""What a run of `umc convert` tells: how it goes on, what it counted, and which inputs failed."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from umc_cli import atomic_write
from umc_cli.audio.manifest import FailedInput
from umc_cli.conversion.shard_job import Progress, ShardJob
from umc_cli.shards import schema
from umc_cli.shards.audio_index import index_name, read_index
from umc_cli.shards.generations import Generation
from umc_cli.shards.part import WHOLE, Part
from umc_cli.shards.plan import Plan
from umc_cli.shards.run_folder import complete_shard
from umc_cli.shards.schema import read_shard_header
from umc_cli.shards.updates import count_live
from umc_cli.workflows.report_base import Report

_FAILED_NAME = "failed.csv"


class Kinds(NamedTuple):
    """What a run writes."""

    shards: bool
    audio: bool


@dataclass
class UpdateCounts:
    """How many recordings an update found."""

    name: str | None
    """Of its folder in `updates`; None where nothing was new, changed or gone."""
    n_new: int
    n_changed: int
    n_moved: int
    """Of the changed: only their split."""
    n_gone: int
    n_kept: int


class ConvertProgress(Progress, Protocol):
    """Told how a run goes on, for people who wait."""

    def learning(self, target: str, number: int, count: int) -> None:
        """What moves segments of a target is about to be learned. `number`: of the target, from 1."""
        ...

    def planning(self, n_files: int) -> None:
        """Headers are about to be read."""
        ...

    def start(self, targets: Sequence[str], n_segments: int) -> None:
        """Conversion begins. `n_segments`: of each target."""
        ...

    def keep(self, target: str, n_segments: int) -> None:
        """Count segments that an earlier run converted."""
        ...


@dataclass
class ConvertReport(Report):
    """What a run did."""

    source: str
    targets: list[str]
    converter: str
    reason: str
    output: str
    part: str | None = None
    """`I/N` if only this part's shards were to be made; all counts, and `failed`, are then of these alone."""
    n_files: int = 0
    n_segments: int = 0
    """Segments in the shards of each target; of the one with the fewest, where a reader failed for some only."""
    segments_by_target: dict[str, int] = field(default_factory=dict)
    n_shards_written: int = 0
    n_shards_kept: int = 0
    """Complete shards that an earlier run left."""
    n_audio_written: int = 0
    """Audio files of all targets."""
    n_audio_kept: int = 0
    gain_db: float | None = None
    """Of all audio files; None where there are none."""
    n_clipped: int = 0
    """Samples of audio files that exceed full scale and were cut off."""
    made_with: dict[str, str] = field(default_factory=dict)
    weights: str | None = None
    """What the converter computes with, in words, if it has weights."""
    left_out: dict[str, str] = field(default_factory=dict)
    recorded_floors: dict[str, str] = field(default_factory=dict)
    """By device whose record has no noise floor: from which of its recordings it was taken."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """By suffix: files in the data folder that are not audio."""
    update: UpdateCounts | None = None
    """Where a run was updated; all counts are then of the recordings that still count."""


def counted(
    jobs: Iterable[ShardJob], superseded: Set[str], report: ConvertReport, progress: ConvertProgress
) -> Iterator[ShardJob]:
    """Pass on the jobs with something to make, and count all; recordings that are `superseded` as none."""
    before: set[str] = set()
    for job in jobs:
        files = {piece.file.path for piece in job.pieces} - superseded
        report.n_files += len(files - before)  # a file that fills several shards may be in the part's shard before
        before = files
        for target in report.targets:
            if target not in job.paths:
                report.n_shards_kept += 1
                progress.keep(target, job.n_segments)
        report.n_shards_written += len(job.paths)
        if job.paths:
            yield job


def complete(
    report: ConvertReport, generations: Sequence[Generation], plan: Plan, part: Part | None, kinds: Kinds
) -> None:
    """Count rows and gather failures from what is finished, so that an interrupted run reports them all.

    `plan`: of all recordings; `generations`: the run and its updates.
    """
    failures = _Failures(report.targets)
    report.segments_by_target = dict.fromkeys(report.targets, 0)
    n_shards = 0
    for generation in generations if kinds.shards else ():
        for index in (part or WHOLE).shards(generation.plan.n_shards):
            n_shards += 1
            for target in report.targets:
                path = generation.folder / target / schema.shard_name(index)
                header = read_shard_header(path)
                report.segments_by_target[target] += count_live(path, header, generation.superseded)
                failures.add(target, header.failed, generation.superseded)
    report.n_segments = min(report.segments_by_target.values())
    failed = _both(failures, _audio_failures(generations, part or WHOLE, report.targets) if kinds.audio else None)
    # What belongs to no shard is told by one part.
    report.failed = [*(plan.failed if part is None or part.number == 1 else ()), *failed]
    if n_shards and not report.n_segments and not report.failed:
        report.warnings.append("no segment reaches the level of the silence gate: the shards are empty")
    elif n_shards and part is None and plan.settings["segments"]["silence_gate"] is not None:
        lost = {entry.path for entry in failed}
        n_readable = sum(file.n_segments for file in plan.files if file.path not in lost)
        if n_gated := n_readable - report.n_segments:
            report.warnings.append(f"the silence gate leaves out {n_gated} of {n_readable} segments")
    if part is None:
        report.n_files = plan.summary.n_files  # with those that give no segment
    report.n_files -= len(failed)


def all_failed(
    generations: Sequence[Generation], plan: Plan, target_ids: Mapping[str, str], kinds: Kinds
) -> list[FailedInput]:
    """Gather failures from what all parts have finished so far."""
    failures = _Failures(target_ids)
    for generation in generations if kinds.shards else ():
        for index in range(generation.plan.n_shards):
            for target, known in target_ids.items():
                identity = {"run_id": generation.plan.run_id, "target_id": known, "shard_index": index}
                header = complete_shard(generation.folder / target / schema.shard_name(index), identity)
                if header:
                    failures.add(target, header.failed, generation.superseded)
    audio = _audio_failures(generations, WHOLE, target_ids) if kinds.audio else None
    return [*plan.failed, *_both(failures, audio)]


def _both(of_shards: "_Failures", of_audio: "_Failures | None") -> list[FailedInput]:
    """Return the failures of both, each input once."""
    entries = [*of_shards.by_input(), *(of_audio.by_input() if of_audio else ())]
    return list({entry.path: entry for entry in reversed(entries)}.values())[::-1]


def _audio_failures(generations: Sequence[Generation], part: Part, targets: Iterable[str]) -> "_Failures":
    failures = _Failures(targets)
    for generation in generations:
        for index in part.shards(generation.plan.n_shards):
            for target in targets:
                path = generation.folder / target / index_name(index)
                if path.exists():
                    entries = [asdict(entry) for entry in read_index(path).failed]
                    failures.add(target, entries, generation.superseded)
    return failures


class _Failures:
    """What the shards of several targets say of their failed inputs; shards made at other times may differ."""

    def __init__(self, targets: Iterable[str]) -> None:
        self._n_targets = len(list(targets))
        self._found: dict[str, tuple[FailedInput, list[str]]] = {}

    def add(self, target: str, entries: Iterable[Mapping[str, str]], superseded: Set[str]) -> None:
        """Note what failed in a shard of `target`, but for what no longer counts."""
        for entry in entries:
            if entry["path"] in superseded:
                continue
            _, targets = self._found.setdefault(entry["path"], (FailedInput(**entry), []))
            if target not in targets:  # a long recording may lie in several shards
                targets.append(target)

    def by_input(self) -> list[FailedInput]:
        """Return every input that failed for a target; where it did not for all of them, its reason names those."""
        return [
            entry
            if len(targets) == self._n_targets
            else replace(entry, reason=f"{entry.reason} (only for {', '.join(targets)})")
            for entry, targets in self._found.values()
        ]


def write_failed(root: Path, failed: Sequence[FailedInput]) -> None:
    """Write `<root>/failed.csv`, or remove it where nothing failed.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    path = root / _FAILED_NAME
    if not failed:
        with atomic_write.explain_os_errors(path):
            path.unlink(missing_ok=True)
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "reason", "hint"])
    writer.writerows((entry.path, entry.reason, entry.hint) for entry in failed)
    atomic_write.write_text(path, table.getvalue())
