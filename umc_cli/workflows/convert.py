"""`umc convert`: the recordings of one device become shards of what other devices would have recorded."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from umc_cli.audio.listed_files import list_files
from umc_cli.audio.log_mel import LOG_MEL_SETTINGS
from umc_cli.audio.manifest import CONVERSION_SPLIT, Recordings, find_recordings
from umc_cli.config import Workspace, dump_settings
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients, Need, how_made
from umc_cli.conversion.engines import check_engine_name, slower_engine_reason
from umc_cli.conversion.level_quantiles import LevelQuantiles
from umc_cli.conversion.streaming import Progress, ShardJob, StreamSettings, stream
from umc_cli.errors import SettingsError
from umc_cli.response.device import DeviceRegistry, check_device_id, is_device_id, unknown_device
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards.part import WHOLE
from umc_cli.shards.plan import Plan, hash_of, plan_files
from umc_cli.shards.recording_times import check_times
from umc_cli.shards.run_folder import locked, settle
from umc_cli.workflows.choose_converter import DEFAULT_ORDER, Choice, Known, choose, find_checkpoints
from umc_cli.workflows.convert_inputs import cancellation_warnings, odd_devices, select_clips
from umc_cli.workflows.convert_on_cluster import MakeShards, open_cluster
from umc_cli.workflows.convert_report import (
    ConvertProgress,
    ConvertReport,
    all_failed,
    complete,
    counted,
    left_out_lines,
    write_failed,
)
from umc_cli.workflows.invented_devices import invent_targets
from umc_cli.workflows.level_tables import load_level_tables
from umc_cli.workflows.record_checks import check_ingredients
from umc_cli.workflows.shard_actor import Order
from umc_cli.workflows.shard_jobs import levels_hash, open_jobs, target_id
from umc_cli.workflows.weights_in_words import weights_of


@explain_machine_faults("lower --batch-size")
def convert(
    workspace: Workspace, settings: ConvertSettings, files: Sequence[str] | None, progress: ConvertProgress
) -> ConvertReport:
    """Convert all recordings of `settings.source`, or the listed `files`, to all targets.

    An interrupted run with the same settings goes on where it stopped. Parts of a run may be made by several processes
    at the same time; a run that is not a part makes what they left.

    Raises:
        SettingsError: wrong settings, something missing, or an output folder of another run.
        EnvironmentFault: the output cannot be written, or another run or this part is writing it.
    """
    started = time.monotonic()
    if settings.part and settings.overwrite:
        raise SettingsError(
            "with --overwrite each part would remove the shards of the others",
            "choose another --output, or remove the old results before the parts begin",
        )
    if settings.part and settings.cluster:
        raise SettingsError("--part and --cluster both divide the run", "give one of them")
    registry = DeviceRegistry(workspace.devices)
    everything = find_recordings(workspace.data) if files is None or workspace.data.is_dir() else Recordings((), ())
    chosen = everything if files is None else list_files(files, settings.source, workspace.data, everything)
    clips = select_clips(
        chosen,
        settings.source,
        settings.label,
        settings.split,
        workspace.data,
        are_listed=files is not None,
        known_devices=registry.ids(),
    )
    choice, known = choose_conversion(workspace, settings, registry, everything)
    if settings.strict and choice.left_out:
        raise SettingsError("; ".join(left_out_lines(choice.left_out)), "add what they lack, or leave --strict out")
    root = settings.output or workspace.converted
    report = ConvertReport(
        settings.source,
        list(choice.targets),
        choice.converter,
        choice.reason,
        str(root),
        part=str(settings.part) if settings.part else None,
        weights=weights_of(choice.converter, known),
        left_out=dict(choice.left_out),
        passed_over=dict(chosen.passed_over),
        warnings=[*everything.warnings, *odd_devices(everything.clips)],
    )
    with locked(root, settings.part) as lock:
        tables = {}
        if Need.RECORDINGS in CONVERTERS[choice.converter].needs:
            with lock.alone():
                tables = load_level_tables(
                    root, (settings.source, *choice.targets), everything.clips, settings.segments, report.warnings
                )
        ingredients = gather_ingredients(settings, choice, known, tables)
        report.warnings += check_ingredients(choice.converter, ingredients)
        sizes = StreamSettings(
            settings.batch_size, settings.workers or cpu_count(), settings.dtype, settings.reader_timeout_s
        )
        order = Order(root, workspace.root, settings.segments, sizes, choice.converter, ingredients)
        making = (
            open_cluster(settings.cluster, order, settings.workers, settings.compute_device, report.warnings)
            if settings.cluster
            else _make_here(order)
        )
        with making as (report.made_with, make_shards):
            if slower := slower_engine_reason(settings.engine, report.made_with):
                report.warnings.append(slower)
            progress.planning(len(clips))
            planned, unplannable = plan_files(
                clips, workspace.root, settings.segments, sizes.workers, settings.reader_timeout_s, root
            )
            plan = Plan(
                source=settings.source,
                settings=_identity(settings, choice, report.made_with, ingredients),
                shard_size=settings.shard_size,
                files=planned,
                failed=(*chosen.failed, *unplannable),
            )
            if settings.channel is None:
                report.warnings += cancellation_warnings(
                    planned, workspace.root, sizes.workers, settings.reader_timeout_s
                )
            del everything, chosen, clips  # from here on, memory does not depend on the number of recordings
            if plan.summary.n_files and not plan.n_segments:
                raise SettingsError(
                    f"none of the {plan.summary.n_files} recordings gives a segment",
                    "convert short clips too: --short-clips pad",
                )
            part = settings.part or WHOLE
            target_ids = {target: target_id(target, ingredients) for target in choice.targets}
            with lock.alone():
                settle(root, plan, target_ids, settings.overwrite)
                report.warnings += check_times(root, plan, part)
            jobs = open_jobs(order, plan, part, target_ids)
            shards = part.shards(plan.n_shards)
            progress.start(choice.targets, sum(plan.summary.shard_sizes[index] for index in shards))
            make_shards(counted(jobs, report, progress), progress)
        complete(report, root, plan, shards, settings.part)
        with lock.alone():
            if lock.leave():
                failed = report.failed if settings.part is None else all_failed(root, plan, target_ids)
                write_failed(root, failed)
    report.seconds = time.monotonic() - started
    return report


@contextmanager
def _make_here(order: Order) -> Iterator[tuple[dict[str, str], MakeShards]]:
    """Yield what the converter says of itself, and the function that makes the shards of jobs in this process."""
    # Readers, converter and writer share the processors; only a generator's engine takes all for one batch.
    with compute_threads(1):
        converter = CONVERTERS[order.converter].build(order.ingredients)
        device = order.ingredients.torch_device

        def make_shards(jobs: Iterable[ShardJob], progress: Progress) -> None:
            stream(jobs, order.inputs, order.segments, order.stream, converter, device, progress)

        yield how_made(converter, device), make_shards


def choose_conversion(
    workspace: Workspace, settings: ConvertSettings, registry: DeviceRegistry, everything: Recordings
) -> tuple[Choice, Known]:
    """Return the converter and targets that `settings` mean, and what is known of the devices.

    `everything`: all recordings of the workspace.

    Raises:
        SettingsError: something is unknown or missing.
    """
    if settings.converter != "auto" and settings.converter not in CONVERTERS:
        raise SettingsError(f"unknown converter {settings.converter!r}", f"use auto, {', '.join(CONVERTERS)}")
    if not settings.targets:
        raise SettingsError("no target is named", "use --targets all, or device ids with commas between them")
    check_engine_name(settings.engine)
    recorded = devices_to_convert_to(everything)
    invented = invent_targets(settings.targets, settings.source, registry, workspace)
    invented_records = {device.id: device for devices in invented.values() for device in devices}
    known_ids = {*registry.ids(), *recorded, *invented_records}
    candidates = registry.others(settings.source, recorded)
    names, checkpoints = _names_and_checkpoints(workspace, settings)
    targets = None
    if settings.targets != ("all",):
        expanded = [
            [device.id for device in invented[name]] if name in invented else [name] for name in settings.targets
        ]
        targets = tuple(dict.fromkeys(chain.from_iterable(expanded)))
    for target in targets or ():
        if check_device_id(target) not in known_ids:
            raise unknown_device(target, known_ids)
        if target == settings.source:
            raise SettingsError(f"target {target!r} is the source itself", "leave it out of --targets")
    named = candidates if targets is None else targets
    known = Known(
        devices={name: registry.get(name) for name in sorted({settings.source, *named}) if name in registry}
        | invented_records,
        recorded=recorded,
        **checkpoints,
    )
    return choose(names, settings.source, targets, candidates, known), known


def devices_to_convert_to(everything: Recordings) -> frozenset[str]:
    """Return the devices whose recordings converters may learn from."""
    return frozenset(
        clip.device for clip in everything.clips if clip.split == CONVERSION_SPLIT and is_device_id(clip.device)
    )


def _names_and_checkpoints(workspace: Workspace, settings: ConvertSettings) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Return the converters to choose from, best first, and the checkpoints they would use."""
    checkpoints, takers = find_checkpoints(workspace.checkpoints, settings.checkpoint)
    if settings.converter == "auto":
        return takers or DEFAULT_ORDER, checkpoints
    if takers and settings.converter not in takers:
        raise SettingsError(
            f"converter {settings.converter} does not take the checkpoint {settings.checkpoint}",
            f"leave out --checkpoint, or use --converter {takers[0]}",
        )
    return (settings.converter,), checkpoints


