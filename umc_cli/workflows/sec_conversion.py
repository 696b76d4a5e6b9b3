"""Conversion of training samples on the fly: which converter, which devices, one drawn for every sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.manifest import Recordings
from umc_cli.config import Workspace, means_all
from umc_cli.conversion.chosen.choice import AUTO, choose_conversion, open_conversion
from umc_cli.conversion.chosen.conversion import ADAPTED_WITH, Conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.targets import names_invented
from umc_cli.conversion.chosen.weights_in_words import weights_in_words
from umc_cli.conversion.converters.contract import Converter
from umc_cli.conversion.random_targets import convert_to_random_targets
from umc_cli.errors import SettingsError
from umc_cli.runtime import compute_device
from umc_cli.shards.schema import find_shards

_UNIFIED = ("refiner_quantile", "refiner", "film_gan")
CONVERTERS_OF_METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("unified-real", "unified-synth", "adapt"), _UNIFIED),
    "mc": ("film_gan",),
    "eq": ("eq",),
    "eq-noise": ("eq_noise",),
    "quantile": ("quantile",),
}
"""The converters that a method (of `sec_methods.CONVERSIONS`) may convert with, best first."""
N_INVENTED = 200
"""Devices that `unified-synth` invents where nothing else is asked for."""
_THREADS = 1
"""Batches are made beside the training, which has the other processors."""


@dataclass(frozen=True)
class OnTheFlyConversions:
    """Converts every sample to a device drawn at random, all equally likely; see `sec.dataset.SegmentConverter`."""

    converter: str
    targets: tuple[str, ...]
    made_with: Mapping[str, str]
    """What the conversions rest on, for the report."""
    converters: Mapping[str, Converter]
    """By target."""
    torch_device: torch.device
    """Where they compute; batches are made on the CPU."""
    weights: str | None = None
    """What they compute with, in words, if a converter has weights."""

    def __call__(self, log_mel: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
        """Shape: [B, 80, 80] dB -> the same."""
        converters = {target: self.converters[target] for target in self.targets}
        return convert_to_random_targets(log_mel, converters, self.torch_device, random)


def converters_of(method: str, request: str) -> tuple[str, ...]:
    """Return the converters that `method` (of `sec_methods.CONVERSIONS`) may convert with, best first.

    `asked`: the only one wanted, or `auto`.

    Raises:
        SettingsError: the method does not convert with `asked`.
    """
    names = CONVERTERS_OF_METHODS[method]
    if request == AUTO:
        return names
    if request not in names:
        raise SettingsError(f"method {method} does not convert with {request!r}", f"use {' or '.join(names)}")
    return (request,)


def check_sec_conversion(
    workspace: Workspace,
    method: str,
    settings: ConversionSettings,
    recordings: Recordings,
    n_invented: int,
    shards: Path | None,
) -> None:
    """Refuse what `choose_sec_conversion` would refuse, before anything is measured or built.

    `shards`: where conversions are read from instead, if that is wanted.

    Raises:
        SettingsError: something that the method needs is missing.
    """
    if shards:
        converters_of(method, settings.converter)
        find_shards(shards)
    elif method == "mc":
        _paths_of_pairs(workspace, settings)
    else:
        _settings_that_work(workspace, method, settings, recordings, n_invented)


def choose_sec_conversion(
    workspace: Workspace,
    method: str,
    settings: ConversionSettings,
    recordings: Recordings,
    tables_folder: Path,
    n_invented: int,
    warnings: list[str],
) -> OnTheFlyConversions:
    """Return what `method` (of `sec_methods.CONVERSIONS`) converts with.

    `settings`: a converter among those of the method, or `auto`. The tables of levels are kept in `tables_folder`.

    Raises:
        SettingsError: something that the method needs is missing.
    """
    if method == "mc":
        return _one_to_one(workspace, settings, recordings)
    request = _settings_that_work(workspace, method, settings, recordings, n_invented)
    conversion = open_conversion(workspace, request, recordings, tables_folder=tables_folder, warnings=warnings)
    conversion = conversion.computed_by(_THREADS)
    return OnTheFlyConversions(
        conversion.converter,
        conversion.targets,
        conversion.built.describe() | _adapted_by_target(conversion),
        dict.fromkeys(conversion.targets, conversion.built),
        conversion.ingredients.torch_device,
        conversion.weights(),
    )


def _adapted_by_target(conversion: Conversion) -> dict[str, str]:
    """Return the checksums of weights that serve one target alone."""
    every = {target: conversion.adapted_with(target) for target in conversion.targets}
    return {target: own[ADAPTED_WITH] for target, own in every.items() if own}


def _settings_that_work(
    workspace: Workspace, method: str, settings: ConversionSettings, recordings: Recordings, n_invented: int
) -> ConversionSettings:
    """Return the settings with the first converter of `method` whose inputs are available."""
    _check_converter(method, settings)
    names = converters_of(method, settings.converter)
    if method == "unified-synth" and not names_invented(settings.targets):
        settings = settings.model_copy(update={"targets": (f"synth:{n_invented}",)})
    if settings.checkpoint and settings.converter == AUTO:
        names = (AUTO,)
    problem: SettingsError | None = None
    for name in names:
        request = settings.model_copy(update={"converter": name})
        try:
            choose_conversion(workspace, request, recordings)
        except SettingsError as error:
            problem = problem or error
        else:
            return request
    assert problem is not None
    raise problem


def _check_converter(method: str, settings: ConversionSettings) -> None:
    converters_of(method, settings.converter)
    if settings.checkpoint and CONVERTERS_OF_METHODS[method] != _UNIFIED:
        raise SettingsError(
            f"method {method} does not take weights of --checkpoint",
            "leave --checkpoint out; mc takes those that `umc train --pair` left in checkpoints/",
        )


def _one_to_one(workspace: Workspace, settings: ConversionSettings, recordings: Recordings) -> OnTheFlyConversions:
    """Build the generator of every pair; `umc train --pair` leaves them in the workspace's checkpoints."""
    paths = _paths_of_pairs(workspace, settings)
    conversions: dict[str, Conversion] = {}
    for target, path in paths.items():
        request = settings.model_copy(update={"converter": "film_gan", "targets": (target,), "checkpoint": path})
        conversions[target] = choose_conversion(workspace, request, recordings).computed_by(_THREADS)
    return OnTheFlyConversions(
        "film_gan",
        tuple(paths),
        {target: each.built.describe()["checkpoint_sha256"] for target, each in conversions.items()},
        {target: each.built for target, each in conversions.items()},
        compute_device(settings.compute_device),
        "; ".join(map(weights_in_words, paths.values())),
    )


def _paths_of_pairs(workspace: Workspace, settings: ConversionSettings) -> dict[str, Path]:
    """Return the generator of every target of `mc`."""
    _check_converter("mc", settings)
    paths = {
        path.stem.removeprefix(f"{settings.source}-to-"): path
        for path in sorted(workspace.checkpoints.glob(f"{settings.source}-to-*.safetensors"))
    }
    targets: Sequence[str] = sorted(paths) if means_all(settings.targets) else settings.targets
    missing = [target for target in targets if target not in paths]
    if missing or not targets:
        pair = f"{settings.source}:{missing[0] if missing else 'TARGET'}"
        raise SettingsError(
            f"method mc has no checkpoint for {', '.join(missing) or 'any target'} in {workspace.checkpoints}",
            f"train it with `umc train --pair {pair}`, or name the targets that have one with --targets",
        )
    return {target: paths[target] for target in targets}
