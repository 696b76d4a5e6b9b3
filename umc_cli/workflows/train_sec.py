"""`umc train-sec`: one device's recordings become a classifier of sound events that is to survive other devices."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.config import Workspace, load_settings
from umc_cli.conversion.drawn_differences import DrawnConversions
from umc_cli.conversion.transport_files import Learning, not_told
from umc_cli.errors import SettingsError
from umc_cli.runtime import explain_machine_faults, training_precision, versions
from umc_cli.sec.audio_conversions import AudioConversions, open_audio_conversions
from umc_cli.sec.classifier_settings import SEC_PRESETS
from umc_cli.sec.classifier_training import SecTraining
from umc_cli.sec.dataset import SecSegments, TrainingBatches, label_indices
from umc_cli.sec.method_parts import sample_alterations
from umc_cli.sec.methods import SELF_TRAINING, MethodPlan
from umc_cli.sec.sec_checkpoint import SecNetworkSettings
from umc_cli.sec.self_training import UnlabeledSegments, over_all_rounds
from umc_cli.sec.shard_conversions import ShardConversions, TrainedSegment, open_shard_conversions
from umc_cli.settings.train_sec import SECTION, TrainSecSettings
from umc_cli.shards.plan import hash_of, planned_path
from umc_cli.splits import TRAIN
from umc_cli.training.folder import load_over_preset, note_start, run_path, settle_run, shared_run
from umc_cli.training.ranks import ONE_PROCESS, Ranks, reader_threads
from umc_cli.training.run import RunResult, check_not_passed, run_training
from umc_cli.training.segment_store import SegmentStore, mean_and_std, store_segments
from umc_cli.workflows.sec_choice import ChosenRecordings, WhatToTrain, choose_what_to_train
from umc_cli.workflows.sec_conversion import (
    OnTheFlyConversions,
    WaveformConversions,
    converters_of,
    on_the_fly,
)
from umc_cli.workflows.sec_material import augmentation_material
from umc_cli.workflows.sec_request import conversion_request
from umc_cli.workflows.train import TrainProgress, TrainReport, of_result

SampleConversions = OnTheFlyConversions | DrawnConversions | WaveformConversions | ShardConversions | AudioConversions

KIND = "sec"

SEGMENTS_NAME = "segments"
TRAIN_PART, HELD_OUT_PART, UNLABELED_PART = "train", "held-out", "unlabeled"


def load_train_sec_settings(workspace: Workspace, given: Mapping[str, Any]) -> TrainSecSettings:
    """Return the settings of a call: `given`, environment and umc.toml over the preset, or over the run to resume.

    Raises:
        SettingsError: no source is named, the preset is unknown, a value is not allowed, or there is no run to resume.
    """
    request = load_settings(TrainSecSettings, workspace, SECTION, given, {"source": ""}, is_whole=False)
    if not request.source and not (request.resume and request.name):
        raise _no_source(workspace)
    return load_over_preset(request, workspace, SECTION, given, SEC_PRESETS, KIND)


def _no_source(workspace: Workspace) -> SettingsError:
    clips = find_recordings(workspace.data, workspace.splits).clips if workspace.data.is_dir() else ()
    devices = ", ".join(sorted({clip.device for clip in clips if clip.role == TRAIN})) or "no device"
    return SettingsError(
        "no source is given",
        f"name the device whose recordings to train on with --source; there are recordings in split {TRAIN} "
        f"of: {devices}",
    )


@dataclass(frozen=True)
class BuiltTraining:
    """A classifier's training, ready for its first step."""

    training: SecTraining
    batches: TrainingBatches
    n_held_out: int
    store: SegmentStore
    """Of the spectrograms."""
    converter: SampleConversions | None
    reading_s: float
    """Seconds that the segments took."""

    @property
    def converted_by(self) -> dict[str, Any]:
        """What the run and its weights say of the conversion."""
        if self.converter is None:
            return {"converter": None, "targets": [], "made_with": {}}
        return {
            "converter": self.converter.converter,
            "targets": list(self.converter.targets),
            "made_with": dict(self.converter.made_with),
        }

    @property
    def weights(self) -> str | None:
        """What samples are converted with, in words, if the conversion has weights."""
        return getattr(self.converter, "weights", None)

    def fingerprint_of(self, of_segments: str) -> str:
        """Return what a run remembers of recordings and conversions; `of_segments`: the fingerprint of its store."""
        return hash_of([of_segments, self.converted_by])


