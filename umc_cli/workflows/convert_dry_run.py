"""`umc convert --dry-run`: what a run would read, make and keep, how long it takes and how much room it needs."""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.config import Workspace
from umc_cli.conversion.shard_actor import Order
from umc_cli.conversion.shard_job import ShardJob
from umc_cli.conversion.streaming import stream
from umc_cli.conversion.waveforms.output_names import refuse_to_overwrite
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.runtime import compute_threads, explain_machine_faults
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards import schema
from umc_cli.shards.generations import Generation
from umc_cli.shards.part import WHOLE, Part
from umc_cli.shards.plan import Piece, Plan
from umc_cli.shards.run_folder import check_same_run, complete_shard
from umc_cli.shards.updates import UPDATES_FOLDER
from umc_cli.workflows.audio_dry_run import estimate_audio
from umc_cli.workflows.convert import choose_what_to_convert, order_of, plan_run
from umc_cli.workflows.convert_report import ConvertProgress, UpdateCounts
from umc_cli.workflows.convert_update import counts_of, output_root, plan_of_update, warnings_of
from umc_cli.workflows.report_base import Report

_TARGETS_TIMED = 4
_BATCHES_TIMED = 4
_RECORDINGS_TIMED = 32
"""At most, each; recordings are spread over what is to be made."""


@dataclass
class ConvertDryRun(Report):
    """What a run would do."""

    source: str
    targets: list[str]
    converter: str
    reason: str
    output: str
    part: str | None = None
    n_files: int = 0
    n_segments: int = 0
    """Of each target."""
    sound_s: float = 0.0
    """Seconds of sound in the recordings."""
    n_shards_to_make: int = 0
    n_shards_kept: int = 0
    """Complete shards of an earlier run."""
    n_audio_to_make: int = 0
    n_audio_kept: int = 0
    """Audio files of `--write flac,wav`, of all targets."""
    n_shards_removed: int = 0
    """By --overwrite."""
    estimated_seconds: float | None = None
    """None where nothing could be timed."""
    estimated_bytes: int | None = None
    segments_per_s: float | None = None
    """Conversions (a segment to a target) in a second, as measured."""
    n_timed: int = 0
    """Conversions that were timed."""
    free_bytes: int = 0
    """Where the output is."""
    made_with: dict[str, str] = field(default_factory=dict)
    weights: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    recorded_floors: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)
    update: UpdateCounts | None = None
    """Where a run would be updated."""
    dry_run: bool = True


@explain_machine_faults("lower --batch-size")
def convert_dry_run(
    workspace: Workspace, settings: ConvertSettings, files: Sequence[str] | None, progress: ConvertProgress
) -> ConvertDryRun:
    """Return what `convert` would do. Writes nothing but a short sample of shards to a temporary folder.

    Raises:
        SettingsError: what `convert` would refuse.
        EnvironmentFault: the output could not be written, or a temporary file cannot.
    """
    if settings.cluster:
        raise SettingsError(
            "a dry run asks no cluster", "leave --cluster out; the estimate is then of this machine alone"
        )
    begun = time.monotonic()
    wanted = choose_what_to_convert(workspace, settings, files)
    workspace, conversion = wanted.workspace, wanted.conversion
    root = output_root(settings, workspace)
    place = _nearest_folder(root)
    if settings.audio:
        refuse_to_overwrite(root, workspace.data)
    report = ConvertDryRun(**wanted.in_a_report(settings, root), free_bytes=shutil.disk_usage(place).free)
    conversion = wanted.made_ready(settings, report.warnings, progress.learning, keep=False)
    order = order_of(settings, workspace, root, conversion)
    report.made_with = conversion.made_with
    progress.planning(len(wanted.clips))
    temporary = Path(tempfile.gettempdir())
    plan, warnings = plan_run(settings, order, wanted, report.made_with, temporary)
    report.warnings += warnings
    target_ids = {target: conversion.target_id(target) for target in conversion.outputs}
    update = plan_of_update(settings, order, plan, target_ids, temporary, files is not None)
    generations = update.generations if update else [Generation(root, plan)]
    if update:
        report.update, report.warnings = counts_of(update), [*report.warnings, *warnings_of(update)]
    elif settings.overwrite:
        folders = (root, *root.glob(f"{UPDATES_FOLDER}/*"))
        report.n_shards_removed = sum(1 for folder in folders for _ in folder.glob(f"*/{schema.SHARD_GLOB}"))
    else:
        check_same_run(root, plan, target_ids)
    part = settings.part or WHOLE
    kept_ids = {} if settings.overwrite else target_ids
    shards_of = generations if "shards" in settings.write else []
    work = [(each.plan, _missing(each, part, kept_ids, conversion.outputs)) for each in shards_of]
    report.failed = list(plan.failed)
    report.n_files = plan.summary.n_files
    report.sound_s = round(sum(file.header.n_samples for file in plan.files) / SAMPLE_RATE_HZ, 1)
    report.n_segments = plan.n_segments if update else Generation(root, plan).n_segments(part)
    report.n_shards_to_make = sum(len(targets) for _, missing in work for targets in missing.values())
    n_shards = sum(len(part.shards(each.plan.n_shards)) for each in shards_of) * len(target_ids)
    report.n_shards_kept = n_shards - report.n_shards_to_make
    _estimate(report, order, work)
    if settings.in_processes:
        report.warnings.append("the estimate is of one process")
    if settings.audio:
        audio = estimate_audio(order, generations, target_ids, settings, settings.audio, workspace.data)
        report.n_audio_to_make, report.n_audio_kept = audio.n_to_make, audio.n_kept
        report.estimated_seconds = round((report.estimated_seconds or 0.0) + audio.seconds, 3)
        report.estimated_bytes = (report.estimated_bytes or 0) + audio.n_bytes
    if report.estimated_bytes and report.estimated_bytes > report.free_bytes:
        report.warnings.append(f"{place} has less room than the run needs")
    report.seconds = time.monotonic() - begun
    return report


