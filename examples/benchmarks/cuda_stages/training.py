"""Stages of the trainings: how long a step takes, and what would make it shorter."""

import statistics
import time
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from cuda_stages.check import SOURCE, TARGETS, Check, note_kernels
from umc_cli.cli.training_progress import QuietTraining
from umc_cli.config import find_workspace
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.converter_training.training_segments import TrainingSegments
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.response.device import DeviceRegistry
from umc_cli.sec import classifier_training
from umc_cli.sec.dataset import TrainingBatch, TrainingBatches
from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec

_LEAST_GAIN = 1.1
"""Of `--compile`, which costs minutes of compiling and a compiler."""
_LOSSES = ("adversarial_loss", "cycle_consistency_loss", "discriminator_loss")
_COMPARED_STEP = 2
"""Whose batch, made ahead, is made once more at once."""


def adversarial(preset: str, batch: int, device: torch.device, is_compiled: bool = False) -> AdversarialTraining:
    """Return a training of random segments: speed does not depend on what they hold."""
    random = np.random.default_rng(0)
    drawn = tuple(random.normal(-50, 12, (16, 80, 80)).astype(np.float16) for _ in TARGETS)
    normalisation = Normalisation(mean_db=-50.0, std_db=12.0)
    segments = TrainingSegments(TARGETS, drawn, tuple(part[:2] for part in drawn), normalisation, (), "")
    settings = ADVERSARIAL_PRESETS[preset].model_copy(update={"batch_size": batch})
    registry = DeviceRegistry()
    records = [registry.get(name) for name in TARGETS]
    return AdversarialTraining(settings, segments, records, is_pair=False, torch_device=device, is_compiled=is_compiled)


def median_step_s(check: Check, training: AdversarialTraining, first: int, count: int) -> float:
    """Return the median seconds of a step; `first`: index of the first one."""
    return statistics.median(_timed_step(check, training, index)[0] for index in range(first, first + count))


def _timed_step(check: Check, training: AdversarialTraining, index: int) -> tuple[float, dict[str, float]]:
    check.wait()
    started = time.perf_counter()
    losses = training.step(index)
    check.wait()
    return time.perf_counter() - started, losses


def measure_training(check: Check) -> None:
    """Measure the step of `umc train --preset paper`, plain and with `--compile`."""
    plain = _measured_step(check, "as umc does", with_profile=not check.is_dry)
    # Compiling takes longer than all else of a dry run.
    compiled = _measured_step(check, "--compile", is_compiled=not check.is_dry)
    off = max(abs(compiled.losses[name] / plain.losses[name] - 1) for name in _LOSSES)
    check.expect("--compile, losses of the first step", off < 0.02, off=off)
    gain = plain.step_s / compiled.step_s
    check.expect("--compile, times as fast", gain >= _LEAST_GAIN or check.is_dry, gain=gain)


@dataclass(frozen=True)
class _Measured:
    losses: dict[str, float]
    """Of the first step."""
    step_s: float


def _measured_step(check: Check, what: str, *, is_compiled: bool = False, with_profile: bool = False) -> _Measured:
    preset, batch, steps = check.sized(("paper", 400, 6), ("smoke", 4, 1))
    if not check.is_dry:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    training = adversarial(preset, batch, check.device, is_compiled)
    first_s, losses = _timed_step(check, training, 0)
    step_s = median_step_s(check, training, 1, steps)
    peak = None if check.is_dry else torch.cuda.max_memory_allocated() / 2**30
    check.note(what, batch=batch, step_s=step_s, segments_per_s=batch / step_s, first_step_s=first_s, peak_gib=peak)
    if with_profile:
        note_kernels(check, "a step", lambda: training.step(20))
    return _Measured(losses, step_s)


def measure_classifier(check: Check) -> None:
    """Measure the steps of `umc train-sec`: alone, with its own method, and with conversion on the fly."""
    for method in check.sized(("none", "freq-mixstyle", "unified-real", "room-reverb"), ("unified-real",)):
        check.attempt(method, lambda method=method: _measure_classifier(check, method))  # type: ignore[misc]


def _measure_classifier(check: Check, method: str) -> None:
    preset, steps = check.sized(("paper", 45), ("smoke", 3))
    workspace = find_workspace(check.folder / "small")
    batch = check.sized(60, 4)
    given: dict[str, Any] = {
        "source": SOURCE, "method": method, "preset": preset, "name": f"speed-{method}", "max_steps": steps,
        "epochs": 1000, "validate_every": 10**6, "save_every": 10**6, "overwrite": True, "batch_size": batch,
        "compute_device": check.device.type, "converter": "refiner" if method == "unified-real" else "auto",
    }  # fmt: skip
    ended: list[float] = []
    computing: list[float] = []
    making: list[float] = []
    seen: list[TrainingBatch] = []
    again: list[TrainingBatch] = []
    step, compute, make = classifier_training.SecTraining.step, classifier_training.sec_step, TrainingBatches.get

    def timed_step(self: classifier_training.SecTraining, index: int) -> dict[str, float]:
        losses = step(self, index)
        ended.append(time.perf_counter())
        if index == _COMPARED_STEP:
            self._ahead.forget()  # an engine computes one batch at a time
            again.append(make(self._batches, index))  # on the training's own stream
        return losses

    def timed_compute(*arguments: Any) -> dict[str, float]:
        seen.append(arguments[2])
        started = time.perf_counter()
        losses = compute(*arguments)  # it reads the loss, so it is through when it returns
        computing.append(time.perf_counter() - started)
        return losses

    def timed_make(batches: TrainingBatches, index: int) -> TrainingBatch:
        started = time.perf_counter()
        batch = make(batches, index)
        making.append(time.perf_counter() - started)
        return batch

    with (
        patch.object(classifier_training.SecTraining, "step", timed_step),
        patch.object(classifier_training, "sec_step", timed_compute),
        patch.object(TrainingBatches, "get", timed_make),
        QuietTraining() as progress,
    ):
        train_sec(workspace, load_train_sec_settings(workspace, given), progress)
    warm = check.sized(5, 0)
    step_s, computing_s, making_s = (float(np.median(each[warm:])) for each in (np.diff(ended), computing, making))
    check.note(method, batch=batch, step_s=step_s, computing_s=computing_s, making_s=making_s)
    check.expect(
        f"{method}, waits for no batch", step_s < 1.3 * computing_s or check.is_dry, ratio=step_s / computing_s
    )
    off_db = float((seen[_COMPARED_STEP].log_mel - again[0].log_mel).abs().max())
    check.expect(f"{method}, batches made ahead are right", off_db < 0.05, off_db=off_db)
