"""Which converter serves which targets, with what is known of the devices."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from umc_cli.audio.manifest import FailedInput, Recordings, recordings_if_any
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.known import HeardTooLittle, find_weights, gaps, recorded_devices, too_few_segments
from umc_cli.conversion.chosen.record_checks import check_ingredients
from umc_cli.conversion.chosen.recorded_floors import RecordedFloors, add_recorded_floors
from umc_cli.conversion.chosen.remedies import (
    caution_about_engine,
    caution_about_eq,
    caution_about_few,
    caution_about_generator,
    is_left_out_as_few,
    what_is_missing,
)
from umc_cli.conversion.chosen.targets import read_targets_or_invent
from umc_cli.conversion.chosen.transport_start import transport_start
from umc_cli.conversion.chosen.verdict import DEFAULT_ORDER, JUDGED, Verdict, saved_verdict
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients, Need
from umc_cli.conversion.engines import check_engine_name
from umc_cli.conversion.heard_segments import HeardSegments
from umc_cli.conversion.kept_knowledge import NOT_KEPT, KeptKnowledge
from umc_cli.conversion.level_quantiles import read_segment_levels
from umc_cli.conversion.level_tables import load_level_tables
from umc_cli.conversion.side_by_side_results import adapted_weights, tables_side_by_side
from umc_cli.conversion.transport_files import Learning, load_transports, not_told
from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.response.device import Device, DeviceRegistry, check_device_id
from umc_cli.runtime import compute_device_name, cpu_count

AUTO = "auto"


def open_conversion(
    workspace: Workspace,
    settings: ConversionSettings,
    recordings: Recordings | None = None,
    *,
    segments: SegmentSettings | None = None,
    tables_folder: Path | None = None,
    warnings: list[str] | None = None,
) -> Conversion:
    """Return the conversion that `settings` mean, ready to be used.

    `recordings`: all of the workspace; None: they are looked up. `segments`: how the level tables cut recordings.
    `tables_folder`: where level tables are kept for the next time; None: they are measured, and not kept. `warnings`:
    what a user should know is added.

    Raises:
        SettingsError: something is unknown or missing; the message says what.
    """
    if recordings is None:
        recordings = recordings_if_any(workspace.data, workspace.splits)
        if warnings is not None:
            warnings += [*recordings.warnings, *_unusable(recordings.failed)]
    conversion = choose_conversion(workspace, settings, recordings, segments)
    return make_ready(conversion, recordings, KeptKnowledge(tables_folder), segments=segments, warnings=warnings)


def _unusable(failed: Sequence[FailedInput]) -> list[str]:
    """Return a warning of what the data folder holds that cannot be used, if there is any."""
    if not failed:
        return []
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return [f"the data folder holds what cannot be used: {failed[0].path}: {failed[0].reason}{more}"]


def make_ready(
    conversion: Conversion,
    recordings: Recordings,
    kept: KeptKnowledge = NOT_KEPT,
    *,
    segments: SegmentSettings | None = None,
    look_at_recordings: bool = True,
    learning: Learning = not_told,
    warnings: list[str] | None = None,
) -> Conversion:
    """Return a conversion that was chosen with the level tables that it needs; see `open_conversion`.

    `kept`: what is learned from recordings. `look_at_recordings`: some are held against the noise floors of records,
    which takes a second. `learning`: told of every map that is learned.

    Raises:
        SettingsError: a device has too few readable recordings.
    """
    segments = segments or SegmentSettings()
    told = [] if warnings is None else warnings
    source, targets, clips = conversion.source, conversion.targets, recordings.clips
    read = HeardSegments() if conversion.learns_maps else read_segment_levels
    if conversion.needs_level_tables:
        tables = load_level_tables(kept, (source, *targets), clips, segments, told, read)
        conversion = conversion.with_level_tables(tables)
    if conversion.learns_maps:
        start = transport_start(conversion.converter, conversion.ingredients)
        conversion = conversion.with_transports(load_transports(kept, start, clips, segments, told, learning, read))
    if warnings is not None:
        warnings += conversion.cautions
        looked_at = clips if look_at_recordings else ()
        warnings += check_ingredients(conversion.converter, conversion.ingredients, looked_at, segments)
    return conversion


def choose_conversion(
    workspace: Workspace,
    settings: ConversionSettings,
    recordings: Recordings,
    segments: SegmentSettings | None = None,
    kept: KeptKnowledge = NOT_KEPT,
) -> Conversion:
    """Return the conversion that `settings` mean, without the level tables that it may need.

    `recordings`: all of the workspace. `segments`: how those of the source are cut. A record without a noise floor gets
    the one that the device's recordings tell, or that an earlier run kept, where a converter needs it.

    Raises:
        SettingsError: something is unknown or missing; the message says what.
    """
    check_device_id(settings.source)
    if settings.converter != AUTO and settings.converter not in CONVERTERS:
        known_names = (AUTO, *CONVERTERS)
        raise SettingsError(
            f"unknown converter {settings.converter!r}", did_you_mean(settings.converter, known_names, "converters")
        )
    check_engine_name(settings.engine)
    registry = DeviceRegistry(workspace.devices)
    recorded = recorded_devices(recordings)
    targets = read_targets_or_invent(settings.targets, settings.source, recorded, registry, workspace)
    weights = find_weights(workspace, settings.checkpoint)
    named = sorted({settings.source, *targets.ids})
    tables = tables_side_by_side(workspace, named) or {}
    names = _converters_to_choose_from(settings, weights.takers)
    few: dict[str, HeardTooLittle] = {}
    if targets.is_all and any(Need.RECORDINGS in CONVERTERS[name].needs for name in names):
        asked = {name for name in targets.ids if not kept.counts(name)}
        few = too_few_segments(asked, recordings.clips, (segments or SegmentSettings()).segments)
        recorded -= few.keys()
    records = {name: registry.get(name) for name in named if name in registry} | targets.invented
    need_floors = [name for name in names if Need.NOISE_FLOOR in CONVERTERS[name].needs]
    floors = (
        add_recorded_floors(records, recordings.clips, settings.source, segments, kept)
        if need_floors
        else RecordedFloors(records)
    )
    wanted = Ingredients(
        source=settings.source,
        targets=targets.ids,
        devices=floors.devices,
        checkpoint=weights.generator,
        refiner=weights.refiner,
        engine=EngineSettings(engine=settings.engine, precision=settings.precision, threads=cpu_count()),
        torch_device=compute_device_name(settings.compute_device),
    )
    try:
        conversion = choose(names, wanted, recorded | tables.keys(), targets.is_all)
    except SettingsError:
        if need_floors:
            raise
        # What would work may need floors that recordings tell.
        told = add_recorded_floors(records, recordings.clips, settings.source, segments, kept).devices
        conversion = choose(names, replace(wanted, devices=told), recorded | tables.keys(), targets.is_all)
    if settings.converter == AUTO and settings.checkpoint is None:
        conversion = _as_measured(workspace, conversion, JUDGED, recorded | tables.keys(), records)
    if conversion.converter in need_floors:
        conversion = replace(conversion, recorded_floors=floors.origins)
    else:
        is_by_order = settings.converter == AUTO and not conversion.chosen_by
        caution = caution_about_eq(conversion, floors.unknown) if is_by_order else None
        ingredients = replace(conversion.ingredients, devices=records)
        cautions = (*conversion.cautions, *((caution,) if caution else ()))
        conversion = replace(conversion, ingredients=ingredients, cautions=cautions)
    lost = [name for name in few if is_left_out_as_few(name, conversion)]
    more = [
        caution_about_generator(conversion),
        caution_about_engine(conversion, settings),
        *(caution_about_few(name, few[name]) for name in lost),
    ]
    unread = tuple(failed for name in lost for failed in few[name].unread)
    conversion = replace(conversion, cautions=(*conversion.cautions, *filter(None, more)), unread=unread)
    if tables and conversion.needs_level_tables:
        conversion = conversion.with_level_tables(tables)
    if settings.checkpoint is None and Need.REFINER in CONVERTERS[conversion.converter].needs:
        conversion = conversion.with_adapted(adapted_weights(workspace, settings.source, conversion.targets))
    return conversion


def _converters_to_choose_from(settings: ConversionSettings, takers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the converters that may be taken, best first. `takers`: those that take the checkpoint asked for."""
    if settings.converter == AUTO:
        return takers or DEFAULT_ORDER
    if takers and settings.converter not in takers:
        raise SettingsError(
            f"converter {settings.converter} does not take the checkpoint {settings.checkpoint}",
            f"leave out --checkpoint, or use --converter {takers[0]}",
        )
    return (settings.converter,)


