"""`umc train`: recordings of several devices become a generator that converts between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from umc_cli.config import Workspace, load_settings
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.converter_training.publication import FinishedRun, Rival, publish
from umc_cli.conversion.converter_training.training_segments import TrainingSegments, gather_segments, parts_of
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.errors import SettingsError
from umc_cli.runtime import explain_machine_faults, training_precision, versions
from umc_cli.settings.train import SECTION, TrainSettings
from umc_cli.training.devices import TrainingDevices, find_training_devices
from umc_cli.training.folder import load_over_preset, note_start, run_path, settle_run, shared_run
from umc_cli.training.ranks import reader_threads
from umc_cli.training.run import VALIDATION_SCORE, RunProgress, RunResult, check_not_passed, run_training
from umc_cli.workflows.report_base import Report

SEGMENTS_NAME = "segments"
GENERATOR_NAME = "generator.safetensors"
KIND = "adversarial"


class TrainProgress(RunProgress, Protocol):
    """Told how a run goes on, for people who wait."""

    def preparing(self, n_files: int) -> None:
        """Log-mel spectrograms of so many recordings are about to be computed."""
        ...

    def learning(self, target: str, number: int, count: int) -> None:
        """What moves segments of a target is about to be learned. `number`: of the target, from 1."""
        ...


@dataclass
class TrainReport(Report):
    """What a run did."""

    name: str
    folder: str
    mode: str
    """`unified`, `pair` or `refiner`."""
    devices: list[str]
    precision: str
    n_segments: dict[str, int] = field(default_factory=dict)
    """Trained on, by device; of a refiner the sounds, as `simulated`."""
    n_held_out: dict[str, int] = field(default_factory=dict)
    """Validated on, by device."""
    n_steps: int = 0
    total_steps: int = 0
    segments_per_s: float = 0.0
    """Segments converted there and back per second of the whole run."""
    best_step: int | None = None
    best_score: float | None = None
    last_metrics: dict[str, float] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)
    """Where the weights of a finished run went."""
    publication: str = ""
    """Why they went there, or why they stay in the run's folder."""
    weights: str | None = None
    """What samples were converted with, in words, if a conversion has weights."""

    @property
    def is_finished(self) -> bool:
        """Tell whether all steps are done."""
        return self.n_steps >= self.total_steps

    @property
    def exit_code(self) -> int:
        """0: all done; 1: some recordings could not be read; 130: stopped before the end, can be resumed."""
        return super().exit_code if self.is_finished else 130


def of_result(result: RunResult, batch_size: int) -> dict[str, Any]:
    """Return the fields of a `TrainReport` that every training fills in the same way."""
    return {
        "n_steps": result.n_steps,
        "total_steps": result.total_steps,
        "seconds": result.seconds,
        "segments_per_s": result.n_steps * batch_size / result.seconds if result.seconds else 0.0,
        "best_step": result.best_step,
        "best_score": result.best_score,
        "last_metrics": result.last_row,
    }


