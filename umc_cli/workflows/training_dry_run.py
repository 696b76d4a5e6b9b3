"""`--dry-run` of a training: what it would read, train and keep, how long it takes and how much room it needs.

A few steps are done on a sample of the recordings, in a temporary folder, by a network that is thrown away.
"""

import math
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.errors import EnvironmentFault
from umc_cli.training.folder import run_to_resume
from umc_cli.training.metrics import METRICS_NAME
from umc_cli.training.run import (
    STATE_NAME,
    RunResult,
    Training,
    check_not_passed,
    done_so_far,
    save_state,
    steps_between_validations,
    total_steps,
)
from umc_cli.training.run_options import RunSettings
from umc_cli.training.run_settings import PICTURES_NAME, SETTINGS_NAME
from umc_cli.training.schedule import ScheduleSettings, WeightsName
from umc_cli.workflows.report_base import Report

STEPS_TIMED = 5
_LONGEST_S = 20.0
"""Of the steps that are timed; one is always done."""


class PlanningProgress(Protocol):
    """Told what is read, for people who wait."""

    def planning(self, n_files: int) -> None:
        """Headers are about to be read."""
        ...


@dataclass
class TrainingDryRun(Report):
    """What a training would do."""

    name: str
    folder: str
    mode: str
    """`unified`, `pair`, `refiner` or the method of a classifier."""
    devices: list[str]
    run: str
    """`new`, `resumed` or `replaced`."""
    precision: str
    compute_device: str
    splits: dict[str, int] = field(default_factory=dict)
    """Recordings by the split that they are of."""
    n_files: int = 0
    sound_s: float = 0.0
    """Seconds of sound in the recordings."""
    n_segments: dict[str, int] = field(default_factory=dict)
    """To train on, by device; of a refiner the sounds, as `simulated`."""
    n_held_out: dict[str, int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    """Of a classifier."""
    converter: str | None = None
    """What samples are converted by, and to which devices."""
    targets: list[str] = field(default_factory=list)
    weights: str | None = None
    n_steps: int = 0
    """Done by the run that is resumed."""
    total_steps: int = 0
    steps_per_epoch: int = 0
    files: list[str] = field(default_factory=list)
    """What would be in the folder."""
    publishes: list[str] = field(default_factory=list)
    """Where the weights that count would go."""
    publication: str = ""
    """When they go there."""
    estimated_seconds: float = 0.0
    seconds_per_step: float = 0.0
    """Validations and saving not counted, where steps were timed."""
    n_timed: int = 0
    """Steps that were timed; 0: the seconds are those of the run so far."""
    estimated_bytes: int = 0
    checkpoint_bytes: int = 0
    """Of these: weights and state."""
    free_bytes: int = 0
    """Where the folder is."""
    memory_bytes: int | None = None
    """At most, in the steps that were timed: of the process, or of the GPU."""
    dry_run: bool = True

    def count_splits(self, clips: Iterable[Clip]) -> None:
        """Note how many recordings are read, and of which splits."""
        splits = Counter(clip.role for clip in clips)
        self.splits = {split: splits[split] for split in sorted(splits)}
        self.n_files = sum(splits.values())

    def say_when_published(self, publish: bool | None) -> None:
        """Note when the weights go to the workspace's checkpoints."""
        if publish is False:
            self.publishes, self.publication = [], "weights stay in the run's folder (--no-publish)"
        else:
            self.publication = "always (--publish)" if publish else "if they are better than those in use"


@dataclass(frozen=True)
class Beside:
    """What a run needs beside its steps."""

    read_s: float
    """Seconds before the first step."""
    stored_bytes: int
    """Of segments that are yet to be stored."""
    share_validated: float = 1.0
    """Of what a validation takes, in what was tried."""
    more_state_bytes: int = 0
    """That the state grows by after the steps that are tried."""
    least_step_s: float = 0.0
    """If steps wait for something else."""


def begin(
    folder: Path,
    settings: RunSettings,
    schedule: ScheduleSettings,
    mode: str,
    devices: Sequence[str],
    precision: str,
    compute_device: str,
) -> TrainingDryRun:
    """Return a report of which run a command means, and refuse what it would refuse.

    Raises:
        SettingsError: see `training.folder.settle_run` and `training.run.check_not_passed`.
        EnvironmentFault: the folder cannot be made.
    """
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not place.is_dir():
        raise EnvironmentFault(f"{folder} cannot be a folder: {place} is a file", "choose another --name")
    report = TrainingDryRun(settings.run_name, str(folder), mode, list(devices), "new", precision, compute_device)
    if run_to_resume(folder, settings) is not None:
        check_not_passed(folder, schedule)
        report.run, report.n_steps = "resumed", done_so_far(folder)[0]
    elif (folder / SETTINGS_NAME).exists():
        report.run = "replaced"
    report.free_bytes = shutil.disk_usage(place).free
    return report


@contextmanager
def thrown_away() -> Iterator[Path]:
    """Yield a folder that is there for the block only."""
    with tempfile.TemporaryDirectory(prefix="umc-dry-run-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def estimate(
    report: TrainingDryRun,
    training: Training,
    schedule: ScheduleSettings,
    keep: WeightsName,
    device: torch.device,
    beside: Beside,
) -> None:
    """Do a few steps of a training that is thrown away, and conclude from them to the whole run.

    `report`: with `steps_per_epoch` of the run, of which `training` may hold a part.
    """
    folder = Path(report.folder)
    report.total_steps = total_steps(schedule, report.steps_per_epoch)
    if report.run == "resumed":
        check_not_passed(folder, schedule, report.steps_per_epoch)
    with thrown_away() as place:
        training.step(0)  # loads and compiles what is used
        report.n_timed, report.seconds_per_step = _time_steps(training)
        begun = time.monotonic()
        validated = training.validate()
        validate_s = (time.monotonic() - begun) / beside.share_validated
        picture = place / PICTURES_NAME / "step-0000001.png"
        training.draw(picture)
        saving = time.monotonic()
        save_state(place, training, RunResult(n_steps=1, total_steps=report.total_steps), {}, {}, 0)
        save_s = time.monotonic() - saving
        if keep == "best" and validated:
            training.save_weights(place, "best", {})
        kept = sorted(path for path in place.glob("*.safetensors"))
        report.checkpoint_bytes = sum(path.stat().st_size for path in kept) + beside.more_state_bytes
        picture_bytes = picture.stat().st_size if picture.exists() else 0
    report.memory_bytes = _peak_bytes(device)
    remaining = report.total_steps - report.n_steps
    n_validations = math.ceil(remaining / steps_between_validations(schedule, report.steps_per_epoch))
    seconds_so_far = done_so_far(folder)[1] if report.run == "resumed" else 0.0
    if seconds_so_far:
        report.n_timed, report.seconds_per_step = 0, seconds_so_far / report.n_steps
        steps_s = remaining * report.seconds_per_step
    else:
        report.seconds_per_step = max(report.seconds_per_step, beside.least_step_s)
        steps_s = remaining * report.seconds_per_step + n_validations * validate_s
        steps_s += math.ceil(remaining / schedule.save_every) * save_s
    report.estimated_seconds = round(beside.read_s + steps_s, 3)
    report.seconds_per_step = round(report.seconds_per_step, 4)
    pictures = [f"{PICTURES_NAME}/"] if picture_bytes else []
    report.files = [SETTINGS_NAME, METRICS_NAME, *(path.name for path in kept if path.name != STATE_NAME), STATE_NAME]
    report.files += pictures + (["segments/"] if report.mode != "refiner" else [])
    report.estimated_bytes = report.checkpoint_bytes + beside.stored_bytes + n_validations * picture_bytes
    if report.estimated_bytes > report.free_bytes:
        report.warnings.append(f"{folder} has less room than the run needs")


def _time_steps(training: Training) -> tuple[int, float]:
    """Return how many steps were timed, and the seconds that one takes."""
    begun = time.monotonic()
    for number in range(1, STEPS_TIMED + 1):
        training.step(number)
        elapsed_s = time.monotonic() - begun
        if elapsed_s > _LONGEST_S:
            break
    return number, elapsed_s / number


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def all_failed(*lists: Sequence[FailedInput]) -> list[FailedInput]:
    """Return what failed, each file once."""
    by_path = {entry.path: entry for entries in lists for entry in entries}
    return list(by_path.values())
