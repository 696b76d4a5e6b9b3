"""Stages of the trainings: how long a step takes, and what would make it shorter."""

import statistics
import time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from cuda_stages.check import SOURCE, TARGETS, Check, note_kernels
from umc_cli.cli.training_progress import QuietTraining
from umc_cli.config import find_workspace
from umc_cli.conversion.converter_training import translators
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.converter_training.training_segments import TrainingSegments
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.response.device import DeviceRegistry
from umc_cli.sec import classifier_training
from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec


def adversarial(preset: str, batch: int, device: torch.device) -> AdversarialTraining:
    """Return a training of random segments: speed does not depend on what they hold."""
    random = np.random.default_rng(0)
    drawn = tuple(random.normal(-50, 12, (16, 80, 80)).astype(np.float16) for _ in TARGETS)
    normalisation = Normalisation(mean_db=-50.0, std_db=12.0)
    segments = TrainingSegments(TARGETS, drawn, tuple(part[:2] for part in drawn), normalisation, (), "")
    settings = ADVERSARIAL_PRESETS[preset].model_copy(update={"batch_size": batch})
    registry = DeviceRegistry()
    records = [registry.get(name) for name in TARGETS]
    return AdversarialTraining(settings, segments, records, is_pair=False, torch_device=device)


def median_step_s(check: Check, training: AdversarialTraining, first: int, count: int) -> float:
    """Return the median seconds of a step; `first`: index of the first one."""
    taken = []
    for index in range(first, first + count):
        check.wait()
        started = time.perf_counter()
        training.step(index)
        check.wait()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure_training(check: Check) -> None:
    """Measure the step of `umc train --preset paper`: as it is, with channels last, compiled."""
    check.attempt("as umc does", lambda: _measure(check, "as umc does", with_profile=not check.is_dry))
    if check.is_dry:
        return
    check.attempt("channels last", lambda: _measure(check, "channels last", channels_last=True))
    with patch.object(translators, "_converted", _compiled()):
        what = "generator compiled, channels last"
        check.attempt(what, lambda: _measure(check, what, channels_last=True))


def _measure(check: Check, what: str, *, channels_last: bool = False, with_profile: bool = False) -> None:
    preset, batch, steps = check.sized(("paper", 400, 6), ("smoke", 4, 1))
    if not check.is_dry:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    training = adversarial(preset, batch, check.device)
    if channels_last:
        for module in (training.networks.translator, training.networks.discriminators):
            module.to(memory_format=torch.channels_last)
    first = median_step_s(check, training, 0, 1)
    taken = median_step_s(check, training, 1, steps)
    peak = None if check.is_dry else torch.cuda.max_memory_allocated() / 2**30
    check.note(what, batch=batch, step_s=taken, segments_per_s=batch / taken, first_step_s=first, peak_gib=peak)
    if with_profile:
        note_kernels(check, "a step", lambda: training.step(20))


def _compiled() -> Any:
    """Return the generator's forward pass, its parts compiled: eight blocks share one compilation."""
    before = translators._converted
    part = torch.compile(lambda modules, x: modules(x), dynamic=False)
    before_film = torch.compile(lambda block, x: block.before_film(x), dynamic=False)
    after_film = torch.compile(lambda block, x, modulated: block.after_film(x, modulated), dynamic=False)

    def converted(generator: Generator, normalised: Tensor, difference_db: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return before(generator, normalised, difference_db)
        gamma, beta = generator.film_encoder(difference_db)
        x = part(generator.encoder, normalised.unsqueeze(1))
        first, *others = generator.blocks
        x = after_film(first, x, before_film(first, x) * gamma[:, :, None, None] + beta[:, :, None, None])
        for block in others:
            x = part(block, x)
        result: Tensor = part(generator.decoder, x).squeeze(1)
        return result

    return converted


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
    step, compute = classifier_training.SecTraining.step, classifier_training.sec_step
    computing: list[float] = []

    def timed_step(self: classifier_training.SecTraining, index: int) -> dict[str, float]:
        losses = step(self, index)
        ended.append(time.perf_counter())
        return losses

    def timed_compute(*arguments: Any) -> dict[str, float]:
        started = time.perf_counter()
        losses = compute(*arguments)  # it reads the loss, so it is through when it returns
        computing.append(time.perf_counter() - started)
        return losses

    with (
        patch.object(classifier_training.SecTraining, "step", timed_step),
        patch.object(classifier_training, "sec_step", timed_compute),
        QuietTraining() as progress,
    ):
        train_sec(workspace, load_train_sec_settings(workspace, given), progress)
    warm = check.sized(5, 0)
    step_s, computing_s = (float(np.median(each[warm:])) for each in (np.diff(ended), computing))
    check.note(method, batch=batch, step_s=step_s, computing_s=computing_s)
