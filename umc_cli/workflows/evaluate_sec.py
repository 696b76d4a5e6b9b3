"""`umc eval`: how well classifiers do on the recordings of every device."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from umc_cli.atomic_write import explain_os_errors, write_text
from umc_cli.audio.feature_settings import FeatureSegmentSettings
from umc_cli.audio.manifest import FailedInput, Recordings, find_recordings, recordings_if_any
from umc_cli.config import Workspace, dump_settings
from umc_cli.errors import SettingsError
from umc_cli.evaluation.device_table import (
    ScoredModel,
    SourceMatrix,
    TableRow,
    source_matrices,
    table_row,
)
from umc_cli.evaluation.macro_f1 import (
    DeviceScores,
    bootstrap_macro_f1,
    resample_recordings,
    score_device,
)
from umc_cli.evaluation.paired_comparison import Comparison, compare
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.evaluation.report.results_page import (
    Picture,
    ResultsPage,
    SpectrogramRows,
    is_png,
    render_results_page,
)
from umc_cli.evaluation.report.results_table import scores_csv, scores_markdown
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults, versions
from umc_cli.sec.models import SecModel, find_models
from umc_cli.sec.outside_predictions import OutsideModel, check_comparable, known_recordings, read_outside_models
from umc_cli.sec.predictions import (
    DevicePredictions,
    EvaluatedDevice,
    classify_devices,
    clips_by_device,
    warn_of_labels,
)
from umc_cli.sec.rows import grouped_by_seed, parse_pair, with_gaps
from umc_cli.settings.eval_sec import EvaluateSecSettings
from umc_cli.splits import TEST
from umc_cli.workflows.report_base import Report, report_as_json
from umc_cli.workflows.sec_spectrograms import draw_spectrograms

FILES = ("report.html", "scores.csv", "scores.md", "scores.json")

DEFINITIONS = {
    "macro_f1": "mean of the classes' F1 over the classes that occur on the device, in truth or prediction",
    "mean_without_source": "mean macro F1 over all devices but the model's source",
    "mean_with_source": "mean macro F1 over all devices, the model's source among them",
    "half_width": "t(.975, n-1) population std / sqrt(n) over devices, as in the paper's Table 2",
    "bootstrap": "95 % percentile interval; recordings are drawn, the same ones on all devices and for all models",
    "seed_spread": "standard deviation over seeds (n-1)",
    "gap_closed": "(mean_without_source - baseline) / (ideal - baseline)",
    "mcnemar": "exact, two-sided; takes segments for independent, which those of one recording are not",
}


@dataclass(frozen=True)
class ModelReport:
    """A model and its scores."""

    name: str
    path: str
    sha256: str
    source: str
    method: str
    seed: Any
    classes: tuple[str, ...]
    n_unknown: dict[str, int]
    """Segments counted out, by label that the model never saw."""
    devices: dict[str, DeviceScores]
    training: dict[str, Any]


@dataclass
class EvaluateSecReport(Report):
    """What the models score."""

    split: str
    """Empty where predictions are scored without recordings."""
    devices: dict[str, EvaluatedDevice]
    segments_sha256: str
    """Of the list of segments: device, label, recording and first sample of each."""
    definitions: dict[str, str] = field(default_factory=lambda: dict(DEFINITIONS))
    rows: list[TableRow] = field(default_factory=list)
    """A row for each source and method; several seeds are one."""
    matrices: list[SourceMatrix] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    models: list[ModelReport] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    written: list[str] = field(default_factory=list)


@explain_machine_faults("score fewer runs at once")
def evaluate_sec(workspace: Workspace, settings: EvaluateSecSettings, say: Callable[[str], None]) -> EvaluateSecReport:
    """Score classifiers on every device's recordings of a split.

    `say` is told, in a few words, what is being done.

    Raises:
        SettingsError: wrong settings, models that cannot be used or compared, or nothing to score them on.
        EnvironmentFault: the output cannot be written.
    """
    started = time.monotonic()
    workspace = settings.applied_to(workspace)
    pictures = _check(settings)
    torch_device = compute_device(settings.compute_device)
    warnings: list[str] = []
    own = [] if settings.predictions and not settings.model else _chosen_models(workspace, settings, warnings)
    recordings = _recordings(workspace, is_needed=bool(own))
    warnings += recordings.warnings
    outside = _outside_models(workspace, settings, recordings, warnings)
    models = [*own, *(each.model for each in outside.values())]
    if len({each.name for each in models}) < len(models):
        raise SettingsError("predictions and a run have the same name", "rename the file, or fill in its column model")
    _warn_of_choice(models, settings, warnings)
    labelled = grouped_by_seed(models, warnings)
    pairs = [parse_pair(text, labelled) for text in settings.compare]
    for names, first, second in pairs:
        for one, other in product(first, second):
            check_comparable(outside.get(one.name), outside.get(other.name), names)
    clips = clips_by_device(recordings.clips, settings.split, settings.devices, warnings) if own else {}
    recorded = {clip.device for clip in recordings.clips if clip.role == settings.split}
    if len(recorded) == 1:
        (only,) = recorded
        warnings.append(
            f"only {only} has recordings in split {settings.split}: how well classifiers do on other devices was not "
            f"measured. Record with another one, or simulate some: umc simulate --source {only}"
        )
    if settings.output is not None:
        with explain_os_errors(settings.output):  # now, not after hours of work
            settings.output.mkdir(parents=True, exist_ok=True)
    failed: dict[str, FailedInput] = {}
    predictions = DevicePredictions({}, {})
    if len({model.features for model in own}) > 1:
        warnings.append(
            "the models see different features: each is scored on segments of its own length, and the numbers of "
            "segments are those of one of them"
        )
    for features in dict.fromkeys(model.features for model in own):
        reader = SegmentReader(
            FeatureSegmentSettings(**settings.segments.model_dump(), features=features), sys.maxsize, failed
        )
        same = [model for model in own if model.features == features]
        with compute_threads(cpu_count()):
            predictions.join(classify_devices(same, clips, reader, torch_device, warnings, say))
    for name, each in outside.items():
        predictions.add(name, each.devices, each.model.classes)
    warn_of_labels(models, predictions, warnings)
    say("computing scores and intervals")
    scored = _score(models, predictions, settings)
    split = settings.split if recordings.clips else ""
    report = EvaluateSecReport(split, predictions.devices, predictions.checksum.hexdigest())
    rows = [table_row([scored[model.name] for model in group], label) for label, group in labelled]
    report.rows = with_gaps(rows, settings.baseline, settings.ideal, warnings)
    report.matrices = source_matrices(report.rows, list(predictions.devices))
    report.comparisons = [_compare(names, first, second, scored, predictions) for names, first, second in pairs]
    report.models = [_model_report(model, scored[model.name], predictions) for model in models]
    report.settings = dump_settings(settings)
    report.failed = [*recordings.failed, *(failed[path] for path in sorted(failed))]
    report.warnings = warnings
    spectrograms = []
    if settings.output is not None and recordings.clips:
        say("drawing spectrograms")
        in_split = [clip for clip in recordings.clips if clip.role == settings.split]
        with compute_threads(cpu_count()):
            rows = [row for row in report.rows if row.source]
            spectrograms = draw_spectrograms(workspace, models, rows, in_split, settings.segments)
    report.seconds = time.monotonic() - started
    if settings.output is not None:
        _write(settings.output, report, list(scored.values()), spectrograms, pictures)
    return report


def _check(settings: EvaluateSecSettings) -> list[Picture]:
    if not settings.devices:
        raise SettingsError("no device is named", "use --devices all, or comma-separated device ids")
    if settings.output is not None and not settings.overwrite:
        for name in FILES:
            if (settings.output / name).exists():
                raise SettingsError(f"{settings.output / name} exists", "use --overwrite, or another --output")
    pictures = []
    for path in settings.picture:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"cannot read picture {path}: {error.strerror}", "check the path") from error
        if not is_png(content):
            raise SettingsError(f"picture {path} is not a PNG", "draw it as .png")
        pictures.append(Picture(path.stem, content))
    return pictures


def _chosen_models(workspace: Workspace, settings: EvaluateSecSettings, warnings: list[str]) -> list[SecModel]:
    models = find_models(workspace, settings.model, warnings)
    chosen = [model for model in models if settings.source in (None, model.source)]
    if not chosen:
        sources = ", ".join(sorted({model.source for model in models}))
        raise SettingsError(f"no model was trained on {settings.source!r}", f"models were trained on: {sources}")
    shares = dict(workspace.splits.shares)
    warnings += [
        f"{model.name} was trained with other shares of the splits than are given now: recordings that it learned from "
        "may be among those it is scored on"
        for model in chosen
        if model.training.get("shares", shares) != shares
    ]
    return chosen


def _warn_of_choice(models: Sequence[SecModel], settings: EvaluateSecSettings, warnings: list[str]) -> None:
    if len({frozenset(model.classes) for model in models}) > 1:
        warnings.append("the models know different classes, so that they are scored on different segments")
    if settings.split != TEST:
        warnings.append(f"split {settings.split} is for training: models look better on it than they are")


def _recordings(workspace: Workspace, is_needed: bool) -> Recordings:
    """Return the workspace's recordings; none where it has no data folder and nobody needs them."""
    find = find_recordings if is_needed else recordings_if_any
    return find(workspace.data, workspace.splits)