def build_training(
    wanted: WhatToTrain,
    settings: TrainSecSettings,
    folder: Path,
    torch_device: torch.device,
    ranks: Ranks = ONE_PROCESS,
    tables_folder: Path | None = None,
    learning: Learning = not_told,
) -> BuiltTraining:
    """Read the segments (or find them in `folder`), and build network and batches.

    `tables_folder`: where level tables and maps of an earlier run are, which then are only read; None: `folder`.
    `learning`: told of every map that is learned.

    Raises:
        SettingsError: recordings or shards do not give what is needed.
        EnvironmentFault: `folder` cannot be written.
    """
    plan, chosen = wanted.plan, wanted.chosen
    begun = time.monotonic()
    stores = _stores(folder, chosen, settings, plan)
    reading_s = time.monotonic() - begun
    mean_db, std_db = _mean_and_std(stores[0], settings.source)
    converter: SampleConversions | None = None
    if plan.conversion and settings.shards:
        converter = _read_conversions(wanted.workspace, settings, settings.shards, plan, chosen, stores[0], folder)
    elif plan.conversion:
        converter = on_the_fly(
            plan.conversion,
            wanted.conversions,
            wanted.recordings,
            tables_folder or folder,
            torch_device,
            chosen.warnings,
            features=settings.features,
            keep_tables=tables_folder is None,
            learning=learning,
        )
    batches = TrainingBatches(
        segments=_segments(stores, TRAIN_PART, chosen.train, chosen.classes, settings),
        n_classes=len(chosen.classes),
        batch_size=settings.batch_size,
        seed=settings.seed,
        alterations=sample_alterations(
            plan.augmentations,
            settings.method_settings,
            augmentation_material(wanted.workspace, settings, wanted.targets, mean_db, std_db),
        ),
        converter=converter,
        converted_share=settings.converted_share,
        ranks=ranks,
        unlabeled=_unlabeled(stores[0], chosen.unlabeled) if plan.self_trains else None,
        torch_device=torch_device,
    )
    held_out = _segments(stores[:1], HELD_OUT_PART, chosen.held_out, chosen.classes, settings)
    network = SecNetworkSettings(
        backbone=settings.backbone,
        classes=chosen.classes,
        mean_db=mean_db,
        std_db=std_db,
        source=settings.source,
        method=settings.method,
        parts=wanted.parts,
        features=settings.features,
    )
    training = SecTraining(settings, network, batches, held_out, torch_device, ranks)
    return BuiltTraining(training, batches, len(held_out), stores[0], converter, reading_s)


@explain_machine_faults("lower --batch-size")
def train_sec(workspace: Workspace, settings: TrainSecSettings, progress: TrainProgress) -> TrainReport:
    """Train a classifier on the split `train` of the source, or resume a run.

    Raises:
        SettingsError: wrong settings or data, something that the method needs is missing, a run that would be
            replaced, or a loss that is not finite.
        EnvironmentFault: the run's folder cannot be written, or another run is writing it.
    """
    folder = run_path(workspace, settings.run_name)
    wanted = choose_what_to_train(workspace, settings)
    chosen, schedule = wanted.chosen, schedule_of(settings, wanted.plan)
    with shared_run(folder, settings.compute_device) as (ranks, torch_device):
        with ranks.first_then_others():
            run_id = ""
            if ranks.is_first:
                run_id = settle_run(folder, settings)
                check_not_passed(folder, schedule)
                progress.preparing(sum(map(len, parts_of(chosen).values())))
            built = build_training(wanted, settings, folder, torch_device, ranks, learning=progress.learning)
            store = built.store
            n_train = np.bincount(built.batches.segments.label, minlength=len(chosen.classes))
            check_counts(n_train.tolist(), built.n_held_out, chosen, settings)
            if ranks.is_first:
                check_not_passed(folder, schedule, built.training.steps_per_epoch)
                fingerprint = built.fingerprint_of(store.fingerprint)
                name = built.converted_by["converter"]
                note_start(folder, run_id, KIND, settings.of_the_run(), fingerprint, store.content_sha256, name)
        about = {
            "run_id": run_id,
            "name": settings.run_name,
            "settings": settings.of_the_run(),
            "recordings_sha256": store.fingerprint,
            "versions": versions(),
            "shares": dict(wanted.workspace.splits.shares),
            **built.converted_by,
        }
        result = run_training(folder, built.training, schedule, about, progress, ranks, settings.keep)
    report = _report(folder, settings, chosen, store, built.n_held_out, result)
    report.precision = training_precision(settings.precision, torch_device).value
    report.segments_per_s = built.batches.n_seen(result.n_steps) / result.seconds if result.seconds else 0.0
    report.best_score = result.best_row.get("validation_macro_f1")
    report.weights = built.weights
    return report


