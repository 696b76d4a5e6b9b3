"""`umc train-sec`: one device's recordings become a classifier of sound events that is to survive other devices."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umc_cli.audio.manifest import CLASSIFIER_SPLIT, Clip, Recordings, find_recordings
from umc_cli.config import Workspace, dump_settings, load_settings, means_all
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.known import recorded_devices
from umc_cli.conversion.chosen.targets import names_invented
from umc_cli.errors import SettingsError, did_you_mean, guess
from umc_cli.response.device import N_BANDS, DeviceRegistry, check_device_id, unknown_device
from umc_cli.runtime import explain_machine_faults, training_precision, versions
from umc_cli.sec.augmentations.contract import AugmentationMaterial
from umc_cli.sec.backbones import build_backbone
from umc_cli.sec.classifier_settings import SEC_PRESETS
from umc_cli.sec.classifier_training import SecTraining
from umc_cli.sec.dataset import SecSegments, TrainingBatches, label_indices
from umc_cli.sec.method_parts import check_method_settings, network_parts, sample_alterations
from umc_cli.sec.methods import MethodPlan, parse_method
from umc_cli.sec.sec_checkpoint import SecNetworkSettings
from umc_cli.sec.shard_conversions import ShardConversions, TrainedSegment, open_shard_conversions
from umc_cli.settings.train_sec import SECTION, TrainSecSettings
from umc_cli.shards.plan import hash_of, planned_path
from umc_cli.training.folder import Call, note_start, run_path, settings_to_resume, settle_run, shared_run
from umc_cli.training.held_out import held_out_recordings
from umc_cli.training.ranks import reader_threads
from umc_cli.training.run import check_not_passed, run_training
from umc_cli.training.segment_store import SegmentStore, mean_and_std, store_segments
from umc_cli.workflows.sec_conversion import (
    N_INVENTED,
    OnTheFlyConversions,
    check_sec_conversion,
    choose_sec_conversion,
    converters_of,
)
from umc_cli.workflows.train import TrainProgress, TrainReport

KIND = "sec"

_FREE = frozenset({"epochs", "max_steps", "log_every", "validate_every", "save_every", "precision"})
_OF_THE_CALL = frozenset({"resume", "overwrite", "workers", "compute_device"})
_SEGMENTS_NAME = "segments"
_TRAIN, _HELD_OUT = "train", "held-out"


@dataclass(frozen=True)
class _Chosen:
    """The recordings of a run."""

    train: list[Clip]
    held_out: list[Clip]
    """Of the source alone."""
    classes: tuple[str, ...]
    warnings: list[str]


def load_train_sec_settings(workspace: Workspace, given: Mapping[str, Any]) -> TrainSecSettings:
    """Return the settings of a call: `given`, environment and umc.toml over the preset, or over the run to resume.

    Raises:
        SettingsError: no source is named, the preset is unknown, a value is not allowed, or there is no run to resume.
    """
    request = load_settings(TrainSecSettings, workspace, SECTION, given, {"source": ""})
    if not request.source and not (request.resume and request.name):
        raise _no_source(workspace)
    if request.preset not in SEC_PRESETS:
        raise SettingsError(f"unknown preset {request.preset!r}", did_you_mean(request.preset, SEC_PRESETS, "presets"))
    below = (
        settings_to_resume(workspace, request.run_name, KIND)
        if request.resume
        else dump_settings(SEC_PRESETS[request.preset])
    )
    return load_settings(TrainSecSettings, workspace, SECTION, given, below)


def _no_source(workspace: Workspace) -> SettingsError:
    clips = find_recordings(workspace.data).clips if workspace.data.is_dir() else ()
    devices = ", ".join(sorted({clip.device for clip in clips if clip.split == CLASSIFIER_SPLIT})) or "no device"
    return SettingsError(
        "no source is given",
        f"name the device whose recordings to train on with --source; there are recordings in split {CLASSIFIER_SPLIT} "
        f"of: {devices}",
    )


@explain_machine_faults("lower --batch-size")
def train_sec(workspace: Workspace, settings: TrainSecSettings, progress: TrainProgress) -> TrainReport:
    """Train a classifier on the split `train-sec` of the source, or resume a run.

    Raises:
        SettingsError: wrong settings or data, something that the method needs is missing, a run that would be
            replaced, or a loss that is not finite.
        EnvironmentFault: the run's folder cannot be written, or another run is writing it.
    """
    folder = run_path(workspace, settings.run_name)
    call = Call(settings.run_name, settings.resume, settings.overwrite)
    plan = parse_method(settings.method)
    check_method_settings(settings.method_settings)
    _check_shards(settings, plan)
    everything = find_recordings(workspace.data)
    chosen = _choose(everything, settings, plan)
    _check_targets(DeviceRegistry(workspace.devices), settings, plan, everything)
    parts = network_parts(plan.augmentations, settings.method_settings)
    with torch.random.fork_rng(devices=[]):
        build_backbone(settings.backbone, len(chosen.classes), parts.after_stages(0.0, 1.0))  # refuses, before the work
    if plan.conversion:
        conversion_settings = _conversion_settings(settings, settings.compute_device)
        n_invented = settings.invented or N_INVENTED
        check_sec_conversion(workspace, plan.conversion, conversion_settings, everything, n_invented, settings.shards)
    with shared_run(folder, settings.compute_device) as (ranks, torch_device):
        with ranks.first_then_others():
            run_id = ""
            if ranks.is_first:
                run_id = settle_run(folder, call, _of_the_run(settings), _FREE)
                check_not_passed(folder, settings)
                progress.preparing(len(chosen.train) + len(chosen.held_out))
            stores = _stores(folder, chosen, settings, plan)
            mean_db, std_db = _mean_and_std(stores[0], settings.source)
            conversion = None
            if plan.conversion:
                conversion = _conversion(
                    workspace, settings, plan.conversion, everything, folder, chosen, stores[0], torch_device
                )
            material = _material(workspace, settings, everything, mean_db, std_db)
            batches = TrainingBatches(
                segments=_segments(stores, _TRAIN, chosen.train, chosen.classes),
                n_classes=len(chosen.classes),
                batch_size=settings.batch_size,
                seed=settings.seed,
                alterations=sample_alterations(plan.augmentations, settings.method_settings, material),
                converter=conversion,
                converted_share=settings.converted_share,
                ranks=ranks,
            )
            held_out = _segments(stores[:1], _HELD_OUT, chosen.held_out, chosen.classes)
            _check_segments(batches.segments, held_out, chosen, settings)
            network = SecNetworkSettings(
                backbone=settings.backbone,
                classes=chosen.classes,
                mean_db=mean_db,
                std_db=std_db,
                source=settings.source,
                method=settings.method,
                parts=parts,
            )
            made_with = {
                "converter": conversion.converter if conversion else None,
                "targets": list(conversion.targets) if conversion else [],
                "made_with": dict(conversion.made_with) if conversion else {},
            }
            fingerprint = hash_of([stores[0].fingerprint, made_with])
            training = SecTraining(settings, network, batches, held_out, torch_device, ranks)
            if ranks.is_first:
                check_not_passed(folder, settings, training.steps_per_epoch)
                note_start(folder, run_id, KIND, _of_the_run(settings), fingerprint, stores[0].content_sha256)
        about = {
            "run_id": run_id,
            "name": settings.run_name,
            "settings": _of_the_run(settings),
            "recordings_sha256": stores[0].fingerprint,
            "versions": versions(),
            **made_with,
        }
        result = run_training(folder, training, settings, about, progress, ranks)
    n_devices = Counter(chosen.train[number].device for number in stores[0].parts[_TRAIN].clip.tolist())
    return TrainReport(
        name=settings.run_name,
        folder=str(folder),
        mode=settings.method,
        devices=sorted(n_devices),
        precision=training_precision(settings.precision, torch_device).value,
        n_segments=dict(sorted(n_devices.items())),
        n_held_out={device: len(held_out) if device == settings.source else 0 for device in sorted(n_devices)},
        n_steps=result.n_steps,
        total_steps=result.total_steps,
        seconds=result.seconds,
        segments_per_s=batches.n_seen(result.n_steps) / result.seconds if result.seconds else 0.0,
        best_step=result.best_step,
        best_score=result.best_row.get("validation_macro_f1"),
        last_metrics=result.last_row,
        weights=conversion.weights if isinstance(conversion, OnTheFlyConversions) else None,
        failed=list(stores[0].failed),
        warnings=chosen.warnings,
    )


def _of_the_run(settings: TrainSecSettings) -> dict[str, Any]:
    return {name: value for name, value in dump_settings(settings).items() if name not in _OF_THE_CALL}


def _choose(everything: Recordings, settings: TrainSecSettings, plan: MethodPlan) -> _Chosen:
    check_device_id(settings.source)
    clips = sorted((clip for clip in everything.clips if clip.split == CLASSIFIER_SPLIT), key=lambda clip: clip.file)
    own = [clip for clip in clips if clip.device == settings.source]
    if not own:
        devices = sorted({clip.device for clip in clips})
        raise SettingsError(
            f"no recordings of {settings.source!r} in split {CLASSIFIER_SPLIT}",
            f"{guess(settings.source, devices)}there are recordings of: {', '.join(devices) or 'none'}; add some, or "
            "name another --source",
        )
    held_out = held_out_recordings(own, settings.held_out_share)
    unknown = sorted(set(settings.targets) - {clip.device for clip in clips}) if plan.is_ideal else []
    if unknown and not means_all(settings.targets):
        raise SettingsError(
            f"no recordings of {', '.join(unknown)} in split {CLASSIFIER_SPLIT}, which ideal would learn from",
            guess(unknown[0], {clip.device for clip in clips}) + "name devices with recordings with --targets",
        )
    of_targets = [clip for clip in clips if means_all(settings.targets) or clip.device in settings.targets]
    foreign = [clip for clip in of_targets if clip.device != settings.source] if plan.is_ideal else []
    train = [clip for clip in [*own, *foreign] if clip.recording not in held_out]
    validated = [clip for clip in own if clip.recording in held_out]
    warnings = list(everything.warnings)
    alone = sorted({clip.label for clip in validated} - {clip.label for clip in train})
    if alone:
        # All of a label's recordings were held out: it must be trained on.
        warnings.append(f"labels with too few recordings are trained on but not validated: {', '.join(alone)}")
        train += [clip for clip in validated if clip.label in alone]
        validated = [clip for clip in validated if clip.label not in alone]
    classes = tuple(sorted({clip.label for clip in train}))
    if len(classes) < 2:
        raise SettingsError(
            f"the recordings of {settings.source} to train on have one label: {', '.join(classes)}",
            "a classifier needs at least two labels in split train-sec",
        )
    unheard = sorted(set(classes) - {clip.label for clip in own})
    if unheard:
        warnings.append(f"labels that {settings.source} did not record: {', '.join(unheard)}")
    return _Chosen(train, validated, classes, warnings)


def _check_shards(settings: TrainSecSettings, plan: MethodPlan) -> None:
    """Refuse to read conversions from shards where something else is asked for that they cannot give."""
    if settings.shards is None:
        return
    if not plan.conversion:
        raise SettingsError(
            f"method {settings.method} converts nothing", "leave --shards out, or name a method that does"
        )
    if plan.of_waveforms:
        raise SettingsError(
            f"{' and '.join(plan.of_waveforms)} cannot alter samples that are converted already, in {settings.shards}",
            "leave --shards out, to convert what was altered, or take it out of --method",
        )
    if settings.checkpoint:
        raise SettingsError(
            f"the shards in {settings.shards} are converted already: --checkpoint has no effect",
            "leave --checkpoint or --shards out",
        )
    if settings.invented is not None and plan.conversion == "unified-synth":
        raise SettingsError(
            f"the shards in {settings.shards} are converted already: no device is invented",
            "leave --invented or --shards out",
        )


def _check_targets(
    registry: DeviceRegistry, settings: TrainSecSettings, plan: MethodPlan, everything: Recordings
) -> None:
    """Refuse targets that are no device, whatever the method makes of them, and those that the method cannot use."""
    if plan.conversion == "adapt" and (len(settings.targets) != 1 or means_all(settings.targets)):
        raise SettingsError("adapt adapts to one device", "name it with --targets")
    if means_all(settings.targets) or settings.shards:
        return
    known = {*registry.ids(), *(clip.device for clip in everything.clips)}
    for target in settings.targets:
        if target not in known and not names_invented([target]):
            raise unknown_device(target, known)
        if "dir" in plan.augmentations and target not in registry and target != settings.source:
            raise SettingsError(
                f"dir lacks a device record of {target}",
                "measure it (umc measure-ir), or leave it out of --targets",
            )


def _stores(folder: Path, chosen: _Chosen, settings: TrainSecSettings, plan: MethodPlan) -> list[SegmentStore]:
    """Return the store of the spectrograms and, where a method wants them, that of the waveforms."""
    place, workers = folder / _SEGMENTS_NAME, settings.workers or reader_threads()
    parts = {_TRAIN: chosen.train, _HELD_OUT: chosen.held_out}
    stores = [store_segments(place, parts, settings.segments, workers)]
    if plan.of_waveforms:
        stores.append(store_segments(place, {_TRAIN: chosen.train}, settings.segments, workers, "waveform"))
    return stores


def _segments(stores: Sequence[SegmentStore], part: str, clips: Sequence[Clip], classes: Sequence[str]) -> SecSegments:
    spectrograms = stores[0].parts[part]
    labels = label_indices([clips[number].label for number in spectrograms.clip.tolist()], classes)
    waveforms = stores[1].parts[part].segments if len(stores) > 1 else None
    return SecSegments(spectrograms.segments, labels, waveforms)


def _check_segments(train: SecSegments, held_out: SecSegments, chosen: _Chosen, settings: TrainSecSettings) -> None:
    if not len(held_out):
        raise SettingsError(
            f"no segment of {settings.source} is held out to choose the best weights by",
            "add recordings to the split train-sec, or raise --held-out-share",
        )
    empty = [name for number, name in enumerate(chosen.classes) if number not in train.label]
    if empty:
        raise SettingsError(
            f"no segment of label {empty[0]!r} could be read", "fix its recordings, or remove the label"
        )


def _mean_and_std(store: SegmentStore, source: str) -> tuple[float, float]:
    known = mean_and_std([store.moments[_TRAIN]])
    if known is None:
        raise SettingsError(f"the recordings of {source} hold no sound that could be learned from", "check them")
    return known


def _conversion(
    workspace: Workspace,
    settings: TrainSecSettings,
    method: str,
    everything: Recordings,
    folder: Path,
    chosen: _Chosen,
    store: SegmentStore,
    torch_device: torch.device,
) -> OnTheFlyConversions | ShardConversions:
    if settings.shards:
        trained = store.parts[_TRAIN]
        paths = [planned_path(clip.file, workspace.root) for clip in chosen.train]
        return open_shard_conversions(
            settings.shards,
            folder,
            settings.source,
            settings.targets,
            converters_of(method, settings.converter),
            method == "mc",
            [
                TrainedSegment(chosen.train[number].recording, paths[number], start)
                for number, start in zip(trained.clip.tolist(), trained.start.tolist(), strict=True)
            ],
        )
    conversion_settings = _conversion_settings(settings, str(torch_device))
    return choose_sec_conversion(
        workspace, method, conversion_settings, everything, folder, settings.invented or N_INVENTED, chosen.warnings
    )


def _conversion_settings(settings: TrainSecSettings, device_name: str) -> ConversionSettings:
    shared = {name: getattr(settings, name) for name in ("source", "targets", "converter", "checkpoint")}
    return ConversionSettings(**shared, compute_device=device_name)


def _material(
    workspace: Workspace, settings: TrainSecSettings, everything: Recordings, mean_db: float, std_db: float
) -> AugmentationMaterial:
    """Return what augmentations may know: the responses of the targets, never of devices that are not named."""
    registry = DeviceRegistry(workspace.devices)
    is_all = means_all(settings.targets)
    names = registry.others(settings.source, recorded_devices(everything)) if is_all else settings.targets
    known = [registry.get(name) for name in names if name in registry and name != settings.source]
    source = registry.get(settings.source) if settings.source in registry else None
    return AugmentationMaterial(
        responses_db=np.array([device.frequency_response_db for device in known]).reshape(-1, N_BANDS),
        mean_db=mean_db,
        std_db=std_db,
        source_response_db=np.array(source.frequency_response_db) if source else None,
    )
