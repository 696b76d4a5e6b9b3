"""`umc eval conversion`: how good the conversions to other devices are, measured on recordings of these devices."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import mean, stdev

from umc_cli.audio.manifest import Clip, find_recordings, for_converters
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.known import Weights, find_weights
from umc_cli.conversion.chosen.record_checks import floor_warnings
from umc_cli.conversion.chosen.recorded_floors import add_recorded_floors
from umc_cli.conversion.chosen.verdict import (
    DEFAULT_ORDER,
    JUDGED,
    PairEvidence,
    Verdict,
    judge,
    known_sha256,
    save_evidence,
)
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients, Need
from umc_cli.conversion.engines import check_engine_name
from umc_cli.conversion.heard_segments import HeardSegments
from umc_cli.conversion.level_quantiles import ReadSegments, measure_level_quantiles
from umc_cli.conversion.measuring.converters import MEASURED_CONVERTERS, convert_segments, gaps_of, level_gain
from umc_cli.conversion.measuring.judges import train_judges
from umc_cli.conversion.measuring.references import make_reference, read_split
from umc_cli.conversion.measuring.ways import way_back, with_transports
from umc_cli.conversion.side_by_side_results import adapted_weights, tables_side_by_side
from umc_cli.errors import InputError, SettingsError, did_you_mean
from umc_cli.evaluation.conversion_measures import (
    MEASURES,
    Judges,
    Measured,
    Reference,
    Segments,
    measure_conversion,
)
from umc_cli.evaluation.conversion_metrics import recording_distances
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.response.device import DeviceRegistry, check_device_id, is_device_id
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults, utc_now
from umc_cli.settings.eval_conversion import EvaluateConversionSettings
from umc_cli.splits import FOR_CONVERTERS
from umc_cli.workflows.report_base import Report

TRUE_RECORDINGS = "target_recordings"
"""The row of what the targets themselves recorded, measured like a conversion: what a perfect one would get."""


@dataclass(frozen=True)
class Spread:
    """A measure over several targets."""

    mean: float
    spread: float | None
    """Standard deviation over targets; None of a single one."""
    n_targets: int


@dataclass
class ConverterMeasures:
    """The measures of one converter."""

    converter: str
    overall: dict[str, Spread] = field(default_factory=dict)
    targets: dict[str, dict[str, Measured]] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredTarget:
    """What a target was measured with."""

    n_segments: int
    """Segments that were converted to it."""
    n_real_segments: int
    """Segments of its own recordings in the split."""
    is_parallel: bool
    """It recorded the same segments, so that the distance to what it recorded is known."""
    n_without_counterpart: int
    """Segments of the source left out, as the target did not record them."""
    level_from: str | None
    """What the level gain of `level_only` rests on."""


@dataclass
class EvaluateConversionReport(Report):
    """What was measured."""

    source: str
    split: str
    n_segments: int
    """Segments of the source in the split."""
    seeds: list[int]
    """Of the classifiers."""
    definitions: dict[str, str] = field(default_factory=lambda: dict(MEASURES))
    converters: list[ConverterMeasures] = field(default_factory=list)
    targets: dict[str, MeasuredTarget] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """By converter and target: what is missing."""
    recorded_floors: dict[str, str] = field(default_factory=dict)
    """By device whose record has no noise floor: from which of its recordings it was taken."""
    verdict: Verdict | None = None
    """Which converter is nearest to the targets that recorded the same sounds, of those that `auto` takes."""
    command: str | None = None
    """To convert with it."""
    saved: str | None = None
    """The file that the converter `auto` goes by."""


@explain_machine_faults("measure fewer converters at once (--converters)")
def evaluate_conversion(
    workspace: Workspace, settings: EvaluateConversionSettings, say: Callable[[str], None]
) -> EvaluateConversionReport:
    """Measure the conversions from `settings.source` to other devices that have recordings.

    `say` is told, in a few words, what is being done.

    Raises:
        SettingsError: wrong settings, or too few recordings.
    """
    started = time.monotonic()
    _check(settings)
    workspace = settings.applied_to(workspace)
    weights = find_weights(workspace, settings.checkpoint)
    if weights.takers and settings.converters and not {*weights.takers} & {*settings.converters}:
        raise SettingsError(
            f"--checkpoint has no effect: none of the converters takes {settings.checkpoint}",
            f"leave it out, or measure {' or '.join(weights.takers)}",
        )
    recordings = find_recordings(workspace.data, workspace.splits)
    clips = [clip for clip in recordings.clips if is_device_id(clip.device)]
    if settings.save_verdict and any(clip.role == settings.split for clip in for_converters(clips)):
        raise SettingsError(
            f"converters learn from split {settings.split}: no verdict can rest on it", "use another --split"
        )
    registry = DeviceRegistry(workspace.devices)
    reader = SegmentReader(settings.segments, settings.most_segments)
    warnings = list(recordings.warnings)
    read = HeardSegments()
    with compute_threads(cpu_count()):
        say(f"reading recordings of split {settings.split}")
        given, real = read_split(clips, settings.source, settings.targets, settings.split, reader, registry, warnings)
        ingredients = _ingredients(workspace, settings, clips, read, registry, tuple(real), weights, warnings)
        records = ingredients.devices  # what counts as sound rests on what was measured alone
        floors = add_recorded_floors(records, clips, settings.source)
        ingredients = replace(ingredients, devices=floors.devices)
        references = {
            target: make_reference(settings.source, target, given, segments, records, warnings)
            for target, segments in real.items()
        }
        report = EvaluateConversionReport(settings.source, settings.split, len(given), [])
        report.recorded_floors = dict(floors.origins)
        report.targets = {
            target: _measured_target(reference, given, ingredients) for target, reference in references.items()
        }
        planned = _plan(settings, ingredients, report.left_out)
        default = _default(references, ingredients, planned)
        if settings.save_verdict and default is None:
            raise SettingsError(
                "there is nothing to give a verdict on: no target recorded the same sounds as "
                f"{settings.source} in split {settings.split}, or what `auto` takes for them is not measured",
                "add recordings of the same sounds to data/ (the same `recording`), or leave --converters out",
            )
        if any(name in CONVERTERS and Need.NOISE_FLOOR in CONVERTERS[name].needs for name in planned):
            warnings += floor_warnings(ingredients.devices.values(), ingredients.level_quantiles)
        judges = Judges()
        if settings.probe:
            others = [clip for clip in clips if clip.role != settings.split]
            judges = train_judges(others, settings.source, tuple(real), settings.seeds, reader, warnings, say)
            report.seeds = list(range(settings.seeds))
        distances: dict[str, dict[str, list[float]]] = {target: {} for target in references}
        for name, targets in planned.items():
            told = warnings if name in settings.converters else []
            own = replace(ingredients, targets=tuple(targets))
            own = with_transports(name, own, clips, told, partial(_say_learning, say, name), read)
            backs = {target: way_back(name, own, target, clips, say, read) for target in targets}
            say(f"measuring {name}")
            report.converters.append(_measure(name, given, references, own, backs, judges, distances))
        report.converters.append(_measure_true_recordings(references, judges))
    if default is not None:
        as_recorded = replace(ingredients, devices=records)
        _give_verdict(workspace, settings, as_recorded, references, distances, default, report)
    report.failed = [*recordings.failed, *(reader.failed[path] for path in sorted(reader.failed))]
    report.warnings = warnings
    report.seconds = time.monotonic() - started
    return report


def _check(settings: EvaluateConversionSettings) -> None:
    check_device_id(settings.source)
    check_engine_name(settings.engine)
    for name in settings.converters:
        if name not in MEASURED_CONVERTERS:
            raise SettingsError(f"unknown converter {name!r}", did_you_mean(name, MEASURED_CONVERTERS, "converters"))
    if settings.save_verdict and settings.checkpoint is not None:
        raise SettingsError("--save-verdict is of the weights that `umc convert` takes", "leave --checkpoint out")


def _ingredients(
    workspace: Workspace,
    settings: EvaluateConversionSettings,
    clips: Sequence[Clip],
    read: ReadSegments,
    registry: DeviceRegistry,
    targets: tuple[str, ...],
    weights: Weights,
    warnings: list[str],
) -> Ingredients:
    """Return what the converters may know: the records, and levels of recordings, as `umc convert` takes them."""
    devices = (settings.source, *targets)
    beside = tables_side_by_side(workspace, devices) or {}
    tables = {device: table.levels_db for device, table in beside.items()}
    learned_from = for_converters(clips)
    for device in () if beside else devices:
        own = sorted((clip for clip in learned_from if clip.device == device), key=lambda clip: clip.file)
        try:
            # With default segments, as `umc convert` does.
            tables[device] = measure_level_quantiles(own, SegmentSettings(), read).levels_db
        except InputError as error:
            warnings.append(f"split {FOR_CONVERTERS} does not give the levels of {device}: {error.message}")
    return Ingredients(
        source=settings.source,
        targets=targets,
        devices={name: registry.get(name) for name in devices if name in registry},
        level_quantiles=tables,
        checkpoint=weights.generator,
        refiner=weights.refiner,
        adapted={} if settings.checkpoint else adapted_weights(workspace, settings.source, targets),
        engine=EngineSettings(engine=settings.engine, precision=settings.precision, threads=cpu_count()),
        torch_device=compute_device(settings.compute_device),
    )


def _say_learning(say: Callable[[str], None], converter: str, target: str, number: int, count: int) -> None:
    say(f"learning what {converter} moves for {target} ({number} of {count})")


def _measured_target(reference: Reference, given: Segments, ingredients: Ingredients) -> MeasuredTarget:
    level = level_gain(reference.source, reference.target, ingredients)
    return MeasuredTarget(
        n_segments=len(reference.given),
        n_real_segments=len(reference.real),
        is_parallel=reference.true is not None,
        n_without_counterpart=len(given) - len(reference.given),
        level_from=level.origin if level else None,
    )


def _plan(
    settings: EvaluateConversionSettings, ingredients: Ingredients, left_out: dict[str, dict[str, str]]
) -> dict[str, list[str]]:
    """Return the targets that each converter can serve; the others are added to `left_out`."""
    planned: dict[str, list[str]] = {}
    for name in dict.fromkeys(settings.converters or MEASURED_CONVERTERS):
        missing = gaps_of(name, ingredients)
        served = [target for target in ingredients.targets if target not in missing]
        if missing:
            left_out[name] = dict(missing)
        if served:
            planned[name] = served
        elif name in settings.converters:
            lacks = ", ".join(sorted(set(missing.values())))
            raise SettingsError(
                f"converter {name} lacks {lacks}", "leave it out of --converters, or add what is missing"
            )
    return planned


def _default(
    references: Mapping[str, Reference], ingredients: Ingredients, planned: Mapping[str, Sequence[str]]
) -> str | None:
    """Return what `auto` takes for the targets with recordings of the same sounds; None where it is not measured."""
    targets = tuple(target for target, reference in references.items() if reference.true is not None)
    compared = replace(ingredients, targets=targets)
    able = [name for name in DEFAULT_ORDER if targets and not gaps_of(name, compared)]
    return able[0] if able and able[0] in planned else None


def _give_verdict(
    workspace: Workspace,
    settings: EvaluateConversionSettings,
    ingredients: Ingredients,
    references: Mapping[str, Reference],
    distances: Mapping[str, Mapping[str, Sequence[float]]],
    default: str,
    report: EvaluateConversionReport,
) -> None:
    """Say which converter is nearest, and keep what that rests on where it is asked for."""
    date = utc_now()
    evidence = [
        PairEvidence(
            settings.source,
            target,
            known_sha256(ingredients, target),
            settings.split,
            date,
            list(dict.fromkeys(reference.given.recordings)),
            {name: list(distances[target][name]) for name in JUDGED if name in distances[target]},
        )
        for target, reference in references.items()
        if reference.true is not None
    ]
    report.verdict = judge(evidence, JUDGED, default)
    if report.verdict is None:
        return
    targets = ",".join(report.verdict.targets)
    report.command = f"umc convert --source {settings.source} --targets {targets}"
    if settings.save_verdict:
        report.saved = str(save_evidence(workspace, evidence))
    else:
        report.command += f" --converter {report.verdict.converter}"


def _measure(
    name: str,
    given: Segments,
    references: Mapping[str, Reference],
    ingredients: Ingredients,
    backs: Mapping[str, Ingredients],
    judges: Judges,
    distances: Mapping[str, dict[str, list[float]]],
) -> ConverterMeasures:
    """Measure one converter; `distances` gets, by target and converter, the distance of every recording.

    `backs`: by target, what the converter knows on the way back.
    """
    result = ConverterMeasures(name)
    row_of = {place: row for row, place in enumerate(zip(given.files, given.starts, strict=True))}
    for target, everything in convert_segments(name, given.log_mel, ingredients.targets, ingredients).items():
        reference = references[target]
        places = zip(reference.given.files, reference.given.starts, strict=True)
        converted = everything[[row_of[place] for place in places]]
        back = backs[target]
        there_and_back = convert_segments(name, converted, back.targets, back)[ingredients.source]
        result.targets[target] = measure_conversion(reference, converted, there_and_back, judges)
        if reference.true is not None:
            by_recording = recording_distances(converted, reference.true, reference.given.recordings)
            distances[target][name] = [round(value, 4) for value in by_recording.values()]
    result.overall = _overall(result.targets)
    return result


def _measure_true_recordings(references: Mapping[str, Reference], judges: Judges) -> ConverterMeasures:
    result = ConverterMeasures(TRUE_RECORDINGS)
    for target, reference in references.items():
        true = reference.true
        if true is None:  # they hold other sounds than the source's, so that only judges can be asked
            reference, true = replace(reference, given=reference.real, response=None), reference.real.log_mel
        result.targets[target] = measure_conversion(reference, true, None, judges)
    result.overall = _overall(result.targets)
    return result


def _overall(targets: Mapping[str, Mapping[str, Measured]]) -> dict[str, Spread]:
    overall = {}
    for name in MEASURES:
        values = [measured[name].value for measured in targets.values() if name in measured]
        if values:
            overall[name] = Spread(mean(values), stdev(values) if len(values) > 1 else None, len(values))
    return overall