def gather_ingredients(
    settings: ConvertSettings, choice: Choice, known: Known, tables: Mapping[str, LevelQuantiles]
) -> Ingredients:
    """Return what the chosen converter is built from. `tables`: of the levels of recordings, by device."""
    return Ingredients(
        source=settings.source,
        targets=choice.targets,
        devices=known.devices,
        level_quantiles={device: table.levels_db for device, table in tables.items()},
        checkpoint=known.checkpoint,
        refiner=known.refiner,
        engine=EngineSettings(engine=settings.engine, precision=settings.precision, threads=cpu_count()),
        torch_device=compute_device("cpu" if settings.cluster else settings.compute_device),  # actors have their own
    )


def _identity(
    settings: ConvertSettings, choice: Choice, made_with: Mapping[str, str], ingredients: Ingredients
) -> dict[str, Any]:
    """Return everything that decides the content of a row, whatever the target."""
    source_record = ingredients.devices.get(settings.source)
    return {
        "log_mel": dump_settings(LOG_MEL_SETTINGS),
        "segments": dump_settings(settings.segments),
        "label": list(settings.label),
        "split": list(settings.split),
        "converter": choice.converter,
        "made_with": dict(made_with),
        "batch_size": settings.batch_size,
        "dtype": settings.dtype,
        "source_record_sha256": hash_of(source_record.model_dump(mode="json")) if source_record else None,
        "source_levels_sha256": levels_hash(ingredients.level_quantiles.get(settings.source)),
    }