def choose(names: tuple[str, ...], wanted: Ingredients, recorded: Collection[str], is_all: bool) -> Conversion:
    """Choose the converter, and the targets among those of `wanted`.

    `names`: keys of CONVERTERS, best first; the one that serves most targets is taken, the better one of equals.
    `recorded`: devices whose levels are known, or can be measured. `is_all`: targets that cannot be served are left
    out.

    Raises:
        SettingsError: something is missing; the message says what, and the hint which converters would work.
    """
    targets = wanted.targets
    if not targets:
        raise SettingsError(
            f"there is no device besides {wanted.source} to convert to", "add devices, see `umc devices`"
        )
    missing = {name: gaps(name, wanted, recorded) for name in CONVERTERS}
    served = {name: [target for target in targets if target not in missing[name]] for name in CONVERTERS}
    best = max(names, key=lambda name: (len(served[name]), -names.index(name)))
    if not served[best] or (not is_all and missing[best]):
        raise what_is_missing(names, wanted, recorded, missing)
    return Conversion(
        converter=best,
        ingredients=replace(wanted, targets=tuple(served[best])),
        reason=_reason(best, names, len(targets), served),
        left_out=missing[best],
    )


def _as_measured(
    workspace: Workspace,
    conversion: Conversion,
    names: Sequence[str],
    recorded: Collection[str],
    records: Mapping[str, Device],
) -> Conversion:
    """Return the conversion with the converter that the workspace's own recordings chose, if they did."""
    able = [name for name in names if not gaps(name, conversion.ingredients, recorded)]
    saved = saved_verdict(workspace, replace(conversion.ingredients, devices=records), able, conversion.converter)
    if saved.caution:
        conversion = replace(conversion, cautions=(saved.caution,))
    if saved.verdict is None:
        return conversion
    return replace(
        conversion, converter=saved.verdict.converter, reason=_reason_of(saved.verdict), chosen_by=saved.about
    )


