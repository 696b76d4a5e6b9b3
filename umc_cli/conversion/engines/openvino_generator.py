"""The generator as two OpenVINO models, written in OpenVINO's operations."""

from typing import Any

import numpy as np

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.conversion.engines.openvino_operations import applied, integers
from umc_cli.conversion.engines.openvino_package import without_telemetry
from umc_cli.conversion.generator import SIDE_MULTIPLE, Generator, ResidualBlock

with without_telemetry():
    from openvino import Model
    from openvino import opset13 as ops

_SIDES = (LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)


def stem_model(generator: Generator) -> Any:
    """Return an `openvino.Model` that computes `generator.stem` for batches of any size.

    Shape: [B, 80, 80] float32 -> [B, 4 ngf, 20, 20] float32 twice.
    """
    normalised = ops.parameter([-1, *_SIDES], np.float32)
    x = applied(ops.unsqueeze(normalised, integers(1)), generator.encoder)
    first, *_ = _blocks(generator)
    return Model([x, applied(applied(x, first.first), first.norm)], [normalised])


def trunk_model(generator: Generator) -> Any:
    """Return an `openvino.Model` that computes `generator.trunk` for batches of any size.

    Shape: [B, 4 ngf, 20, 20] twice, [1 or B, 4 ngf] twice -> [B, 80, 80], all float32.
    """
    channels = 4 * generator.settings.ngf
    sides = [side // SIDE_MULTIPLE for side in _SIDES]
    stem = [ops.parameter([-1, channels, *sides], np.float32) for _ in range(2)]
    film = [ops.parameter([-1, channels], np.float32) for _ in range(2)]
    gamma, beta = (ops.unsqueeze(each, integers(2, 3)) for each in film)
    x, normed = stem
    first, *others = _blocks(generator)
    x = _after_film(x, ops.add(ops.multiply(normed, gamma), beta), first)
    for block in others:
        x = _after_film(x, applied(applied(x, block.first), block.norm), block)
    return Model([ops.squeeze(applied(x, generator.decoder), integers(1))], [*stem, *film])


def _after_film(x: Any, modulated: Any, block: ResidualBlock) -> Any:
    return ops.add(x, applied(applied(ops.relu(modulated), block.second), block.norm))


def _blocks(generator: Generator) -> list[ResidualBlock]:
    return [block for block in generator.blocks if isinstance(block, ResidualBlock)]