def _missing(
    generation: Generation, part: Part, kept: Mapping[str, str], targets: Sequence[str]
) -> dict[int, list[str]]:
    """Return, by shard, the targets that lack it. `kept`: ids of the targets whose complete shards count."""
    missing: dict[int, list[str]] = {}
    root, plan = generation.folder, generation.plan
    for index in part.shards(plan.n_shards):
        for target in targets:
            identity = {"run_id": plan.run_id, "target_id": kept.get(target), "shard_index": index}
            if target not in kept or complete_shard(root / target / schema.shard_name(index), identity) is None:
                missing.setdefault(index, []).append(target)
    return missing


def _estimate(report: ConvertDryRun, order: Order, work: Sequence[tuple[Plan, Mapping[int, Sequence[str]]]]) -> None:
    """Convert a sample of what is missing in a temporary folder, and conclude from it to all.

    `work`: plans, and for each the targets that lack a shard, by shard.
    """
    lacking = [
        (plan.summary.shard_sizes[index], targets) for plan, missing in work for index, targets in missing.items()
    ]
    n_conversions = sum(size * len(targets) for size, targets in lacking)
    if not n_conversions:
        report.estimated_seconds, report.estimated_bytes = 0.0, 0
        return
    pieces = [
        piece
        for plan, missing in work
        for index, shard in enumerate(plan.shards())
        if index in missing
        for piece in shard
    ]
    most = _BATCHES_TIMED * order.stream.batch_size
    sample = _spread(pieces, most)
    targets = list(dict.fromkeys(target for _, each in lacking for target in each))[:_TARGETS_TIMED]
    with tempfile.TemporaryDirectory(prefix="umc-dry-run-") as folder, compute_threads(1):
        _make(order, sample[:1], targets, Path(folder) / "first")  # loads and compiles what is used
        one_s = _make(order, sample, targets[:1], Path(folder) / "one")
        all_s = _make(order, sample, targets, Path(folder) / "all") if len(targets) > 1 else one_s
        made = sorted((Path(folder) / "all" if len(targets) > 1 else Path(folder) / "one").glob(schema.SHARD_GLOB))
        n_made = sum(schema.read_shard_header(path).n_segments for path in made)
        n_bytes = sum(path.stat().st_size for path in made)
    if not n_made:
        report.warnings.append("none of the recordings that were to be timed can be read: no estimate")
        return
    # A segment is read once and converted once per target.
    n_read = n_made / len(targets)
    convert_s = max((all_s - one_s) / (len(targets) - 1), 0) / n_read if len(targets) > 1 else one_s / n_read
    read_s = max(one_s / n_read - convert_s, 0)
    n_segments = sum(size for size, _ in lacking)
    report.n_timed = n_made
    report.segments_per_s = round(n_made / all_s, 1)
    report.estimated_seconds = round(n_segments * read_s + n_conversions * convert_s, 3)
    report.estimated_bytes = round(n_conversions * n_bytes / n_made)


def _spread(pieces: Sequence[Piece], most: int) -> list[Piece]:
    """Return parts of pieces, spread over all, with at most so many segments."""
    stride = max(1, len(pieces) // _RECORDINGS_TIMED)
    each = max(1, most // min(len(pieces), _RECORDINGS_TIMED))
    chosen: list[Piece] = []
    room = most
    for piece in islice(pieces, 0, None, stride):
        count = min(piece.n_segments, each, room)
        if count:
            chosen.append(replace(piece, n_segments=count))
            room -= count
    return chosen


def _make(order: Order, pieces: Sequence[Piece], targets: Sequence[str], folder: Path) -> float:
    """Convert pieces to targets, and return how many seconds that took."""
    folder.mkdir()
    paths = {target: folder / schema.shard_name(number) for number, target in enumerate(targets)}
    attributes = {
        target: {
            "run_id": "", "target_id": "", "shard_index": 0, "source": "", "target": target, "description": "{}",
        }
        for target in targets
    }  # fmt: skip
    job = ShardJob(pieces, paths, attributes, (), order.conversion.converter)
    converter, device = order.conversion.built, order.conversion.torch_device
    started = time.monotonic()
    stream([job], order.inputs, order.segments, order.stream, converter, device, _Silent())
    return time.monotonic() - started


class _Silent:
    def advance(self, target: str, n_segments: int) -> None:
        """Say nothing."""


def _nearest_folder(path: Path) -> Path:
    """Return the folder that exists and that a path is to be made in.

    Raises:
        EnvironmentFault: a file is in its way.
    """
    place = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not place.is_dir():
        raise EnvironmentFault(f"{path} cannot be a folder: {place} is a file", "choose another --output")
    return place
