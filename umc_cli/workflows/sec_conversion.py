"""Conversion of training samples on the fly: which converter, which devices, one drawn for every sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.feature_settings import SecFeatures
from umc_cli.audio.features import own_features
from umc_cli.audio.manifest import Recordings
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.choice import AUTO, choose_conversion, make_ready
from umc_cli.conversion.chosen.conversion import ADAPTED_WITH, Conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.known import find_weights
from umc_cli.conversion.chosen.targets import names_invented, read_targets
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Converter, EngineSettings, Ingredients, Need
from umc_cli.conversion.drawn_differences import DrawnConversions, drawn_conversions
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.kept_knowledge import KeptKnowledge
from umc_cli.conversion.random_targets import convert_to_random_targets
from umc_cli.conversion.transport_files import Learning, not_told
from umc_cli.errors import SettingsError
from umc_cli.runtime import compute_device
from umc_cli.sec.methods import UNIFIED_METHODS
from umc_cli.sec.target_draws import draw_targets

_UNIFIED = ("refiner_transport", "refiner_quantile", "refiner", "film_gan")
"""Best first."""
CONVERTERS_OF_METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(UNIFIED_METHODS, _UNIFIED),
    "mc": ("film_gan",),
    "eq": ("eq",),
    "eq-noise": ("eq_noise",),
    "quantile": ("quantile",),
    "transport": ("transport",),
    "refiner-transport": ("refiner_transport",),
}
"""The converters that a method (of `sec.methods.CONVERSIONS`) may convert with, best first."""
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
    """By target. They compute where the spectrograms are."""
    weights: str | None = None
    """What they compute with, in words, if a converter has weights."""

    def __call__(self, log_mel: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
        """Shape: [B, 80, 80] dB -> the same."""
        converters = {target: self.converters[target] for target in self.targets}
        return convert_to_random_targets(log_mel, converters, random)


@dataclass(frozen=True)
class WaveformConversions:
    """Converts every sample as a waveform, for features of one's own; see `sec.dataset.SegmentConverter`."""

    converter: str
    targets: tuple[str, ...]
    made_with: Mapping[str, str]
    """What the conversions rest on, for the report."""
    conversions: Mapping[str, Conversion]
    """By target."""
    features: SecFeatures
    weights: str | None = None
    """What they compute with, in words, if a converter has weights."""

    def __call__(self, waveforms: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
        """Shape: [B, n] full scale 1 -> [B, bands, frames] dB. Zeros at the end of a segment are padding, and stay."""
        drawn = draw_targets(len(self.targets), len(rows), random)
        seeds = torch.randint(1 << 31, (len(rows),), generator=random).tolist()
        converted = torch.zeros_like(waveforms)
        for row, (number, seed) in enumerate(zip(drawn, seeds, strict=True)):
            sounding = waveforms[row].nonzero()
            if not len(sounding):
                continue
            length, target = int(sounding[-1]) + 1, self.targets[number]
            sound = self.conversions[target].waveform(
                waveforms[row, :length], self.features.read_rate_hz, target, seed=seed
            )
            converted[row, :length] = torch.from_numpy(sound)
        return own_features(converted, self.features)


def converters_of(method: str, request: str) -> tuple[str, ...]:
    """Return the converters that `method` (of `sec.methods.CONVERSIONS`) may convert with, best first.

    `request`: the only one wanted, or `auto`.

    Raises:
        SettingsError: the method does not convert with `request`.
    """
    names = CONVERTERS_OF_METHODS[method]
    if request == AUTO:
        return names
    if request not in names:
        raise SettingsError(f"method {method} does not convert with {request!r}", f"use {' or '.join(names)}")
    return (request,)


def choose_sec_conversion(
    workspace: Workspace,
    method: str,
    settings: ConversionSettings,
    recordings: Recordings,
    n_invented: int,
    knows_maps: bool = True,
) -> tuple[Conversion, ...]:
    """Return what `method` (of `sec.methods.CONVERSIONS`) converts with, not yet measured or built.

    One conversion to all targets; of `mc` one for every target. `settings`: a converter among those of the method, or
    `auto`. Without `knows_maps`, `auto` chooses as it did before there were maps.

    Raises:
        SettingsError: something that the method needs is missing.
    """
    _check_converter(method, settings)
    if method == "mc":
        return _one_to_one(workspace, settings, recordings)
    names = converters_of(method, settings.converter)
    if settings.converter == AUTO and find_weights(workspace, settings.checkpoint).generator == SHIPPED_GENERATOR:
        names = tuple(name for name in names if Need.CHECKPOINT not in CONVERTERS[name].needs)
    if method == "unified-synth" and not names_invented(settings.targets):
        settings = settings.model_copy(update={"targets": (f"synth:{n_invented}",)})
    if settings.checkpoint and settings.converter == AUTO:
        names = (AUTO,)
    problem: SettingsError | None = None
    for name in names:
        try:
            chosen = choose_conversion(workspace, settings.model_copy(update={"converter": name}), recordings)
        except SettingsError as error:
            problem = problem or error
            continue
        as_before = settings.converter == AUTO and method in UNIFIED_METHODS and not knows_maps
        moved = CONVERTERS[chosen.converter].moves if as_before else None
        return (replace(chosen, converter=moved) if moved else chosen,)
    assert problem is not None
    raise problem


def choose_generator(workspace: Workspace, settings: ConversionSettings) -> Conversion:
    """Return the generator that samples are converted with by differences drawn for each; it has no targets."""
    ingredients = Ingredients(
        source=settings.source,
        targets=(),
        devices={},
        checkpoint=find_weights(workspace, settings.checkpoint).generator,
        engine=EngineSettings(engine=settings.engine, precision=settings.precision),
        torch_device=compute_device(settings.compute_device),
    )
    return Conversion("film_gan", ingredients)


def on_the_fly(
    method: str,
    conversions: Sequence[Conversion],
    recordings: Recordings,
    tables_folder: Path,
    torch_device: torch.device,
    warnings: list[str],
    features: SecFeatures | None = None,
    keep_tables: bool = True,
    learning: Learning = not_told,
) -> OnTheFlyConversions | DrawnConversions | WaveformConversions:
    """Return what was chosen for `method`, ready to convert samples on `torch_device`.

    Tables of levels and maps are taken from `tables_folder` and, with `keep_tables`, kept there. `features` of one's
    own: waveforms are converted. `learning`: told of every map that is learned.

    Raises:
        SettingsError: a device has too few readable recordings, or weights cannot be read.
    """
    conversions = [conversion.computed_by(_THREADS, torch_device) for conversion in conversions]
    if not conversions[0].targets:
        return drawn_conversions(conversions[0])
    if method == "mc":
        made_with = {each.targets[0]: each.built.describe()["checkpoint_sha256"] for each in conversions}
    else:
        conversions = [
            make_ready(
                each, recordings, KeptKnowledge(tables_folder, keep_tables), learning=learning, warnings=warnings
            )
            for each in conversions
        ]
        made_with = conversions[0].built.describe() | _adapted_by_target(conversions[0])
    by_target = {target: conversion for conversion in conversions for target in conversion.targets}
    converter, targets = conversions[0].converter, tuple(by_target)
    weights = "; ".join(filter(None, [conversion.weights() for conversion in conversions])) or None
    if features:
        return WaveformConversions(converter, targets, made_with, by_target, features, weights)
    converters = {target: conversion.built for target, conversion in by_target.items()}
    return OnTheFlyConversions(converter, targets, made_with, converters, weights)


def _adapted_by_target(conversion: Conversion) -> dict[str, str]:
    """Return the checksums of weights that serve one target alone."""
    every = {target: conversion.adapted_with(target) for target in conversion.targets}
    return {target: own[ADAPTED_WITH] for target, own in every.items() if own}


def _check_converter(method: str, settings: ConversionSettings) -> None:
    converters_of(method, settings.converter)
    if settings.checkpoint and CONVERTERS_OF_METHODS[method] != _UNIFIED:
        raise SettingsError(
            f"method {method} does not take weights of --checkpoint",
            "leave --checkpoint out; mc takes those that `umc train --pair` left in checkpoints/",
        )


def _one_to_one(workspace: Workspace, settings: ConversionSettings, recordings: Recordings) -> tuple[Conversion, ...]:
    """Choose the generator of every pair; `umc train --pair` leaves them in the workspace's checkpoints."""
    paths = {
        path.stem.removeprefix(f"{settings.source}-to-"): path
        for path in sorted(workspace.checkpoints.glob(f"{settings.source}-to-*.safetensors"))
    }
    targets = read_targets(settings.targets, settings.source, paths, {*paths, *settings.targets}).ids
    missing = [target for target in targets if target not in paths]
    if missing or not targets:
        pair = f"{settings.source}:{missing[0] if missing else 'TARGET'}"
        raise SettingsError(
            f"method mc has no checkpoint for {', '.join(missing) or 'any target'} in {workspace.checkpoints}",
            f"train it with `umc train --pair {pair}`, or name the targets that have one with --targets",
        )
    of_pair = (
        settings.model_copy(update={"converter": "film_gan", "targets": (target,), "checkpoint": paths[target]})
        for target in targets
    )
    return tuple(choose_conversion(workspace, each, recordings) for each in of_pair)
