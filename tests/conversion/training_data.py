"""Segments and devices for tests of the training."""

from pathlib import Path

import numpy as np

from tests.conversion.devices import device
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS, AdversarialSettings
from umc_cli.conversion.converter_training.training_segments import TrainingSegments
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.precision import Precision
from umc_cli.response.device import Device

TINY: AdversarialSettings = ADVERSARIAL_PRESETS["smoke"].model_copy(
    update={
        "ngf": 2,
        "n_blocks": 1,
        "ndf": 2,
        "film_widths": (2, 2, 2),
        "film_hidden": 4,
        "batch_size": 4,
        "precision": Precision.FP32,
    }
)


def training_devices(n_devices: int = 3) -> list[Device]:
    """Return devices with tilts of different steepness."""
    return [device(f"d{index}", np.linspace(-4 * index, 4 * index, 128).tolist()) for index in range(n_devices)]


def training_segments(n_devices: int = 3, n_segments: int = 6, n_held_out: int = 2, seed: int = 0) -> TrainingSegments:
    """Return random patches of 8 x 8 values in dB, of each device somewhat tilted."""
    random = np.random.default_rng(seed)

    def draw(index: int, count: int) -> np.ndarray:
        tilt = np.linspace(-4 * index, 4 * index, 80)[:, None]
        patches = random.normal(-50, 10, (count, 10, 10)).repeat(8, axis=1).repeat(8, axis=2)
        return (patches + tilt).astype(np.float16)

    return TrainingSegments(
        devices=tuple(f"d{index}" for index in range(n_devices)),
        train=tuple(draw(index, n_segments) for index in range(n_devices)),
        held_out=tuple(draw(index, n_held_out) for index in range(n_devices)),
        normalisation=Normalisation(mean_db=-50.0, std_db=12.0),
        failed=(),
        fingerprint="",
    )


class Watcher:
    """Progress that notes the rows, and ends the run after a step if told to: in order, or as a kill would."""

    def __init__(self, stop_after: int | None = None, kill_after: int | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self._stop_after, self._kill_after = stop_after, kill_after
        self._step = 0

    def start(self, done: int, total: int) -> None:
        self._step = done

    def stepped(self, step: int) -> None:
        self._step = step
        if step == self._kill_after:
            raise KeyboardInterrupt

    def logged(self, row: dict[str, float]) -> None:  # type: ignore[override]
        self.rows.append(dict(row))

    def should_stop(self) -> bool:
        return self._step == self._stop_after


def without_time(row: dict[str, float]) -> dict[str, float]:
    """Return a row of metrics without what the clock put there."""
    return {name: value for name, value in row.items() if name != "seconds"}


def names_in(folder: Path) -> set[str]:
    """Return the names of a folder's files."""
    return {path.name for path in folder.iterdir()}
