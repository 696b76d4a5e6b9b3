"""What `umc train-sec` learns from and how, before anything is read: recordings, labels, method, conversion."""

from collections.abc import Set
from dataclasses import dataclass

import torch

from umc_cli.audio.feature_settings import segment_shape
from umc_cli.audio.manifest import Clip, FailedInput, Recordings, find_recordings, for_converters
from umc_cli.config import Workspace, means_all
from umc_cli.conversion.chosen.choice import AUTO
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.known import recorded_devices
from umc_cli.conversion.chosen.targets import Targets, names_invented, read_targets
from umc_cli.errors import SettingsError, guess
from umc_cli.response.device import DeviceRegistry, check_device_id
from umc_cli.sec.audio_conversions import check_audio_folder
from umc_cli.sec.backbones import build_backbone
from umc_cli.sec.classifier_settings import SEC_PRESETS
from umc_cli.sec.method_parts import NetworkParts, check_method_settings, network_parts
from umc_cli.sec.methods import SELF_TRAINING, MethodPlan, parse_method
from umc_cli.settings.train_sec import TrainSecSettings
from umc_cli.shards.updates import find_shards
from umc_cli.splits import FOR_CONVERTERS, TRAIN, VAL
from umc_cli.training.folder import run_path
from umc_cli.training.held_out import held_out_recordings
from umc_cli.training.run_settings import CONVERTER, read_run_settings
from umc_cli.workflows.sec_conversion import N_INVENTED, choose_generator, choose_sec_conversion, converters_of
from umc_cli.workflows.sec_request import check_lengths, check_request, conversion_request, draws_differences


@dataclass(frozen=True)
class ChosenRecordings:
    """The recordings of a run. `warnings` grows while the training is built."""

    train: list[Clip]
    held_out: list[Clip]
    """Of the source alone."""
    unlabeled: list[Clip]
    """Of the targets, for self-training; none without."""
    classes: tuple[str, ...]
    warnings: list[str]
    failed: tuple[FailedInput, ...] = ()
    """What the data folder holds that could not even be chosen."""


@dataclass(frozen=True)
class WhatToTrain:
    """A classifier's training before anything is read: what it learns from, and how."""

    workspace: Workspace
    """With the rules of splits that hold."""
    plan: MethodPlan
    recordings: Recordings
    targets: Targets
    """What `ideal` and augmentations learn from."""
    chosen: ChosenRecordings
    parts: NetworkParts
    conversions: tuple[Conversion, ...]


def choose_what_to_train(workspace: Workspace, settings: TrainSecSettings) -> WhatToTrain:
    """Return what `settings` mean.

    Raises:
        SettingsError: wrong settings or data, or something that the method needs is missing.
    """
    workspace = settings.applied_to(workspace)
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
    return WhatToTrain(workspace, plan, recordings, targets, chosen, parts, conversions)


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


def _choose(recordings: Recordings, settings: TrainSecSettings, plan: MethodPlan, targets: Targets) -> ChosenRecordings:
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
    if of_val and settings.held_out_share != SEC_PRESETS[settings.preset].held_out_share:
        warnings.append(f"--held-out-share has no effect: the recordings in split {VAL} validate")
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
    unlabeled = _unlabeled(recordings, targets, {clip.recording for clip in validated}) if plan.self_trains else []
    return ChosenRecordings(train, validated, unlabeled, classes, warnings, recordings.failed)


def _unlabeled(recordings: Recordings, targets: Targets, validated: Set[str]) -> list[Clip]:
    """Return the targets' recordings that converters may learn from, but not of what is validated on."""
    found = [clip for clip in for_converters(recordings.clips) if clip.device in targets.ids]
    unlabeled = sorted((clip for clip in found if clip.recording not in validated), key=lambda clip: clip.file)
    if not unlabeled:
        raise SettingsError(
            f"{SELF_TRAINING} learns from the targets' own recordings, and there are none in split {FOR_CONVERTERS}",
            "add recordings of the other devices (they need no right labels), or leave it out of --method",
        )
    return unlabeled


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
    begun = read_run_settings(run_path(workspace, settings.run_name)) if settings.resume else None
    if begun and request.converter == AUTO:
        request = request.model_copy(update={"converter": begun.get(CONVERTER, AUTO)})
    n_invented, knows_maps = settings.invented or N_INVENTED, begun is None or CONVERTER in begun
    return choose_sec_conversion(workspace, plan.conversion, request, recordings, n_invented, knows_maps)
