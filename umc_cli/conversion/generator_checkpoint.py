"""A generator as a checkpoint: its weights, its settings, and the spectrograms it was made for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from umc_cli.checkpoint import read_metadata
from umc_cli.config import dump_settings
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS, GeneratorSettings
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.errors import SettingsError
from umc_cli.training.network_checkpoint import build_network, read_network, stored_settings, write_network

KIND = "generator"


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator with all that must go with it."""

    generator: Generator
    """fp32, on the CPU, in evaluation mode."""
    normalisation: Normalisation
    sha256: str
    """Of the checkpoint file."""
    training: dict[str, Any] = field(default_factory=dict)
    """What the training wrote of itself: devices, settings, steps."""


def save_generator(
    path: Path,
    generator: Generator,
    normalisation: Normalisation,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the generator's weights with its settings, all or nothing. `training` takes plain JSON values.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    metadata = {
        "generator": dump_settings(generator.settings),
        "normalisation": dump_settings(normalisation),
        "training": dict(training or {}),
    }
    write_network(path, KIND, generator, metadata, dtype)


def load_generator(path: Path) -> TrainedGenerator:
    """Read a generator.

    Raises:
        SettingsError: the file is no generator checkpoint, was made for other log-mel spectrograms, or its weights
            are missing, misshapen or not finite.
    """
    checkpoint = read_network(path, KIND)
    settings = stored_settings(path, checkpoint, GeneratorSettings, "generator")
    normalisation = stored_settings(path, checkpoint, Normalisation, "normalisation")
    generator = build_network(path, checkpoint, lambda: Generator(settings))
    return TrainedGenerator(generator, normalisation, checkpoint.sha256, checkpoint.metadata.get("training", {}))


def check_is_conditioned(path: Path) -> None:
    """Refuse a generator that is not told the difference of two devices, by the header of its checkpoint.

    Raises:
        SettingsError: it is of one pair of devices, or the file is not a checkpoint of a generator.
    """
    metadata = read_metadata(path)
    if metadata.get("kind") != KIND:
        raise SettingsError(
            f"checkpoint {path} holds a {metadata.get('kind')!r}, not a {KIND}", "name weights of `umc train`"
        )
    settings = metadata.get("generator")
    if isinstance(settings, dict) and settings.get("film_encoder") == "none":
        raise SettingsError(
            f"checkpoint {path} is a generator for one pair of devices: it is told no difference",
            "use a generator for all devices, trained without --pair",
        )


def preset_name(settings: GeneratorSettings) -> str:
    """Return the preset with these cures, whatever the size, else `one_to_one` or `custom`: what people know it by."""
    if settings.film_encoder == "none":
        return "one_to_one"
    cures = {(preset.level, preset.film_encoder): name for name, preset in GENERATOR_PRESETS.items()}
    return cures.get((settings.level, settings.film_encoder), "custom")
