"""A training run and its folder, whatever is trained: settings, metrics, pictures, best and last weights, state.

    runs/<name>/settings.json       what the run was started with
                metrics.csv         one row per logging step
                tensorboard/        the same for TensorBoard, where that is installed
                pictures/           one per validation
                best.safetensors    weights of the best validation, unless the last ones are those that count
                last.safetensors    weights of the last saved state
                state.safetensors   all that going on needs

Everything is written all or nothing. A run that goes on from its state computes what it would have computed without
the interruption.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from umc_cli import atomic_write
from umc_cli.checkpoint import read_checkpoint, read_metadata, write_checkpoint
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.runtime import machine_fault, utc_now
from umc_cli.training.metrics import MetricsWriter
from umc_cli.training.ranks import ONE_PROCESS, Ranks
from umc_cli.training.run_settings import PICTURES_NAME
from umc_cli.training.schedule import ScheduleSettings, WeightsName

STATE_NAME = "state.safetensors"
STATE_KIND = "training-state"
VALIDATION_SCORE = "validation_score"
"""Decides what is best; lower is better."""

_MOST_STEPS_BETWEEN_VALIDATIONS = 500

_BROKEN_STATE = (KeyError, IndexError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError)
"""What `load_state` and its networks, optimisers and random numbers raise at values of another run, or of no run."""


class Training(Protocol):
    """A kind of training, as the run folder sees it."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in which every training segment is seen about once."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of everything that `step` and `validate` return."""
        ...

    def step(self, index: int) -> dict[str, float]:
        """Do step `index` (from 0) and return its named losses; call `check_finite` before any weight changes."""
        ...

    def validate(self) -> dict[str, float]:
        """Measure the present weights; `VALIDATION_SCORE` must be among the results. Draws no random numbers.

        Empty where nothing is held out to measure on.
        """
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors by name and plain JSON values: all that a later `load_state` needs."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Become what `state` was taken of."""
        ...

    def save_weights(self, folder: Path, name: WeightsName, about: Mapping[str, Any]) -> list[Path]:
        """Write the weights that `umc convert` reads to `<folder>/<name>*.safetensors`; `about`: of the run."""
        ...

    def draw(self, path: Path) -> None:
        """Draw conversions of held-out segments."""
        ...


class RunProgress(Protocol):
    """Told how a run goes on, and asked whether it should stop."""

    def start(self, done: int, total: int) -> None:
        """Steps done by earlier runs, and steps in all."""
        ...

    def stepped(self, step: int) -> None:
        """A step is done."""
        ...

    def logged(self, row: Mapping[str, float]) -> None:
        """A row was added to the metrics."""
        ...

    def should_stop(self) -> bool:
        """Tell whether to save the state after this step and end."""
        ...


@dataclass
class RunResult:
    """How far a run got."""

    n_steps: int = 0
    """Steps done, those of earlier runs included."""
    total_steps: int = 0
    seconds: float = 0.0
    """Spent in steps, validations and saving, those of earlier runs included."""
    best_step: int | None = None
    best_score: float | None = None
    """`validation_score` of the best weights."""
    best_row: dict[str, float] = field(default_factory=dict)
    """All that their validation measured."""
    last_row: dict[str, float] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        """Tell whether all steps are done."""
        return self.n_steps >= self.total_steps


class NonFiniteLossError(SettingsError):
    """The training broke down; no weight was changed by the step that did."""