def _outside_models(
    workspace: Workspace, settings: EvaluateSecSettings, recordings: Recordings, warnings: list[str]
) -> dict[str, OutsideModel]:
    """Return the models whose predictions are given, by name."""
    if not settings.predictions:
        return {}
    known = known_recordings(workspace, recordings.clips, settings.split, settings.devices)
    if known is None:
        warnings.append(f"there are no recordings in {workspace.data}: devices and labels are what the predictions say")
    found = read_outside_models(settings.predictions, known, settings.source, settings.devices, warnings)
    return {each.model.name: each for each in found}


def _score(
    models: Sequence[SecModel], predictions: DevicePredictions, settings: EvaluateSecSettings
) -> dict[str, ScoredModel]:
    names = sorted(
        {name for answers in predictions.by_model.values() for each in answers.values() for name in each.recordings}
    )
    draws = resample_recordings(len(names), settings.bootstrap, settings.seed)
    row_of = {name: row for row, name in enumerate(names)}
    scored = {}
    for model in models:
        answers, n_classes = predictions.by_model[model.name], len(model.classes)
        scored[model.name] = ScoredModel(
            name=model.name,
            source=model.source,
            method=model.method,
            classes=model.classes,
            devices={name: score_device(each.true, each.predicted, n_classes) for name, each in answers.items()},
            replicates={name: bootstrap_macro_f1(each, n_classes, row_of, draws) for name, each in answers.items()},
        )
    return scored


