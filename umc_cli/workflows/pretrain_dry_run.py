"""`umc train --pretrain simulated --dry-run`: what the training of a refiner would do."""

import math
import time
from collections.abc import Sequence

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.config import Workspace
from umc_cli.conversion.converter_training.pretraining import RefinerPretraining
from umc_cli.conversion.converter_training.pretraining_settings import WORLDS_AT_START
from umc_cli.conversion.converter_training.pretraining_world import TrainingWorld, make_training_world
from umc_cli.errors import InputError
from umc_cli.runtime import compute_device, compute_threads, explain_machine_faults
from umc_cli.settings.pretrain import PretrainSettings
from umc_cli.training.folder import check_same_recordings, run_path
from umc_cli.training.torchrun import refuse_several
from umc_cli.workflows.pretrain import (
    KIND,
    LONGEST_S,
    REFINER_NAME,
    SIMULATED,
    choose_what_to_pretrain,
    pretraining_precision,
    pretraining_processors,
    read_sounds,
    validation_seed,
)
from umc_cli.workflows.training_dry_run import (
    Beside,
    PlanningProgress,
    TrainingDryRun,
    all_failed,
    begin,
    estimate,
)

_FEWEST_TRIED = 20


class _OneWorld:
    """Gives the same world for all; see `pretraining.Worlds`."""

    def __init__(self, world: TrainingWorld) -> None:
        self._world = world

    def get(self, number: int) -> TrainingWorld:
        return self._world


@explain_machine_faults("lower --batch-size")
def pretrain_dry_run(workspace: Workspace, settings: PretrainSettings, progress: PlanningProgress) -> TrainingDryRun:
    """Return what `train_refiner` would do. Writes to a temporary folder only.

    Raises:
        SettingsError: what `train_refiner` would refuse.
        EnvironmentFault: the run's folder cannot be made.
    """
    started = time.monotonic()
    refuse_several("umc train --pretrain")
    folder = run_path(workspace, settings.run_name)
    wanted = choose_what_to_pretrain(workspace, settings)
    torch_device = compute_device(settings.compute_device)
    devices = [device.id for device in wanted.devices]
    precision = pretraining_precision(settings).value
    report = begin(folder, settings, wanted.schedule, KIND, devices, precision, str(torch_device))
    if report.run == "resumed":
        check_same_recordings(folder, wanted.fingerprint)
    report.count_splits([*wanted.sounds, *wanted.held_out])
    progress.planning(report.n_files)
    unreadable: list[FailedInput] = []
    sounds, sounds_s = _readable(wanted.sounds, unreadable)
    held_out, held_out_s = _readable(wanted.held_out, unreadable)
    wanted.check_sounds(len(sounds), len(held_out), workspace)
    report.sound_s = round(sounds_s + held_out_s, 1)
    report.n_segments, report.n_held_out = {SIMULATED: len(sounds)}, {SIMULATED: len(held_out)}
    report.steps_per_epoch = settings.steps_per_world
    workers = settings.workers or pretraining_processors()
    with compute_threads(pretraining_processors()):
        reading = time.monotonic()
        failed: list[FailedInput] = []
        tried = sounds[: max(settings.sounds_per_world, _FEWEST_TRIED)]
        read, labels = read_sounds(tried, failed)
        read_s = (time.monotonic() - reading) * (len(sounds) + len(held_out)) / len(tried)
        if len(tried) == len(sounds):
            wanted.check_sounds(len(read), len(held_out), workspace)
        making = time.monotonic()
        with compute_threads(1):
            world = make_training_world(read, wanted.responses_db, wanted.size, validation_seed(settings), labels)
        world_s = time.monotonic() - making
        training = RefinerPretraining(settings, _OneWorld(world), world, wanted.start, torch_device)
        # Other processes make the worlds meanwhile.
        a_world_s = world_s / workers
        at_start_s = world_s * (1 + math.ceil(WORLDS_AT_START / workers))
        beside = Beside(read_s + at_start_s, 0, least_step_s=a_world_s / settings.steps_per_world)
        estimate(report, training, wanted.schedule, "best", torch_device, beside)
    report.failed = all_failed(wanted.failed, unreadable, failed)
    report.warnings = [*wanted.warnings, *report.warnings]
    report.publishes = [str(workspace.checkpoints / REFINER_NAME)]
    report.say_when_published(settings.publish)
    report.seconds = time.monotonic() - started
    return report


def _readable(clips: Sequence[Clip], failed: list[FailedInput]) -> tuple[list[Clip], float]:
    """Return the clips whose header can be read, and how many seconds of them are played; note the others."""
    readable, seconds = [], 0.0
    for clip in clips:
        try:
            seconds += min(read_header(clip.path).n_samples / SAMPLE_RATE_HZ, LONGEST_S)
            readable.append(clip)
        except InputError as error:
            failed.append(FailedInput(clip.file, error.message, error.hint))
    return readable, seconds
