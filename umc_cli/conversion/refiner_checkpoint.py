"""A refiner as a checkpoint: its weights, its settings, and the spectrograms it was made for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from umc_cli.config import dump_settings
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import KIND, RefinerSettings
from umc_cli.training.network_checkpoint import build_network, read_network, stored_settings, write_network


@dataclass(frozen=True)
class TrainedRefiner:
    """A refiner with all that must go with it."""

    refiner: Refiner
    """fp32, on the CPU, in evaluation mode."""
    sha256: str
    """Of the checkpoint file."""
    training: dict[str, Any] = field(default_factory=dict)
    """What the training wrote of itself: devices, settings, steps."""


def save_refiner(
    path: Path,
    refiner: Refiner,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the refiner's weights with its settings, all or nothing. `training` takes plain JSON values.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    metadata = {"refiner": dump_settings(refiner.settings), "training": dict(training or {})}
    write_network(path, KIND, refiner, metadata, dtype)


def load_refiner(path: Path) -> TrainedRefiner:
    """Read a refiner.

    Raises:
        SettingsError: the file is no refiner checkpoint, was made for other log-mel spectrograms, or its weights
            are missing, misshapen or not finite.
    """
    checkpoint = read_network(path, KIND)
    settings = stored_settings(path, checkpoint, RefinerSettings, "refiner")
    refiner = build_network(path, checkpoint, lambda: Refiner(settings))
    return TrainedRefiner(refiner, checkpoint.sha256, checkpoint.metadata.get("training", {}))