def _compare(
    names: tuple[str, str],
    first: Sequence[SecModel],
    second: Sequence[SecModel],
    scored: Mapping[str, ScoredModel],
    predictions: DevicePredictions,
) -> Comparison:
    return compare(
        names, [scored[model.name] for model in first], [scored[model.name] for model in second], predictions.by_model
    )


def _model_report(model: SecModel, scored: ScoredModel, predictions: DevicePredictions) -> ModelReport:
    return ModelReport(
        name=model.name,
        path=model.path,
        sha256=model.sha256,
        source=model.source,
        method=model.method,
        seed=model.seed,
        classes=model.classes,
        n_unknown=predictions.n_unknown[model.name],
        devices=dict(scored.devices),
        training=model.training,
    )


def _write(
    folder: Path,
    report: EvaluateSecReport,
    scored: Sequence[ScoredModel],
    spectrograms: Sequence[SpectrogramRows],
    pictures: Sequence[Picture],
) -> None:
    devices = list(report.devices)
    page = ResultsPage(
        devices=devices,
        rows=report.rows,
        models=scored,
        matrices=report.matrices,
        comparisons=report.comparisons,
        settings={
            **report.settings,
            "versions": report.versions,
            "segments_sha256": report.segments_sha256,
            "devices": {name: asdict(device) for name, device in report.devices.items()},
        },
        training={
            model.name: {"path": model.path, "sha256": model.sha256, "training": model.training}
            for model in report.models
        },
        spectrograms=spectrograms,
        pictures=pictures,
        warnings=report.warnings,
    )
    report.written = [str(folder / name) for name in FILES]
    texts = (
        render_results_page(page),
        scores_csv(scored),
        scores_markdown(devices, report.rows, report.matrices, report.comparisons),
        json.dumps(report_as_json(report), indent=1),
    )
    for path, text in zip(report.written, texts, strict=True):
        write_text(Path(path), text)
