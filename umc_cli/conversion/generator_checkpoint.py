"""A generator as a checkpoint: its weights, its settings, and the spectrograms it was made for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from umc_cli import __version__
from umc_cli.audio.log_mel import LOG_MEL_SETTINGS
from umc_cli.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from umc_cli.config import dump_settings
from umc_cli.conversion.generator import GENERATOR_PRESETS, Generator, GeneratorSettings
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.errors import SettingsError

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
    path: Path, generator: Generator, normalisation: Normalisation, training: Mapping[str, Any] | None = None
) -> None:
    """Write the generator's weights in fp32 with its settings, all or nothing. `training` takes plain JSON values.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    metadata = {
        "kind": KIND,
        "umc_version": __version__,
        "generator": dump_settings(generator.settings),
        "log_mel": dump_settings(LOG_MEL_SETTINGS),
        "normalisation": dump_settings(normalisation),
        "training": dict(training or {}),
    }
    write_checkpoint(path, {name: tensor.float() for name, tensor in generator.state_dict().items()}, metadata)


def load_generator(path: Path) -> TrainedGenerator:
    """Read a generator.

    Raises:
        SettingsError: the file is no generator checkpoint, was made for other log-mel spectrograms, or its weights
            are missing, misshapen or not finite.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.metadata.get("kind") != KIND:
        raise SettingsError(
            f"checkpoint {path} holds a {checkpoint.metadata.get('kind')!r}, not a generator",
            "give the generator.safetensors that the training wrote",
        )
    _check_log_mel(path, checkpoint.metadata.get("log_mel"))
    try:
        settings = GeneratorSettings.model_validate(checkpoint.metadata.get("generator"))
        normalisation = Normalisation.model_validate(checkpoint.metadata.get("normalisation"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"checkpoint {path} has settings that this umc does not know: {where}: {first['msg']}",
            f"it was written by umc {checkpoint.metadata.get('umc_version')}; update umc",
        ) from error
    generator = Generator(settings)
    _check_tensors(path, checkpoint, generator)
    generator.load_state_dict(checkpoint.tensors)
    generator.requires_grad_(False).eval()
    return TrainedGenerator(generator, normalisation, checkpoint.sha256, checkpoint.metadata.get("training", {}))


def preset_name(settings: GeneratorSettings) -> str:
    """Return the preset with these cures, whatever the size, or `custom`: what people know a generator by."""
    cures = {(preset.level, preset.film_encoder): name for name, preset in GENERATOR_PRESETS.items()}
    return cures.get((settings.level, settings.film_encoder), "custom")


def _check_log_mel(path: Path, stored: object) -> None:
    wanted = dump_settings(LOG_MEL_SETTINGS)
    found = stored if isinstance(stored, dict) else {}
    differing = [name for name in sorted(wanted | found) if wanted.get(name) != found.get(name)]
    if differing:
        details = ", ".join(f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}" for name in differing)
        raise SettingsError(
            f"checkpoint {path} was trained on other log-mel spectrograms: {details}",
            "use a checkpoint that was trained with this version's log-mel settings, or train it again",
        )


def _check_tensors(path: Path, checkpoint: Checkpoint, generator: Generator) -> None:
    remedy = "copy or download the checkpoint again, or train it again"
    wanted = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    for name in sorted(wanted | found):
        if name not in found:
            raise SettingsError(f"checkpoint {path} lacks the tensor {name!r}", remedy)
        if name not in wanted:
            raise SettingsError(f"checkpoint {path} holds an unknown tensor {name!r}", remedy)
        if found[name] != wanted[name]:
            raise SettingsError(f"checkpoint {path}: {name!r} is {found[name]} and must be {wanted[name]}", remedy)
        if not torch.isfinite(checkpoint.tensors[name]).all():
            raise SettingsError(f"checkpoint {path}: {name!r} holds values that are not finite", remedy)
