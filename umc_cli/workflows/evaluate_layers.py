"""`umc eval layers`: where in a generator the target device can be read, after Figure 3 of the paper."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.targets import read_targets
from umc_cli.conversion.condition import condition_db
from umc_cli.conversion.generator_checkpoint import TrainedGenerator, load_generator, preset_name
from umc_cli.conversion.generator_settings import ConditionKind
from umc_cli.conversion.layer_statistics import DIMENSIONS, Statistics, layer_statistics
from umc_cli.conversion.normalisation import normalise
from umc_cli.errors import SettingsError, guess
from umc_cli.evaluation.conversion_measures import Segments
from umc_cli.evaluation.mutual_information import ProbedStatistic, entropy_bits, probe_statistic
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.evaluation.report.figure_file import check_figure_name
from umc_cli.evaluation.report.layers_figure import draw_layers_figure
from umc_cli.response.device import N_BANDS, DeviceRegistry
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults
from umc_cli.settings.eval_layers import MIN_RECORDINGS, EvaluateLayersSettings
from umc_cli.workflows.report_base import Report

DEFINITIONS = {
    "information_bits": "lower bound of the mutual information of target device and statistic: H(target) minus the "
    "cross-entropy of a linear probe on recordings that it did not learn from",
    "accuracy": "share of segments whose target the same probe finds, on recordings that it did not learn from",
    "network_information_bits": "the same bound by a small network that begins at the linear probe and is trained on, "
    "as Wang et al. (2021) train a classifier: information that is not linear counts too",
    "network_accuracy": "share of segments whose target the network finds",
    "standard_error": "over recordings",
}

_ALIKE_DB = 0.01
"""Targets whose responses differ by less in every band cannot be told apart."""

_TOLD_EVERY = 64
"""Segments, a multiple of the batch."""


@dataclass
class EvaluateLayersReport(Report):
    """What the layers tell of the target."""

    source: str
    targets: list[str]
    split: str
    checkpoint: str
    checkpoint_sha256: str
    generator_preset: str
    n_segments: int
    """Each was converted to every target."""
    n_recordings: int
    entropy_bits: float
    """H(target): what a statistic that gives the target away would reach."""
    chance: float
    """Accuracy of guessing."""
    definitions: dict[str, str] = field(default_factory=lambda: dict(DEFINITIONS))
    layers: dict[str, dict[str, ProbedStatistic]] = field(default_factory=dict)
    """By layer, in the order in which a segment passes them, and by dimension."""
    figure: str | None = None
    pair_checkpoints_sha256: dict[str, str] = field(default_factory=dict)
    """By target, where each has a generator of its own; else empty."""


@dataclass(frozen=True)
class _Looked:
    """The generators that are looked at: one for all targets, or one for each."""

    path: Path
    sha256: str
    preset: str
    of_target: dict[str, TrainedGenerator]
    conditions_db: dict[str, NDArray[np.float32]]
    """By target: [128] dB, what its generator is told; zero where that is nothing."""
    is_one: bool


@explain_machine_faults("measure fewer segments (--most-segments)")
def evaluate_layers(
    workspace: Workspace, settings: EvaluateLayersSettings, say: Callable[[str], None]
) -> EvaluateLayersReport:
    """Convert recordings of `settings.source` to every target, and measure what each layer then tells of the target.

    The paper's Figure 3 looks at the generators of its predecessor, one for each target (`settings.pairs`), whose
    weights differ from the first layer on; of one generator for all, layers before its FiLM cannot know the target.
    `say` is told, in a few words, what is being done.

    Raises:
        SettingsError: wrong settings, no generator that is given the difference, or too few recordings or targets.
        EnvironmentFault: the figure cannot be written.
    """
    started = time.monotonic()
    workspace = settings.applied_to(workspace)
    _check_figure(settings)
    device = compute_device(settings.compute_device)
    looked = _pairs(workspace, settings) if settings.pairs else _unified(workspace, settings)
    targets = list(looked.of_target)
    recordings = find_recordings(workspace.data, workspace.splits)
    reader = SegmentReader(settings.segments, settings.most_segments)
    with compute_threads(cpu_count()):
        say(f"reading recordings of {settings.source} in split {settings.split}")
        given = _read(recordings.clips, settings, reader)
        labels = np.repeat(np.arange(len(targets)), len(given)).tolist()
        report = EvaluateLayersReport(
            source=settings.source,
            targets=targets,
            split=settings.split,
            checkpoint=str(looked.path),
            checkpoint_sha256=looked.sha256,
            generator_preset=looked.preset,
            n_segments=len(given),
            n_recordings=len(set(given.recordings)),
            entropy_bits=entropy_bits(labels),
            chance=1 / len(targets),
            warnings=[*recordings.warnings, *(_alike(looked.conditions_db) if looked.is_one else ())],
        )
        if not looked.is_one:
            report.pair_checkpoints_sha256 = {target: each.sha256 for target, each in looked.of_target.items()}
        report.layers = _probe(looked, given, labels, device, settings.network, say)
    if settings.figure:
        draw_layers_figure(settings.figure, report.layers, report.entropy_bits, report.chance)
        report.figure = str(settings.figure)
    report.failed = [*recordings.failed, *(reader.failed[failed] for failed in sorted(reader.failed))]
    report.seconds = time.monotonic() - started
    return report


def _check_figure(settings: EvaluateLayersSettings) -> None:
    if (path := settings.figure) is None:
        return
    check_figure_name(path)
    if path.exists() and (not settings.overwrite or path.is_dir()):
        raise SettingsError(f"{path} already exists", "choose another name, or give --overwrite to replace it")


def _unified(workspace: Workspace, settings: EvaluateLayersSettings) -> _Looked:
    path = settings.checkpoint or workspace.checkpoints / "generator.safetensors"
    trained = _load(path)
    kind = trained.generator.settings
    conditions_db = _differences(DeviceRegistry(workspace.devices), settings, kind.condition)
    of_target = dict.fromkeys(conditions_db, trained)
    return _Looked(path, trained.sha256, preset_name(kind), of_target, conditions_db, is_one=True)


def _pairs(workspace: Workspace, settings: EvaluateLayersSettings) -> _Looked:
    """Return the generators of `umc train --pair` from the source.

    Raises:
        SettingsError: one is missing or of another pair, there are fewer than two, or they have different layers.
    """
    if settings.checkpoint:
        raise SettingsError(
            "--pairs has a generator for each target: --checkpoint has no effect", "leave one of them out"
        )
    source = settings.source
    paths = {
        path.stem.removeprefix(f"{source}-to-"): path
        for path in sorted(workspace.checkpoints.glob(f"{source}-to-*.safetensors"))
    }
    targets = read_targets(settings.targets, source, paths, {*paths, *settings.targets}).ids
    missing = [target for target in targets if target not in paths]
    if missing or len(targets) < 2:
        raise SettingsError(
            f"no generator from {source} to {', '.join(missing)} in {workspace.checkpoints}"
            if missing
            else f"nothing to tell apart: generators from {source} to {' and '.join(targets) or 'no device'} in "
            f"{workspace.checkpoints}, at least two are needed",
            f"train it with `umc train --pair {source}:{missing[0] if missing else 'TARGET'}`",
        )
    trained = {target: load_generator(paths[target]) for target in targets}
    for target, each in trained.items():
        if each.training.get("pair") != [source, target]:
            raise SettingsError(
                f"checkpoint {paths[target]} is not a generator from {source} to {target} alone",
                f"train it with `umc train --pair {source}:{target}`, or leave {target} out of --targets",
            )
    first, *others = trained.values()
    if any(other.generator.settings != first.generator.settings for other in others):
        raise SettingsError(
            f"the generators from {source} have different settings, so that their layers cannot be compared",
            "train them alike, or name those that are with --targets",
        )
    nothing = {target: np.zeros(N_BANDS, np.float32) for target in targets}
    return _Looked(workspace.checkpoints, "", "one_to_one", trained, nothing, is_one=False)


def _differences(
    registry: DeviceRegistry, settings: EvaluateLayersSettings, kind: ConditionKind
) -> dict[str, NDArray[np.float32]]:
    """Return what the generator is told of every target. Shape: [128] dB, target minus source."""
    source = registry.get(settings.source)
    targets = read_targets(settings.targets, source.id, registry.others(source.id), registry.ids()).ids
    records = [registry.get(name) for name in targets]
    if len(records) < 2:
        raise SettingsError(
            f"nothing to tell apart: {' and '.join(targets) or 'no device'} as target, at least two are needed",
            "use --targets all, or add records to devices/ (`umc devices` lists them)",
        )
    return {record.id: condition_db(source, record, kind) for record in records}


def _load(path: Path) -> TrainedGenerator:
    if not path.is_file():
        raise SettingsError(
            f"there is no generator at {path}",
            "train one with `umc train`, or name one with --checkpoint",
        )
    trained = load_generator(path)
    if trained.generator.settings.film_encoder == "none":
        raise SettingsError(
            f"checkpoint {path} is a generator for one pair of devices: it gets no difference, "
            "so no layer can know the target",
            "use a generator for all devices, trained without --pair; --pairs looks at the pairs of all targets",
        )
    return trained


def _read(clips: Sequence[Clip], settings: EvaluateLayersSettings, reader: SegmentReader) -> Segments:
    in_split = [clip for clip in clips if clip.role == settings.split]
    own = [clip for clip in in_split if clip.device == settings.source]
    if not own:
        recorded = sorted({clip.device for clip in in_split})
        raise SettingsError(
            f"no recordings of {settings.source!r} in split {settings.split}",
            guess(settings.source, recorded)
            + f"there are recordings in split {settings.split} of: {', '.join(recorded) or 'no device'}",
        )
    given = reader.read(own)
    n_recordings = len(set(given.recordings))
    if n_recordings < MIN_RECORDINGS:
        raise SettingsError(
            f"segments from only {n_recordings} recordings of {settings.source} in split {settings.split}, "
            f"at least {MIN_RECORDINGS} are needed",
            "add recordings, use another --split, or count short clips too with --short-clips pad",
        )
    return given


def _alike(differences_db: Mapping[str, NDArray[np.float32]]) -> list[str]:
    return [
        f"{one} and {other} have the same frequency response: no layer can tell them apart"
        for (one, first_db), (other, second_db) in combinations(differences_db.items(), 2)
        if np.abs(first_db - second_db).max() < _ALIKE_DB
    ]


def _probe(
    looked: _Looked,
    given: Segments,
    labels: list[int],
    device: torch.device,
    with_network: bool,
    say: Callable[[str], None],
) -> dict[str, dict[str, ProbedStatistic]]:
    say(f"converting {len(given)} segments to {len(looked.of_target)} targets")
    statistics = _statistics(looked, torch.from_numpy(given.log_mel).to(device), device, say)
    groups = given.recordings * len(looked.of_target)
    say(f"probing {len(statistics)} layers")
    return {
        layer: {
            dimension: probe_statistic(
                np.concatenate([by_dimension[dimension] for by_dimension in targets.values()]),
                labels,
                groups,
                with_network=with_network,
            )
            for dimension in DIMENSIONS
        }
        for layer, targets in statistics.items()
    }


def _statistics(
    looked: _Looked, log_mel: Tensor, device: torch.device, say: Callable[[str], None]
) -> dict[str, dict[str, Statistics]]:
    """Return the statistics by layer, target and dimension. Shape: [N, 80, 80] dB."""

    def tell(n_converted: int) -> None:
        if n_converted % _TOLD_EVERY == 0:
            say(f"converted {n_converted} of {len(log_mel)}")

    on_device = {name: torch.from_numpy(told_db).to(device) for name, told_db in looked.conditions_db.items()}
    together = [list(looked.of_target)] if looked.is_one else [[target] for target in looked.of_target]
    result: dict[str, dict[str, Statistics]] = {}
    for targets in together:
        trained = looked.of_target[targets[0]]
        generator = trained.generator.to(device)
        normalised, _ = normalise(log_mel, trained.normalisation, generator.settings.level)
        told = {target: on_device[target] for target in targets}
        for layer, found in layer_statistics(generator, normalised, told, say=tell).items():
            result.setdefault(layer, {}).update(found)
    return result
