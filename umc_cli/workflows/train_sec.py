"""`umc train-sec`: one device's recordings become a classifier of sound events that is to survive other devices."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from umc_cli.audio.feature_settings import segment_shape
from umc_cli.audio.manifest import Clip, Recordings, find_recordings
from umc_cli.config import Workspace, load_settings, means_all
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.known import recorded_devices
from umc_cli.conversion.chosen.targets import Targets, names_invented, read_targets
from umc_cli.conversion.drawn_differences import DrawnConversions
from umc_cli.errors import SettingsError, guess
from umc_cli.response.device import DeviceRegistry, check_device_id
from umc_cli.runtime import explain_machine_faults, training_precision, versions
from umc_cli.sec.audio_conversions import AudioConversions, check_audio_folder, open_audio_conversions
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
from umc_cli.shards.schema import find_shards
from umc_cli.splits import TRAIN, VAL
from umc_cli.training.folder import load_over_preset, note_start, run_path, settle_run, shared_run
from umc_cli.training.held_out import held_out_recordings
from umc_cli.training.ranks import reader_threads
from umc_cli.training.run import RunResult, check_not_passed, run_training
from umc_cli.training.segment_store import SegmentStore, mean_and_std, store_segments
from umc_cli.workflows.sec_conversion import (
    N_INVENTED,
    OnTheFlyConversions,
    WaveformConversions,
    choose_generator,
    choose_sec_conversion,
    converters_of,
    on_the_fly,
)
from umc_cli.workflows.sec_material import augmentation_material
from umc_cli.workflows.sec_request import check_lengths, check_request, conversion_request, draws_differences
from umc_cli.workflows.train import TrainProgress, TrainReport, of_result

SampleConversions = OnTheFlyConversions | DrawnConversions | WaveformConversions | ShardConversions | AudioConversions

KIND = "sec"

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
    return load_over_preset(request, workspace, SECTION, given, SEC_PRESETS, KIND)


def _no_source(workspace: Workspace) -> SettingsError:
    clips = find_recordings(workspace.data, workspace.splits).clips if workspace.data.is_dir() else ()
    devices = ", ".join(sorted({clip.device for clip in clips if clip.role == TRAIN})) or "no device"
    return SettingsError(
        "no source is given",
        f"name the device whose recordings to train on with --source; there are recordings in split {TRAIN} "
        f"of: {devices}",
    )


@explain_machine_faults("lower --batch-size")
def train_sec(workspace: Workspace, settings: TrainSecSettings, progress: TrainProgress) -> TrainReport:
    """Train a classifier on the split `train` of the source, or resume a run.

    Raises:
        SettingsError: wrong settings or data, something that the method needs is missing, a run that would be
            replaced, or a loss that is not finite.
        EnvironmentFault: the run's folder cannot be written, or another run is writing it.
    """
    workspace = settings.applied_to(workspace)
    folder = run_path(workspace, settings.run_name)
    plan = parse_method(settings.method)
    check_method_settings(settings.method_settings)
    check_request(workspace, settings, plan)
    recordings = find_recordings(workspace.data, workspace.splits)
    targets = _read_targets(workspace, settings, plan, recordings)
    chosen = _choose(recordings, settings, plan, targets)
    check_lengths(chosen.train, settings.cut, chosen.warnings)
    if settings.keep == "best" and not settings.held_out_share and not chosen.held_out:
        raise SettingsError(
            "no recordings are held out to choose the best weights by",
            "hold some out (--held-out-share), or take the last weights (--keep last)",
        )
    parts = network_parts(plan.augmentations, settings.method_settings)
    with torch.random.fork_rng(devices=[]):
        build_backbone(  # refuses, before the work
            settings.backbone, len(chosen.classes), parts.after_stages(0.0, 1.0), segment_shape(settings.cut)
        )
    conversions = _choose_conversions(workspace, settings, plan, recordings)
    with shared_run(folder, settings.compute_device) as (ranks, torch_device):
        with ranks.first_then_others():
            run_id = ""
            if ranks.is_first:
                run_id = settle_run(folder, settings)
                check_not_passed(folder, settings)
                progress.preparing(len(chosen.train) + len(chosen.held_out))
            stores = _stores(folder, chosen, settings, plan)
            mean_db, std_db = _mean_and_std(stores[0], settings.source)
            converter: SampleConversions | None = None
            if plan.conversion and settings.shards:
                converter = _read_conversions(workspace, settings, settings.shards, plan, chosen, stores[0], folder)
            elif plan.conversion:
                converter = on_the_fly(
                    plan.conversion,
                    conversions,
                    recordings,
                    folder,
                    torch_device,
                    chosen.warnings,
                    settings.features,
                )
            batches = TrainingBatches(
                segments=_segments(stores, _TRAIN, chosen.train, chosen.classes, settings),
                n_classes=len(chosen.classes),
                batch_size=settings.batch_size,
                seed=settings.seed,
                alterations=sample_alterations(
                    plan.augmentations,
                    settings.method_settings,
                    augmentation_material(workspace, settings, targets, mean_db, std_db),
                ),
                converter=converter,
                converted_share=settings.converted_share,
                ranks=ranks,
            )
            held_out = _segments(stores[:1], _HELD_OUT, chosen.held_out, chosen.classes, settings)
            _check_segments(batches.segments, held_out, chosen, settings)
            network = SecNetworkSettings(
                backbone=settings.backbone,
                classes=chosen.classes,
                mean_db=mean_db,
                std_db=std_db,
                source=settings.source,
                method=settings.method,
                parts=parts,
                features=settings.features,
            )
            training = SecTraining(settings, network, batches, held_out, torch_device, ranks)
            converted_by = _converted_by(converter)
            if ranks.is_first:
                check_not_passed(folder, settings, training.steps_per_epoch)
                fingerprint = hash_of([stores[0].fingerprint, converted_by])
                note_start(folder, run_id, KIND, settings.of_the_run(), fingerprint, stores[0].content_sha256)
        about = {
            "run_id": run_id,
            "name": settings.run_name,
            "settings": settings.of_the_run(),
            "recordings_sha256": stores[0].fingerprint,
            "versions": versions(),
            "shares": dict(workspace.splits.shares),
            **converted_by,
        }
        result = run_training(folder, training, settings, about, progress, ranks, settings.keep)
    report = _report(folder, settings, chosen, stores[0], len(held_out), result)
    report.precision = training_precision(settings.precision, torch_device).value
    report.segments_per_s = batches.n_seen(result.n_steps) / result.seconds if result.seconds else 0.0
    report.best_score = result.best_row.get("validation_macro_f1")
    report.weights = getattr(converter, "weights", None)
    return report


def _converted_by(converter: SampleConversions | None) -> dict[str, Any]:
    """Return what the run and its weights say of the conversion."""
    if converter is None:
        return {"converter": None, "targets": [], "made_with": {}}
    return {
        "converter": converter.converter,
        "targets": list(converter.targets),
        "made_with": dict(converter.made_with),
    }


def _report(
    folder: Path,
    settings: TrainSecSettings,
    chosen: _Chosen,
    store: SegmentStore,
    n_held_out: int,
    result: RunResult,
) -> TrainReport:
    n_segments = Counter(chosen.train[number].device for number in store.parts[_TRAIN].clip.tolist())
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
        failed=list(store.failed),
        warnings=chosen.warnings,
    )


def _read_targets(
    workspace: Workspace, settings: TrainSecSettings, plan: MethodPlan, recordings: Recordings
) -> Targets:
    """Return the devices that `ideal` and augmentations learn from; those of a conversion are chosen with it.

    Raises:
        SettingsError: a target is not a device, whatever the method does with it, or the method cannot use it.
    """
    is_all = means_all(settings.targets)
    if plan.conversion == "adapt" and (is_all or len(settings.targets) != 1):
        raise SettingsError("adapt adapts to one device", "name it with --targets")
    registry = DeviceRegistry(workspace.devices)
    recorded = {clip.device for clip in recordings.clips if clip.role == TRAIN}
    lacking = sorted(set(settings.targets) - recorded) if plan.is_ideal and not is_all else []
    if lacking:
        raise SettingsError(
            f"no recordings of {', '.join(lacking)} in split {TRAIN}, which ideal would learn from",
            guess(lacking[0], recorded) + "name devices with recordings with --targets",
        )
    named = [name for name in settings.targets if name != settings.source and not names_invented([name])]
    every = recorded if plan.is_ideal else registry.others(settings.source, recorded_devices(recordings))
    known = {*registry.ids(), *(clip.device for clip in recordings.clips), *(named if settings.shards else ())}
    targets = read_targets(named, settings.source, every, known) if named else Targets((), is_all=False)
    if "dir" in plan.augmentations and not is_all and not settings.shards:
        for target in settings.targets:
            if target not in registry and target != settings.source:
                raise SettingsError(
                    f"dir lacks a device record of {target}",
                    "measure it (umc measure-ir), or leave it out of --targets",
                )
    return targets


def _choose(recordings: Recordings, settings: TrainSecSettings, plan: MethodPlan, targets: Targets) -> _Chosen:
    check_device_id(settings.source)
    clips = sorted((clip for clip in recordings.clips if clip.role == TRAIN), key=lambda clip: clip.file)
    own = [clip for clip in clips if clip.device == settings.source]
    if not own:
        devices = sorted({clip.device for clip in clips})
        raise SettingsError(
            f"no recordings of {settings.source!r} in split {TRAIN}",
            f"{guess(settings.source, devices)}there are recordings of: {', '.join(devices) or 'none'}; add some, or "
            "name another --source",
        )
    of_val = [clip for clip in recordings.clips if clip.device == settings.source and clip.role == VAL]
    held_out = frozenset() if of_val else held_out_recordings(own, settings.held_out_share)
    foreign = [clip for clip in clips if plan.is_ideal and clip.device in targets.ids]
    train = [clip for clip in [*own, *foreign] if clip.recording not in held_out]
    validated = sorted(of_val, key=lambda clip: clip.file) or [clip for clip in own if clip.recording in held_out]
    warnings = list(recordings.warnings)
    alone = sorted({clip.label for clip in validated} - {clip.label for clip in train})
    if alone and of_val:
        warnings.append(f"labels in split {VAL} that nothing is trained on are left out: {', '.join(alone)}")
        validated = [clip for clip in validated if clip.label not in alone]
    elif alone:
        # All of a label's recordings were held out: it must be trained on.
        warnings.append(f"labels with too few recordings are trained on but not validated: {', '.join(alone)}")
        train += [clip for clip in validated if clip.label in alone]
        validated = [clip for clip in validated if clip.label not in alone]
    classes = tuple(sorted({clip.label for clip in train}))
    if len(classes) < 2:
        raise SettingsError(
            f"the recordings of {settings.source} to train on have one label: {', '.join(classes)}",
            "a classifier needs at least two labels in split train",
        )
    if settings.keep == "best" and not settings.held_out_share and not of_val:
        raise SettingsError(
            "no recordings are held out to choose the best weights by",
            f"hold some out (--held-out-share), put some into split {VAL}, or take the last weights (--keep last)",
        )
    unheard = sorted(set(classes) - {clip.label for clip in own})
    if unheard:
        warnings.append(f"labels that {settings.source} did not record: {', '.join(unheard)}")
    return _Chosen(train, validated, classes, warnings)


def _stores(folder: Path, chosen: _Chosen, settings: TrainSecSettings, plan: MethodPlan) -> list[SegmentStore]:
    """Return the store of the features and, where a method or a conversion wants them, that of the waveforms."""
    place, workers = folder / _SEGMENTS_NAME, settings.workers or reader_threads()
    parts = {_TRAIN: chosen.train, _HELD_OUT: chosen.held_out}
    stores = [store_segments(place, parts, settings.cut, workers)]
    if plan.of_waveforms or (settings.features and plan.conversion and not settings.shards):
        stores.append(store_segments(place, {_TRAIN: chosen.train}, settings.cut, workers, "waveform"))
    return stores


def _segments(
    stores: Sequence[SegmentStore], part: str, clips: Sequence[Clip], classes: Sequence[str], settings: TrainSecSettings
) -> SecSegments:
    spectrograms = stores[0].parts[part]
    labels = label_indices([clips[number].label for number in spectrograms.clip.tolist()], classes)
    waveforms = stores[1].parts[part].segments if len(stores) > 1 else None
    return SecSegments(spectrograms.segments, labels, waveforms, settings.cut)


def _check_segments(train: SecSegments, held_out: SecSegments, chosen: _Chosen, settings: TrainSecSettings) -> None:
    if settings.keep == "best" and not len(held_out):
        raise SettingsError(
            f"no segment of {settings.source} is held out to choose the best weights by",
            "add recordings to the split train, or raise --held-out-share",
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


def _choose_conversions(
    workspace: Workspace, settings: TrainSecSettings, plan: MethodPlan, recordings: Recordings
) -> tuple[Conversion, ...]:
    """Return what samples are converted with; none where they are not, or where conversions are read from shards."""
    if plan.conversion is None:
        return ()
    request = conversion_request(settings, plan)
    if settings.shards:
        converters_of(plan.conversion, request.converter)
        _ = check_audio_folder(settings.shards) if settings.features else find_shards(settings.shards)
        return ()
    if draws_differences(settings, plan):
        return (choose_generator(workspace, request),)
    return choose_sec_conversion(workspace, plan.conversion, request, recordings, settings.invented or N_INVENTED)


def _read_conversions(
    workspace: Workspace,
    settings: TrainSecSettings,
    shards: Path,
    plan: MethodPlan,
    chosen: _Chosen,
    store: SegmentStore,
    folder: Path,
) -> ShardConversions | AudioConversions:
    trained = store.parts[_TRAIN]
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
