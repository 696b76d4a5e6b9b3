"""`umc train --pretrain simulated`: a user's own clips, played to simulated devices, become a refiner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.files import read_header, read_samples
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.audio.manifest import Clip, FailedInput, find_recordings, for_converters
from umc_cli.config import Workspace, load_settings
from umc_cli.conversion.converter_training.pretraining import RefinerPretraining
from umc_cli.conversion.converter_training.pretraining_settings import PRETRAINING_PRESETS
from umc_cli.conversion.converter_training.pretraining_world import WorldSettings, WorldSource, make_training_world
from umc_cli.conversion.converter_training.publication import FinishedRun, Publication, Rival, publish
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.errors import InputError, SettingsError
from umc_cli.precision import Precision
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults
from umc_cli.settings.pretrain import SECTION, PretrainSettings
from umc_cli.shards.plan import hash_of
from umc_cli.shards.run_folder import locked
from umc_cli.simulation.simulated_device import Waveform
from umc_cli.splits import FOR_CONVERTERS
from umc_cli.training.folder import load_over_preset, note_start, run_path, settle_run
from umc_cli.training.run import check_not_passed, run_training
from umc_cli.training.schedule import ScheduleSettings
from umc_cli.training.torchrun import refuse_several
from umc_cli.workflows.train import TrainProgress, TrainReport, of_result

SIMULATED = "simulated"
KIND = "refiner"
REFINER_NAME = "refiner.safetensors"

LONGEST_S = 10
"""Of each recording, so many seconds are played."""
_MOST_SOUNDS = 2_000
"""Up to 1.8 GB of waveforms."""
_FEWEST_SOUNDS = 10
_VALIDATION_SEED = 1_000_000


def load_pretrain_settings(workspace: Workspace, material: str, given: Mapping[str, Any]) -> PretrainSettings:
    """Return the settings of a call: `given`, environment and umc.toml over the preset, or over the run to resume.

    `material`: `simulated`. `given` may hold None for settings that were not given, and `epochs` for `n_worlds`.

    Raises:
        SettingsError: the material or preset is unknown, a setting does not belong to pretraining, a value is not
            allowed, or there is no run to resume.
    """
    if material != SIMULATED:
        raise SettingsError(f"cannot pretrain on {material!r}", f"use --pretrain {SIMULATED}")
    given = {"n_worlds" if name == "epochs" else name: value for name, value in given.items() if value is not None}
    foreign = [name for name in given if name not in PretrainSettings.model_fields]
    if foreign:
        option = f"--{foreign[0].replace('_', '-')}"
        raise SettingsError(f"{option} has no effect with --pretrain", "see docs/commands/train.md, leave it out")
    request = load_settings(PretrainSettings, workspace, SECTION, given, is_whole=False)
    return load_over_preset(request, workspace, SECTION, given, PRETRAINING_PRESETS, KIND, "--pretrain")


@dataclass(frozen=True)
class WhatToPretrain:
    """What a refiner learns from, before anything is read."""

    devices: tuple[Device, ...]
    """Whose responses worlds are drawn from."""
    sounds: list[Clip]
    held_out: list[Clip]
    fewest_held_out: int
    start: Refiner | None
    size: WorldSettings
    schedule: ScheduleSettings
    failed: tuple[FailedInput, ...]
    """What the data folder holds that could not even be chosen."""
    warnings: tuple[str, ...]

    @property
    def responses_db(self) -> NDArray[np.float64]:
        """Return the responses. Shape: [devices, 128]."""
        return np.array([device.frequency_response_db for device in self.devices])

    @property
    def fingerprint(self) -> str:
        """Return what a run remembers of recordings and devices."""
        clips = [*self.held_out, *self.sounds]
        return hash_of([[repr(clip.recording) for clip in clips], self.responses_db.tolist()])

    def check_sounds(self, n_sounds: int, n_held_out: int, workspace: Workspace) -> None:
        """Refuse too few sounds that could be read.

        Raises:
            SettingsError: saying how many there are.
        """
        if n_sounds < _FEWEST_SOUNDS or n_held_out < self.fewest_held_out:
            raise _too_few(n_sounds + n_held_out, workspace)


def choose_what_to_pretrain(workspace: Workspace, settings: PretrainSettings) -> WhatToPretrain:
    """Return what `settings` mean.

    Raises:
        SettingsError: there are too few recordings, or the weights to begin with are of another size.
    """
    registry = DeviceRegistry(workspace.devices)
    found = find_recordings(workspace.data, workspace.splits)
    clips = _one_a_recording(found.clips)
    if len(clips) <= _FEWEST_SOUNDS:
        raise _too_few(len(clips), workspace)
    # A wide world learns from one half of its sounds what it knows for the other one.
    fewest_held_out = 2 if settings.family == "wide" else 1
    n_held_out = max(fewest_held_out, round(settings.held_out_share * len(clips)))
    return WhatToPretrain(
        devices=tuple(registry.get(device_id) for device_id in registry.ids_to_learn_from()),
        sounds=clips[n_held_out:],
        held_out=clips[:n_held_out],
        fewest_held_out=fewest_held_out,
        start=_starting_weights(settings),
        size=WorldSettings(settings.devices_per_world, settings.sounds_per_world, settings.family),
        schedule=ScheduleSettings(
            epochs=settings.n_worlds,
            max_steps=settings.max_steps,
            log_every=settings.log_every,
            validate_every=settings.validate_every,
            save_every=settings.save_every,
        ),
        failed=found.failed,
        warnings=found.warnings,
    )


@explain_machine_faults("lower --batch-size")
def train_refiner(workspace: Workspace, settings: PretrainSettings, progress: TrainProgress) -> TrainReport:
    """Train a refiner on the sounds that converters may learn from and the responses that the workspace knows.

    Raises:
        SettingsError: wrong settings, too few sounds, a run that would be replaced, or a loss that is not finite.
        EnvironmentFault: the run's folder cannot be written, or another run is writing it.
    """
    refuse_several("umc train --pretrain")
    folder = run_path(workspace, settings.run_name)
    torch_device = compute_device(settings.compute_device)
    wanted = choose_what_to_pretrain(workspace, settings)
    responses_db = wanted.responses_db
    with locked(folder), compute_threads(pretraining_processors()):
        run_id = settle_run(folder, settings)
        check_not_passed(folder, wanted.schedule)
        progress.preparing(len(wanted.sounds) + len(wanted.held_out))
        failed: list[FailedInput] = []
        held_out, held_out_labels = read_sounds(wanted.held_out, failed)
        sounds, labels = read_sounds(wanted.sounds, failed)
        wanted.check_sounds(len(sounds), len(held_out), workspace)
        validation = make_training_world(
            held_out, responses_db, wanted.size, validation_seed(settings), held_out_labels
        )
        note_start(folder, run_id, KIND, settings.of_the_run(), wanted.fingerprint)
        about = {"run_id": run_id, "name": settings.run_name}
        workers = settings.workers or pretraining_processors()
        with WorldSource(
            sounds, responses_db, wanted.size, seed=settings.seed, workers=workers, groups=labels
        ) as worlds:
            training = RefinerPretraining(settings, worlds, validation, wanted.start, torch_device)
            result = run_training(folder, training, wanted.schedule, about, progress)
        publication = Publication()
        if result.is_finished:
            targets = {"best.safetensors": workspace.checkpoints / REFINER_NAME}
            finished = FinishedRun(folder, run_id, settings.preset, result.best_score, targets)
            rival = _rival(targets["best.safetensors"], training)
            publication = publish(finished, settings.publish, rival)
        return TrainReport(
            name=settings.run_name,
            folder=str(folder),
            mode=KIND,
            devices=[device.id for device in wanted.devices],
            precision=pretraining_precision(settings).value,
            n_segments={SIMULATED: len(sounds)},
            n_held_out={SIMULATED: len(held_out)},
            **of_result(result, settings.batch_size),
            published=publication.paths,
            publication=publication.reason,
            failed=[*wanted.failed, *failed],
            warnings=list(wanted.warnings),
        )


def pretraining_processors() -> int:
    """Return how many threads a training step has, and how many processes simulate."""
    return max(1, cpu_count() - 1)


def pretraining_precision(settings: PretrainSettings) -> Precision:
    """Return what a training step computes in."""
    return Precision.BF16 if settings.bf16 else Precision.FP32


def validation_seed(settings: PretrainSettings) -> int:
    """Return the seed of the world that is validated on, far from those of the worlds that are trained on."""
    return settings.seed + _VALIDATION_SEED


def _too_few(n_sounds: int, workspace: Workspace) -> SettingsError:
    return SettingsError(
        f"only {n_sounds} sounds in split {FOR_CONVERTERS} of {workspace.data}",
        f"pretraining needs at least {_FEWEST_SOUNDS} to train on and one to validate on",
    )


def _rival(there: Path, training: RefinerPretraining) -> Rival:
    """Return the refiner that `umc convert` takes now: the workspace's, else the package's."""
    path = there if there.exists() else SHIPPED_REFINER
    return Rival([path], lambda: training.score_of(load_refiner(path).refiner))


def _starting_weights(settings: PretrainSettings) -> Refiner | None:
    if settings.start is None:
        return None
    refiner = load_refiner(settings.start).refiner
    if refiner.settings != settings.refiner:
        raise SettingsError(
            f"{settings.start} holds a refiner of widths {refiner.settings.widths}, this run trains "
            f"{settings.refiner.widths}",
            "choose the preset it was trained with, or start from new weights",
        )
    return refiner


def _one_a_recording(clips: Sequence[Clip]) -> list[Clip]:
    """Return one clip of every sound to train on, in an order that says nothing of device or label."""
    first: dict[str, Clip] = {}
    for clip in sorted(for_converters(clips), key=lambda clip: (clip.device, clip.file)):
        first.setdefault(clip.recording, clip)
    return sorted(first.values(), key=lambda clip: hash_of(repr(clip.recording)))[:_MOST_SOUNDS]


def read_sounds(clips: Sequence[Clip], failed: list[FailedInput]) -> tuple[list[Waveform], list[str]]:
    """Return the beginnings of the recordings and their labels; note those that cannot be read."""
    sounds, labels = [], []
    for clip in clips:
        try:
            header = read_header(clip.path)
            sounds.append(read_samples(clip.path, header, 0, min(header.n_samples, LONGEST_S * SAMPLE_RATE_HZ)))
            labels.append(clip.label)
        except InputError as error:
            failed.append(FailedInput(clip.file, error.message, error.hint))
    return sounds, labels