def _report(
    folder: Path,
    settings: TrainSecSettings,
    chosen: ChosenRecordings,
    store: SegmentStore,
    n_held_out: int,
    result: RunResult,
) -> TrainReport:
    n_segments = Counter(chosen.train[number].device for number in store.parts[TRAIN_PART].clip.tolist())
    devices = sorted(n_segments)
    return TrainReport(
        name=settings.run_name,
        folder=str(folder),
        mode=settings.method,
        devices=devices,
        precision="",
        n_segments={device: n_segments[device] for device in devices},
        n_held_out={device: n_held_out if device == settings.source else 0 for device in devices},
        **of_result(result, settings.batch_size),
        failed=[*chosen.failed, *store.failed],
        warnings=chosen.warnings,
    )


def stores_waveforms(settings: TrainSecSettings, plan: MethodPlan) -> bool:
    """Tell whether a method or a conversion wants the waveforms of what is trained on."""
    return bool(plan.of_waveforms or (settings.features and plan.conversion and not settings.shards))


def schedule_of(settings: TrainSecSettings, plan: MethodPlan) -> TrainSecSettings:
    """Return the schedule of the whole run."""
    return over_all_rounds(settings) if plan.self_trains else settings


def parts_of(chosen: ChosenRecordings) -> dict[str, list[Clip]]:
    """Return the recordings whose segments a run stores, by part."""
    unlabeled = {UNLABELED_PART: chosen.unlabeled} if chosen.unlabeled else {}
    return {TRAIN_PART: chosen.train, HELD_OUT_PART: chosen.held_out, **unlabeled}


def _unlabeled(store: SegmentStore, clips: Sequence[Clip]) -> UnlabeledSegments:
    part = store.parts[UNLABELED_PART]
    if not len(part.clip):
        raise SettingsError(
            f"no segment of the targets, which {SELF_TRAINING} learns from, could be read", "check them"
        )
    names = sorted({clip.device for clip in clips})
    return UnlabeledSegments(
        part.segments, label_indices([clips[number].device for number in part.clip.tolist()], names)
    )


def _stores(folder: Path, chosen: ChosenRecordings, settings: TrainSecSettings, plan: MethodPlan) -> list[SegmentStore]:
    """Return the store of the features and, where a method or a conversion wants them, that of the waveforms."""
    place, workers = folder / SEGMENTS_NAME, settings.workers or reader_threads()
    stores = [store_segments(place, parts_of(chosen), settings.cut, workers)]
    if stores_waveforms(settings, plan):
        stores.append(store_segments(place, {TRAIN_PART: chosen.train}, settings.cut, workers, "waveform"))
    return stores


def _segments(
    stores: Sequence[SegmentStore], part: str, clips: Sequence[Clip], classes: Sequence[str], settings: TrainSecSettings
) -> SecSegments:
    spectrograms = stores[0].parts[part]
    labels = label_indices([clips[number].label for number in spectrograms.clip.tolist()], classes)
    waveforms = stores[1].parts[part].segments if len(stores) > 1 else None
    return SecSegments(spectrograms.segments, labels, waveforms, settings.cut)


def check_counts(n_train: Sequence[int], n_held_out: int, chosen: ChosenRecordings, settings: TrainSecSettings) -> None:
    """Refuse recordings that give too few segments; `n_train`: the number to train on of every class.

    Raises:
        SettingsError: naming what lacks.
    """
    if settings.keep == "best" and not n_held_out:
        raise SettingsError(
            f"no segment of {settings.source} is held out to choose the best weights by",
            "add recordings to the split train, or raise --held-out-share",
        )
    empty = [name for name, count in zip(chosen.classes, n_train, strict=True) if not count]
    if empty:
        raise SettingsError(
            f"no segment of label {empty[0]!r} could be read", "fix its recordings, or remove the label"
        )


def _mean_and_std(store: SegmentStore, source: str) -> tuple[float, float]:
    known = mean_and_std([store.moments[TRAIN_PART]])
    if known is None:
        raise SettingsError(f"the recordings of {source} hold no sound that could be learned from", "check them")
    return known


def _read_conversions(
    workspace: Workspace,
    settings: TrainSecSettings,
    shards: Path,
    plan: MethodPlan,
    chosen: ChosenRecordings,
    store: SegmentStore,
    folder: Path,
) -> ShardConversions | AudioConversions:
    trained = store.parts[TRAIN_PART]
    converters = converters_of(plan.conversion or "", conversion_request(settings, plan).converter)
    if settings.features:
        wanted = (settings.source, settings.targets, converters, chosen.train, trained, settings.cut)
        return open_audio_conversions(shards, folder, *wanted, workspace.root, settings.workers or reader_threads())
    paths = [planned_path(clip.file, workspace.root) for clip in chosen.train]
    segments = [
        TrainedSegment(chosen.train[number].recording, paths[number], start)
        for number, start in zip(trained.clip.tolist(), trained.start.tolist(), strict=True)
    ]
    is_one_to_one = plan.conversion == "mc"
    return open_shard_conversions(
        shards, folder, settings.source, settings.targets, converters, is_one_to_one, segments
    )
