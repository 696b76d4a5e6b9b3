"""`umc eval layers`: where in a generator the target device can be read, after Figure 3 of the paper."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.targets import read_targets
from umc_cli.conversion.condition import condition_db
from umc_cli.conversion.generator_checkpoint import TrainedGenerator, load_generator, preset_name
from umc_cli.conversion.generator_settings import ConditionKind
from umc_cli.conversion.layer_statistics import DIMENSIONS, layer_statistics
from umc_cli.conversion.normalisation import normalise
from umc_cli.errors import SettingsError, guess
from umc_cli.evaluation.conversion_measures import Segments
from umc_cli.evaluation.mutual_information import ProbedStatistic, entropy_bits, probe_statistic
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.evaluation.report.figure_file import check_figure_name
from umc_cli.evaluation.report.layers_figure import draw_layers_figure
from umc_cli.response.device import DeviceRegistry
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults
from umc_cli.settings.eval_layers import MIN_RECORDINGS, EvaluateLayersSettings
from umc_cli.workflows.report_base import Report

DEFINITIONS = {
    "information_bits": "lower bound of the mutual information of target device and statistic: H(target) minus the "
    "cross-entropy of a linear probe on recordings that it did not learn from",
    "accuracy": "share of segments whose target the same probe finds, on recordings that it did not learn from",
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


@explain_machine_faults("measure fewer segments (--most-segments)")
def evaluate_layers(
    workspace: Workspace, settings: EvaluateLayersSettings, say: Callable[[str], None]
) -> EvaluateLayersReport:
    """Convert recordings of `settings.source` to every target, and measure what each layer then tells of the target.

    The paper's Figure 3 looks at the generators of its predecessor, one for each target, whose weights differ from the
    first layer on; here it is one generator, and layers in front of its FiLM cannot know the target.
    `say` is told, in a few words, what is being done.

    Raises:
        SettingsError: wrong settings, no generator that is given the difference, or too few recordings or targets.
        EnvironmentFault: the figure cannot be written.
    """
    started = time.monotonic()
    workspace = settings.applied_to(workspace)
    _check_figure(settings)
    device = compute_device(settings.compute_device)
    path = settings.checkpoint or workspace.checkpoints / "generator.safetensors"
    trained = _load(path)
    differences_db = _differences(DeviceRegistry(workspace.devices), settings, trained.generator.settings.condition)
    recordings = find_recordings(workspace.data, workspace.splits)
    reader = SegmentReader(settings.segments, settings.most_segments)
    with compute_threads(cpu_count()):
        say(f"reading recordings of {settings.source} in split {settings.split}")
        given = _read(recordings.clips, settings, reader)
        labels = np.repeat(np.arange(len(differences_db)), len(given)).tolist()
        report = EvaluateLayersReport(
            source=settings.source,
            targets=list(differences_db),
            split=settings.split,
            checkpoint=str(path),
            checkpoint_sha256=trained.sha256,
            generator_preset=preset_name(trained.generator.settings),
            n_segments=len(given),
            n_recordings=len(set(given.recordings)),
            entropy_bits=entropy_bits(labels),
            chance=1 / len(differences_db),
            warnings=[*recordings.warnings, *_alike(differences_db)],
        )
        report.layers = _probe(trained, given, differences_db, labels, device, say)
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
            "use a generator for all devices, trained without --pair",
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
    trained: TrainedGenerator,
    given: Segments,
    differences_db: Mapping[str, NDArray[np.float32]],
    labels: list[int],
    device: torch.device,
    say: Callable[[str], None],
) -> dict[str, dict[str, ProbedStatistic]]:
    generator = trained.generator.to(device)
    log_mel = torch.from_numpy(given.log_mel).to(device)
    normalised, _ = normalise(log_mel, trained.normalisation, generator.settings.level)
    say(f"converting {len(given)} segments to {len(differences_db)} targets")
    on_device = {name: torch.from_numpy(difference_db).to(device) for name, difference_db in differences_db.items()}

    def tell(n_converted: int) -> None:
        if n_converted % _TOLD_EVERY == 0:
            say(f"converted {n_converted} of {len(given)}")

    statistics = layer_statistics(generator, normalised, on_device, say=tell)
    groups = given.recordings * len(differences_db)
    say(f"probing {len(statistics)} layers")
    return {
        layer: {
            dimension: probe_statistic(
                np.concatenate([by_dimension[dimension] for by_dimension in targets.values()]), labels, groups
            )
            for dimension in DIMENSIONS
        }
        for layer, targets in statistics.items()
    }