def left_out_lines(left_out: Mapping[str, str], most: int = 3) -> list[str]:
    """Return a line for each thing that targets lack: how many, what, and the first `most` of them."""
    by_kind: dict[str, list[str]] = {}
    for target, gap in left_out.items():
        by_kind.setdefault(gap.replace(f" of {target}", ""), []).append(target)
    lines = []
    for kind, targets in sorted(by_kind.items(), key=lambda item: -len(item[1])):
        more = f" and {len(targets) - most} more" if len(targets) > most else ""
        what = "1 target is" if len(targets) == 1 else f"{len(targets)} targets are"
        lines.append(f"{what} left out for lack of {kind}: {', '.join(targets[:most])}{more}")
    return lines


def _reason(best: str, names: tuple[str, ...], n_wanted: int, served: Mapping[str, list[str]]) -> str:
    if len(names) == 1:
        return "asked for"
    better: dict[int, list[str]] = {}
    for name in names[: names.index(best)]:
        better.setdefault(len(served[name]), []).append(name)
    parts = [f"{', '.join(some)}: {count}" for count, some in better.items()]
    return "; ".join([f"the best for {len(served[best])} of {n_wanted} targets", *parts])


def _reason_of(verdict: Verdict) -> str:
    targets = "1 target" if len(verdict.targets) == 1 else f"{len(verdict.targets)} targets"
    start = f"by umc eval conversion: {verdict.distance_db:.2f} dB from what {targets} recorded"
    if verdict.converter == verdict.default:
        return f"{start}; none is nearer"
    return f"{start}, {verdict.default} {verdict.default_db:.2f}"