def check_finite(values: Mapping[str, float], index: int) -> None:
    """Refuse to go on with a loss or a gradient norm that is not finite.

    Raises:
        NonFiniteLossError: naming the step (counted from 1, as in metrics.csv) and the loss.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the training diverged at step {index + 1}: {name} is {value}",
                "start a run with a lower --learning-rate; the last saved state is kept, and where the run computes in "
                "bf16 it can be resumed with --precision fp32",
            )


def check_not_passed(folder: Path, schedule: ScheduleSettings, steps_per_epoch: int | None = None) -> None:
    """Refuse, before the work, to resume a run with a schedule that ends before the step that it has reached.

    `steps_per_epoch`: None where it is not known yet; then only `max_steps` is looked at.

    Raises:
        SettingsError: naming the step.
    """
    n_steps, _ = done_so_far(folder)
    if schedule.max_steps is not None and schedule.max_steps < n_steps:
        raise SettingsError(
            f"the run in {folder} has done {n_steps} steps and cannot end at step {schedule.max_steps}",
            f"give --max-steps {n_steps} or more",
        )
    if steps_per_epoch is not None and schedule.epochs * steps_per_epoch < n_steps:
        raise SettingsError(
            f"the run in {folder} has done {n_steps} steps of {steps_per_epoch} an epoch and cannot end after epoch "
            f"{schedule.epochs}",
            f"give --epochs {math.ceil(n_steps / steps_per_epoch)} or more",
        )


def done_so_far(folder: Path) -> tuple[int, float]:
    """Return how many steps the state in `folder` was saved after, and their seconds; 0 if there is none that tells."""
    path = folder / STATE_NAME
    place = read_metadata(path).get("run") if path.exists() else None
    n_steps, seconds = (place.get(name) for name in ("step", "seconds")) if isinstance(place, dict) else (0, 0.0)
    if not isinstance(n_steps, int):
        return 0, 0.0
    return n_steps, float(seconds) if isinstance(seconds, int | float) else 0.0


def total_steps(schedule: ScheduleSettings, steps_per_epoch: int) -> int:
    """Return after how many steps a training ends."""
    steps = schedule.epochs * steps_per_epoch
    return steps if schedule.max_steps is None else min(steps, schedule.max_steps)


def steps_between_validations(schedule: ScheduleSettings, steps_per_epoch: int) -> int:
    """Return after how many steps a training validates."""
    return schedule.validate_every or min(steps_per_epoch, _MOST_STEPS_BETWEEN_VALIDATIONS)


def run_training(
    folder: Path,
    training: Training,
    schedule: ScheduleSettings,
    about: Mapping[str, Any],
    progress: RunProgress,
    ranks: Ranks = ONE_PROCESS,
    keep: WeightsName = "best",
) -> RunResult:
    """Train until the schedule ends or `progress` says stop, from the state in `folder` if there is one.

    `about` goes into the weights' checkpoints, with the step and the scores. The caller holds the folder's lock. Of
    several `ranks` the first one validates and writes; the others only do the steps. `keep`: `last` keeps no weights of
    a best validation.

    Raises:
        NonFiniteLossError: a loss or gradient is not finite; what is in the folder stays.
        SettingsError: the state in the folder is broken.
        EnvironmentFault: the folder cannot be written, or a step met one.
        KeyboardInterrupt: such a step was to be the last one before a stop.
    """
    result = RunResult(total_steps=total_steps(schedule, training.steps_per_epoch))
    validate_every = steps_between_validations(schedule, training.steps_per_epoch)
    sums, n_summed = _go_on(folder, training, result)
    progress.start(result.n_steps, result.total_steps)
    if not ranks.is_first:
        _follow(training, result, progress, ranks)
        return result
    with MetricsWriter(folder, ("step", "epoch", "seconds", *training.columns), result.n_steps) as metrics:
        started = time.monotonic() - result.seconds
        for index in range(result.n_steps, result.total_steps):
            losses = _step(training, index, progress)
            result.n_steps = step = index + 1
            sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
            n_summed += 1
            is_last = step == result.total_steps
            validating = is_last or step % validate_every == 0
            validated = _validate(folder, training, result, about, keep) if validating else {}
            result.seconds = time.monotonic() - started
            if validating or step % schedule.log_every == 0:
                means = {name: total / n_summed for name, total in sums.items()}
                place = {"step": step, "epoch": index // training.steps_per_epoch, "seconds": result.seconds}
                result.last_row = place | means | validated
                metrics.write(result.last_row)
                progress.logged(result.last_row)
                sums, n_summed = {}, 0
            progress.stepped(step)
            stopping = ranks.any(progress.should_stop())
            if is_last or stopping or step % schedule.save_every == 0:
                save_state(folder, training, result, about, sums, n_summed)
            if stopping:
                break
    return result


def _step(training: Training, index: int, progress: RunProgress) -> dict[str, float]:
    try:
        return training.step(index)
    except EnvironmentFault as fault:
        if progress.should_stop():  # Ctrl-C has ended a compiler, too, or another process of the training
            raise KeyboardInterrupt from fault
        raise


def _follow(training: Training, result: RunResult, progress: RunProgress, ranks: Ranks) -> None:
    for index in range(result.n_steps, result.total_steps):
        _step(training, index, progress)
        result.n_steps = index + 1
        if ranks.any(progress.should_stop()):
            break


def _validate(
    folder: Path, training: Training, result: RunResult, about: Mapping[str, Any], keep: WeightsName
) -> dict[str, float]:
    measured = training.validate()
    check_finite(measured, result.n_steps - 1)
    is_best = bool(measured) and (result.best_score is None or measured[VALIDATION_SCORE] < result.best_score)
    if keep == "best" and is_best:
        result.best_step, result.best_score = result.n_steps, measured[VALIDATION_SCORE]
        result.best_row = measured
        training.save_weights(folder, "best", _about(about, result))
    training.draw(folder / PICTURES_NAME / f"step-{result.n_steps:07d}.png")
    return measured


def _about(about: Mapping[str, Any], result: RunResult) -> dict[str, Any]:
    return {
        **about,
        "date": utc_now()[:10],
        "step": result.n_steps,
        "best_step": result.best_step,
        "best_score": result.best_score,
    }


def save_state(
    folder: Path,
    training: Training,
    result: RunResult,
    about: Mapping[str, Any],
    sums: Mapping[str, float],
    n_summed: int,
) -> None:
    """Write the last weights and all that resuming needs; `sums`: losses since the last row of metrics, so many."""
    training.save_weights(folder, "last", _about(about, result))
    tensors, values = training.state()
    place = {
        "step": result.n_steps,
        "seconds": result.seconds,
        "best_step": result.best_step,
        "best_score": result.best_score,
        "best_row": result.best_row,
        "last_row": result.last_row,
        "sums": dict(sums),
        "n_summed": n_summed,
    }
    write_checkpoint(folder / STATE_NAME, tensors, {"kind": STATE_KIND, "run": place, "training": values})


def _numbers(row: Mapping[str, float]) -> dict[str, float]:
    return {str(name): value if isinstance(value, int) else float(value) for name, value in row.items()}


def _go_on(folder: Path, training: Training, result: RunResult) -> tuple[dict[str, float], int]:
    """Load the state in `folder`, if there is one; return the losses summed since the last row, and their number."""
    path = folder / STATE_NAME
    if not path.exists():
        with atomic_write.explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return {}, 0
    checkpoint = read_checkpoint(path)
    if checkpoint.metadata.get("kind") != STATE_KIND:
        raise SettingsError(f"{path} is not a training state", "start again with --overwrite")
    try:
        place = checkpoint.metadata["run"]
        if int(place["step"]) < result.total_steps:  # else nothing is left to do with it
            training.load_state(checkpoint.tensors, checkpoint.metadata["training"])
        found = RunResult(
            n_steps=int(place["step"]),
            total_steps=result.total_steps,
            seconds=float(place["seconds"]),
            best_step=None if place["best_step"] is None else int(place["best_step"]),
            best_score=None if place["best_score"] is None else float(place["best_score"]),
            best_row=_numbers(place.get("best_row", {})),
            last_row=_numbers(place["last_row"]),
        )
        if found.n_steps < 0:
            raise ValueError(f"it is of step {found.n_steps}")
        vars(result).update(vars(found))
        return _numbers(place["sums"]), int(place["n_summed"])
    except _BROKEN_STATE as error:
        if fault := machine_fault(error, "lower --batch-size"):
            raise fault from error
        raise SettingsError(
            f"training state {path} does not belong to these networks: {error}", "start again with --overwrite"
        ) from error
