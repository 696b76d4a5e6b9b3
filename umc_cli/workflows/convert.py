"""`umc convert`: the recordings of one device become shards of what other devices would have recorded."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from umc_cli.audio.listed_files import list_files
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.manifest import Clip, Recordings, find_recordings, recordings_if_any
from umc_cli.config import Workspace, dump_settings
from umc_cli.conversion.chosen.choice import AUTO, choose_conversion, left_out_lines, make_ready
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.recorded_floors import floor_entries, keep_floors
from umc_cli.conversion.cluster import HERE, open_cluster
from umc_cli.conversion.engines import slower_engine_reason
from umc_cli.conversion.kept_knowledge import NOT_KEPT, KeptKnowledge
from umc_cli.conversion.processes import ALL_GPUS, devices_of, open_processes
from umc_cli.conversion.shard_actor import Order
from umc_cli.conversion.shard_job import Progress, ShardJob, StreamSettings
from umc_cli.conversion.shard_jobs import open_jobs
from umc_cli.conversion.source_recordings import channel_warnings, header_warnings, odd_devices, select_clips
from umc_cli.conversion.transport_files import Learning
from umc_cli.conversion.waveforms.jobs import AudioJob, make_audio
from umc_cli.conversion.waveforms.output_names import refuse_to_overwrite
from umc_cli.errors import SettingsError
from umc_cli.response.device import DeviceRegistry
from umc_cli.runtime import compute_threads, cpu_count, explain_machine_faults, gpu_count, versions
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards.audio_index import write_manifest
from umc_cli.shards.builds import note_build
from umc_cli.shards.generations import Generation
from umc_cli.shards.part import WHOLE, Part
from umc_cli.shards.plan import PLAN_NAME, Plan, plan_files, planned_path
from umc_cli.shards.run_folder import devices_of_run, locked
from umc_cli.workflows.convert_audio import Makers, make_all_audio, refuse_audio_contradictions
from umc_cli.workflows.convert_report import (
    ConvertProgress,
    ConvertReport,
    Kinds,
    all_failed,
    complete,
    counted,
    write_failed,
)
from umc_cli.workflows.convert_update import (
    as_begun,
    as_then,
    counts_of,
    note_completed,
    output_root,
    run_to_update,
    settle_generations,
)


@explain_machine_faults("lower --batch-size")
def convert(
    workspace: Workspace, settings: ConvertSettings, files: Sequence[str] | None, progress: ConvertProgress
) -> ConvertReport:
    """Convert all recordings of `settings.source`, or the listed `files`, to all targets.

    An interrupted run with the same settings resumes where it stopped. Parts of a run may be made by several processes
    at the same time; a run that is not a part makes what they left.

    Raises:
        SettingsError: wrong settings, something missing, or an output folder of another run.
        EnvironmentFault: the output cannot be written, or another run or this part is writing it.
    """
    started = time.monotonic()
    wanted = choose_what_to_convert(workspace, settings, files)
    workspace, conversion = wanted.workspace, wanted.conversion
    root = output_root(settings, workspace)
    if settings.audio:
        refuse_to_overwrite(root, workspace.data)
    report = ConvertReport(**wanted.in_a_report(settings, root))
    with locked(root, settings.part) as lock:
        is_new = settings.overwrite or not (root / PLAN_NAME).exists()
        has_new_target = is_new or not all((root / target).is_dir() for target in conversion.outputs)
        with lock.alone() if conversion.learns_from_recordings else nullcontext():
            conversion = wanted.made_ready(
                settings, report.warnings, progress.learning, look_at_recordings=has_new_target
            )
        order = order_of(settings, workspace, root, conversion)
        if is_new and not settings.cluster:
            _ = conversion.built  # what is wrong with it is said before a plan is made
        if settings.cluster:
            making = _make_on_cluster(order, settings, report.warnings)
        else:
            making = _make_in_processes(order, settings) if settings.in_processes else _make_here(order)
        with making as (report.made_with, makers):
            if slower := slower_engine_reason(settings.engine, report.made_with):
                report.warnings.append(slower)
            progress.planning(len(wanted.clips))
            plan, warnings = plan_run(settings, order, wanted, report.made_with, root)
            report.warnings += warnings
            floors, kept = wanted.floors_to_keep(settings), wanted.kept
            del wanted  # from here on, memory does not depend on the number of recordings
            part = settings.part or WHOLE
            target_ids = {target: conversion.target_id(target) for target in conversion.outputs}
            with lock.alone():
                generations, update, warnings = settle_generations(
                    settings, order, plan, target_ids, are_listed=files is not None
                )
                report.warnings += warnings
                report.update = counts_of(update) if update else None
                keep_floors(kept, floors)
                note_build(root, versions())
            kinds = Kinds("shards" in settings.write, bool(settings.audio))
            if kinds.shards:
                progress.start(conversion.outputs, sum(each.n_segments(part) for each in generations))
                makers.shards(_jobs(order, generations, part, target_ids, report, progress), progress)
            if kinds.audio:
                make_all_audio(
                    order, generations, target_ids, settings, workspace.data, lock, makers.audio, report, progress
                )
        complete(report, generations, plan, settings.part, kinds)
        with lock.alone():
            if lock.leave():
                failed = report.failed if settings.part is None else all_failed(generations, plan, target_ids, kinds)
                write_failed(root, failed)
                if update:
                    note_completed(update, target_ids, kinds)
                if kinds.audio:
                    write_manifest(root)
    report.seconds = time.monotonic() - started
    return report


def _jobs(
    order: Order,
    generations: Sequence[Generation],
    part: Part,
    target_ids: Mapping[str, str],
    report: ConvertReport,
    progress: ConvertProgress,
) -> Iterator[ShardJob]:
    """Yield what is still to be made of a run and its updates."""
    for generation in generations:
        own = replace(order, root=generation.folder)
        jobs = open_jobs(own, generation.plan, part, target_ids, generation.superseded)
        yield from counted(jobs, generation.superseded, report, progress)


@dataclass
class WhatToConvert:
    """The recordings of a run, and how they are converted."""

    workspace: Workspace
    """With the rules of splits that hold."""
    everything: Recordings
    """All of the workspace."""
    chosen: Recordings
    """Those in question: all, or the listed ones."""
    clips: Sequence[Clip]
    """Those to convert."""
    conversion: Conversion
    """Without its level tables."""
    kept: KeptKnowledge = NOT_KEPT
    """What was learned from recordings before, in the output folder."""

    def made_ready(
        self,
        settings: ConvertSettings,
        warnings: list[str],
        learning: Learning,
        *,
        keep: bool = True,
        look_at_recordings: bool = True,
    ) -> Conversion:
        """Return the conversion with what it learns from recordings. `keep`: write that to the output.

        `learning`, `look_at_recordings`: see `make_ready`.
        """
        kept = replace(self.kept, is_written=keep)
        if kept.folder and self.conversion.learns_from_recordings and not settings.overwrite:
            kept = replace(kept, of_run=devices_of_run(kept.folder))
        return make_ready(
            self.conversion,
            self.everything,
            kept,
            segments=settings.segments,
            look_at_recordings=look_at_recordings,
            learning=learning,
            warnings=warnings,
        )

    def floors_to_keep(self, settings: ConvertSettings) -> dict[str, dict[str, Any]]:
        """Return the noise floors that were taken from recordings, as they are kept in the output."""
        devices, origins = self.conversion.ingredients.devices, self.conversion.recorded_floors
        return floor_entries(devices, origins, self.everything.clips, settings.source, settings.segments)

    def in_a_report(self, settings: ConvertSettings, root: Path) -> dict[str, Any]:
        """Return what a report says of them, and what a user should know, by its fields. `root`: the output."""
        warnings = [*self.everything.warnings, *odd_devices(self.everything.clips)]  # `made_ready` adds others
        return {
            "source": settings.source,
            "targets": list(self.conversion.outputs),
            "converter": self.conversion.converter,
            "reason": self.conversion.reason,
            "output": str(root),
            "part": str(settings.part) if settings.part else None,
            "weights": self.conversion.weights(),
            "left_out": dict(self.conversion.left_out),
            "recorded_floors": dict(self.conversion.recorded_floors),
            "passed_over": dict(self.chosen.passed_over),
            "warnings": warnings,
        }


def choose_what_to_convert(
    workspace: Workspace, settings: ConvertSettings, files: Sequence[str] | None
) -> WhatToConvert:
    """Return the recordings of a run and the conversion that `settings` mean.

    Raises:
        SettingsError: options contradict each other, there are no such recordings, or something is missing.
    """
    _refuse_contradictions(settings)
    workspace = settings.applied_to(workspace)
    root = output_root(settings, workspace)
    updated = run_to_update(settings, root)
    registry = DeviceRegistry(workspace.devices)
    find = find_recordings if files is None else recordings_if_any
    everything = find(workspace.data, workspace.splits)
    chosen = (
        everything
        if files is None
        else list_files(files, settings.source, workspace.data, everything, workspace.splits)
    )
    clips = select_clips(
        chosen,
        settings.source,
        settings.label,
        settings.split,
        workspace.data,
        are_listed=files is not None,
        known_devices=registry.ids(),
    )
    # Actors of a cluster have their own devices.
    here = settings.model_copy(update={"compute_device": "cpu"}) if settings.cluster else settings
    if here.compute_device == ALL_GPUS:
        here = here.model_copy(update={"compute_device": "cuda"})
    kept = KeptKnowledge(root, of_run=updated.devices if updated else (), is_updated=updated is not None)
    conversion = choose_conversion(workspace, as_then(here, updated), everything, settings.segments, kept)
    if updated and settings.converter == AUTO:
        conversion = replace(conversion, reason="as the run that is updated")
    if settings.converter == AUTO and not settings.overwrite:
        conversion = as_begun(conversion, root)
    if settings.strict and conversion.left_out:
        raise SettingsError("; ".join(left_out_lines(conversion.left_out)), "add what they lack, or leave --strict out")
    conversion = replace(conversion, keeps_source=settings.with_source)
    return WhatToConvert(workspace, everything, chosen, clips, conversion, kept)


def _refuse_contradictions(settings: ConvertSettings) -> None:
    if settings.part and settings.overwrite:
        raise SettingsError(
            "with --overwrite each part would remove the shards of the others",
            "choose another --output, or remove the old results before the parts begin",
        )
    if settings.part and settings.cluster:
        raise SettingsError("--part and --cluster both divide the run", "give one of them")
    if settings.cluster and settings.processes:
        raise SettingsError("--cluster has processes of its own", "leave out --processes, or --cluster")
    refuse_audio_contradictions(settings)


def order_of(settings: ConvertSettings, workspace: Workspace, root: Path, conversion: Conversion) -> Order:
    """Return what those who make shards of a run need to know."""
    sizes = StreamSettings(
        settings.batch_size_on(str(conversion.ingredients.torch_device)),
        settings.workers or cpu_count(),
        settings.dtype,
        settings.reader_timeout_s,
        settings.compression,
    )
    return Order(root, workspace.root, settings.segments, sizes, conversion)


def plan_run(
    settings: ConvertSettings, order: Order, wanted: WhatToConvert, made_with: Mapping[str, str], folder: Path
) -> tuple[Plan, list[str]]:
    """Return the plan of a run (every recording, and the shards that its segments go to), and warnings.

    `folder`: where to store the recordings meanwhile.

    Raises:
        SettingsError: no recording gives a segment.
    """
    workers, time_limit_s = order.stream.workers, settings.reader_timeout_s
    planned, unplannable = plan_files(wanted.clips, order.inputs, settings.segments, workers, time_limit_s, folder)
    unread = [replace(entry, path=planned_path(entry.path, order.inputs)) for entry in order.conversion.unread]
    plan = Plan(
        source=settings.source,
        settings=_identity(settings, order, made_with),
        shard_size=settings.shard_size,
        files=planned,
        failed=(*wanted.chosen.failed, *unread, *unplannable),
        chosen_by=dict(order.conversion.chosen_by),
    )
    warnings = header_warnings(planned)
    if settings.channel is None:
        warnings += channel_warnings(planned, order.inputs, workers, time_limit_s)
    if plan.summary.n_files and not plan.n_segments:
        raise SettingsError(
            f"none of the {plan.summary.n_files} recordings gives a segment",
            "convert short clips too: --short-clips pad",
        )
    return plan, warnings


@contextmanager
def _make_here(order: Order) -> Iterator[tuple[dict[str, str], Makers]]:
    """Yield what the converter says of itself, and the functions that do the jobs in this process."""
    # Readers, converter and writer share the processors; only a generator's engine takes all for one batch.

    def make_shards(jobs: Iterable[ShardJob], progress: Progress) -> None:
        remaining = iter(jobs)
        first = next(remaining, None)
        if first is None:  # torch, which takes a second to load, is not needed
            return
        from umc_cli.conversion.streaming import stream

        jobs = chain([first], remaining)
        converter, device = order.conversion.built, order.conversion.torch_device
        with compute_threads(1):
            stream(jobs, order.inputs, order.segments, order.stream, converter, device, progress)

    def make_audio_files(jobs: Iterable[AudioJob], progress: Progress) -> None:
        for job in jobs:
            with compute_threads(1):
                make_audio(
                    job, order.inputs, order.conversion, order.stream.workers, order.stream.reader_timeout_s, progress
                )

    yield order.conversion.made_with, Makers(make_shards, make_audio_files)


@contextmanager
def _make_in_processes(order: Order, settings: ConvertSettings) -> Iterator[tuple[dict[str, str], Makers]]:
    """Yield what the converter says of itself, and the functions that have several processes do the jobs."""
    if settings.compute_device == ALL_GPUS:
        devices = devices_of(ALL_GPUS, settings.processes, gpu_count())
    else:
        devices = devices_of(str(order.conversion.ingredients.torch_device), settings.processes, 0)
    with open_processes(order, devices, settings.workers) as crew:
        yield order.conversion.made_with, Makers(crew.make, crew.make)


@contextmanager
def _make_on_cluster(
    order: Order, settings: ConvertSettings, warnings: list[str]
) -> Iterator[tuple[dict[str, str], Makers]]:
    """Yield what the actors' converter says of itself, and the functions that have them do the jobs."""
    address = settings.cluster or HERE
    with open_cluster(address, order, settings.workers, settings.compute_device, warnings) as (made_with, make):
        yield made_with, Makers(make, make)


def _identity(settings: ConvertSettings, order: Order, made_with: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that decides the content of a row, whatever the target."""
    conversion = order.conversion
    return {
        "log_mel": dump_settings(LOG_MEL_SETTINGS),
        "segments": dump_settings(settings.segments),
        "label": list(settings.label),
        "split": list(settings.split),
        "converter": conversion.converter,
        "made_with": dict(made_with),
        "batch_size": order.stream.batch_size,
        "dtype": settings.dtype,
        **conversion.source_identity(),
        **conversion.floors_of(conversion.source),
    }