def load_train_settings(workspace: Workspace, given: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of a call: `given`, environment and umc.toml over the preset, or over the run to resume.

    Raises:
        SettingsError: the preset is unknown, a value is not allowed, or there is no run to resume.
    """
    request = load_settings(TrainSettings, workspace, SECTION, given, is_whole=False)
    return load_over_preset(request, workspace, SECTION, given, ADVERSARIAL_PRESETS, KIND)


@explain_machine_faults("lower --batch-size, or compute it in parts (--micro-batch-size)")
def train(workspace: Workspace, settings: TrainSettings, progress: TrainProgress) -> TrainReport:
    """Train a generator on what converters may learn from, or resume a run.

    Raises:
        SettingsError: wrong settings or data, a run that would be replaced, or a loss that is not finite.
        EnvironmentFault: the run's folder cannot be written, or another run is writing it.
    """
    workspace = settings.applied_to(workspace)
    folder = run_path(workspace, settings.run_name)
    chosen = find_training_devices(workspace, settings.devices, settings.pair)
    check_levels(settings, chosen)
    with shared_run(folder, settings.compute_device) as (ranks, torch_device):
        with ranks.first_then_others():
            run_id = ""
            if ranks.is_first:
                run_id = settle_run(folder, settings)
                check_not_passed(folder, settings)
                progress.preparing(sum(len(clips) for clips in chosen.clips.values()))
            segments = gather_segments(
                folder / SEGMENTS_NAME,
                list(chosen.clips),
                parts_of(chosen.clips, settings.held_out_share),
                settings.segments,
                settings.workers or reader_threads(),
            )
            is_pair = settings.pair is not None
            training = AdversarialTraining(
                settings, segments, chosen.records, is_pair, torch_device, ranks, settings.compile
            )
            if ranks.is_first:
                check_not_passed(folder, settings, training.steps_per_epoch)
                note_start(folder, run_id, KIND, settings.of_the_run(), segments.fingerprint, segments.content_sha256)
        precision = training_precision(settings.precision, torch_device)
        about = {"run_id": run_id, "name": settings.run_name, "settings": settings.of_the_run(), "versions": versions()}
        result = run_training(folder, training, settings, about, progress, ranks, settings.keep)
        report = _report(folder, settings, chosen, segments, result)
        report.precision = precision.value
        if result.is_finished and ranks.is_first:
            targets = places_of_weights(workspace, settings)
            score = result.best_score if settings.keep == "best" else result.last_row.get(VALIDATION_SCORE)
            finished = FinishedRun(folder, run_id, settings.preset, score, targets)
            rival = _rival(tuple(targets.values()), training, segments)
            publication = publish(finished, settings.publish, rival)
            report.published, report.publication = publication.paths, publication.reason
    return report


def check_levels(settings: TrainSettings, chosen: TrainingDevices) -> None:
    """Refuse to tell a generator levels that records do not say."""
    if settings.pair or settings.condition != "shape_and_level":
        return
    unknown = [record.id for record in chosen.records if record.sensitivity_dbfs is None]
    if unknown:
        raise SettingsError(
            f"no level (sensitivity_dbfs) in the record of {', '.join(unknown)}, which the condition shape_and_level "
            "tells the generator",
            "measure it (umc measure-ir --tone), leave these out with --devices, or train on shapes alone "
            "(--condition shape)",
        )


def _rival(paths: tuple[Path, ...], training: AdversarialTraining, segments: TrainingSegments) -> Rival:
    """Return the weights that are there; those of the package know none of the devices, and are no rival."""
    there = [path for path in paths if path.exists()]
    is_held_out = any(len(held_out) for held_out in segments.held_out)

    def score() -> float:
        return training.score_of([load_generator(path) for path in paths])

    return Rival(there, score if is_held_out else None)


def places_of_weights(workspace: Workspace, settings: TrainSettings) -> dict[str, Path]:
    """Return where the weights of a finished run go, by their names in the run's folder."""
    if settings.pair is None:
        return {f"{settings.keep}.safetensors": workspace.checkpoints / GENERATOR_NAME}
    first, second = settings.pair.split(":")
    return {
        f"{settings.keep}.safetensors": workspace.checkpoints / f"{first}-to-{second}.safetensors",
        f"{settings.keep}-reverse.safetensors": workspace.checkpoints / f"{second}-to-{first}.safetensors",
    }


def _report(
    folder: Path, settings: TrainSettings, chosen: TrainingDevices, segments: TrainingSegments, result: RunResult
) -> TrainReport:
    return TrainReport(
        name=settings.run_name,
        folder=str(folder),
        mode="pair" if settings.pair else "unified",
        devices=list(segments.devices),
        precision="",
        n_segments={name: len(found) for name, found in zip(segments.devices, segments.train, strict=True)},
        n_held_out={name: len(found) for name, found in zip(segments.devices, segments.held_out, strict=True)},
        **of_result(result, settings.batch_size),
        failed=[*chosen.failed, *segments.failed],
        warnings=list(chosen.warnings),
    )
