"""Conversion of training samples on the fly: which converter, which devices, one drawn for every sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.manifest import Recordings
from umc_cli.audio.segments import SegmentSettings
from umc_cli.config import Workspace
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Converter, Ingredients, Need
from umc_cli.errors import SettingsError
from umc_cli.response.device import DeviceRegistry
from umc_cli.runtime import compute_device
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards.reader import find_shards
from umc_cli.workflows.choose_converter import Choice, Known
from umc_cli.workflows.convert import choose_conversion, gather_ingredients
from umc_cli.workflows.level_tables import load_level_tables
from umc_cli.workflows.weights_in_words import weights_in_words, weights_of

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
_DEVICES_A_BATCH = 8
"""Samples of a batch are shared among so many devices at the most: a converter is called once for each."""


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
        drawn = torch.randperm(len(self.targets), generator=random)[:_DEVICES_A_BATCH]
        of_sample = drawn[torch.randint(len(drawn), (len(log_mel),), generator=random)]
        converted = torch.empty_like(log_mel)
        for number in sorted(set(of_sample.tolist())):
            chosen = of_sample == number
            converter = self.converters[self.targets[number]]
            begun = converter.begin(log_mel[chosen].to(self.torch_device))
            converted[chosen] = converter.convert(begun, self.targets[number]).to(log_mel.device)
        return converted


def converters_of(method: str, asked: str) -> tuple[str, ...]:
    """Return the converters that `method` (of `sec_methods.CONVERSIONS`) may convert with, best first.

    `asked`: the only one wanted, or `auto`.

    Raises:
        SettingsError: the method does not convert with `asked`.
    """
    names = CONVERTERS_OF_METHODS[method]
    if asked == "auto":
        return names
    if asked not in names:
        raise SettingsError(f"method {method} does not convert with {asked!r}", f"use {' or '.join(names)}")
    return (asked,)


@dataclass(frozen=True)
class _Chosen:
    """The converter of a method, and what it is built from."""

    settings: ConvertSettings
    choice: Choice
    known: Known


def check_sec_conversion(
    workspace: Workspace,
    method: str,
    convert_settings: ConvertSettings,
    everything: Recordings,
    n_invented: int,
    shards: Path | None,
) -> None:
    """Refuse what `choose_sec_conversion` would refuse, before anything is measured or built.

    `shards`: where conversions are read from instead, if that is wanted.

    Raises:
        SettingsError: something that the method needs is missing.
    """
    if shards:
        converters_of(method, convert_settings.converter)
        find_shards(shards)
    elif method == "mc":
        _paths_of_pairs(workspace, convert_settings)
    else:
        _choose(workspace, method, convert_settings, everything, n_invented)


def choose_sec_conversion(
    workspace: Workspace,
    method: str,
    convert_settings: ConvertSettings,
    everything: Recordings,
    tables_folder: Path,
    n_invented: int,
    warnings: list[str],
) -> OnTheFlyConversions:
    """Return what `method` (of `sec_methods.CONVERSIONS`) converts with.

    `convert_settings`: source, targets, checkpoint and machine, and a converter among those of the method, or `auto`.
    The tables of levels are kept in `tables_folder`.

    Raises:
        SettingsError: something that the method needs is missing.
    """
    if method == "mc":
        return _one_to_one(workspace, convert_settings, DeviceRegistry(workspace.devices), everything)
    chosen = _choose(workspace, method, convert_settings, everything, n_invented)
    choice = chosen.choice
    tables = {}
    if Need.RECORDINGS in CONVERTERS[choice.converter].needs:
        devices = (chosen.settings.source, *choice.targets)
        tables = load_level_tables(tables_folder, devices, everything.clips, SegmentSettings(), warnings)
    ingredients = _one_thread(gather_ingredients(chosen.settings, choice, chosen.known, tables))
    converter = CONVERTERS[choice.converter].build(ingredients)
    return OnTheFlyConversions(
        choice.converter,
        choice.targets,
        converter.describe(),
        dict.fromkeys(choice.targets, converter),
        ingredients.torch_device,
        weights_of(choice.converter, chosen.known),
    )


def _choose(
    workspace: Workspace, method: str, convert_settings: ConvertSettings, everything: Recordings, n_invented: int
) -> _Chosen:
    """Return the first converter of `method` that has all it needs."""
    _check_converter(method, convert_settings)
    registry = DeviceRegistry(workspace.devices)
    names = converters_of(method, convert_settings.converter)
    if method == "unified-synth" and not any(name.startswith("synth:") for name in convert_settings.targets):
        convert_settings = convert_settings.model_copy(update={"targets": (f"synth:{n_invented}",)})
    if convert_settings.checkpoint and convert_settings.converter == "auto":
        names = ("auto",)
    problem: SettingsError | None = None
    for name in names:
        try:
            asked = convert_settings.model_copy(update={"converter": name})
            return _Chosen(asked, *choose_conversion(workspace, asked, registry, everything))
        except SettingsError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _check_converter(method: str, convert_settings: ConvertSettings) -> None:
    converters_of(method, convert_settings.converter)
    if convert_settings.checkpoint and CONVERTERS_OF_METHODS[method] != _UNIFIED:
        raise SettingsError(
            f"method {method} does not take weights of --checkpoint",
            "leave --checkpoint out; mc takes those that `umc train --pair` left in checkpoints/",
        )


def _one_to_one(
    workspace: Workspace, settings: ConvertSettings, registry: DeviceRegistry, everything: Recordings
) -> OnTheFlyConversions:
    """Build the generator of every pair; `umc train --pair` leaves them in the workspace's checkpoints."""
    paths = _paths_of_pairs(workspace, settings)
    converters: dict[str, Converter] = {}
    made_with: dict[str, str] = {}
    for target, path in paths.items():
        asked = settings.model_copy(update={"converter": "film_gan", "targets": (target,), "checkpoint": path})
        choice, known = choose_conversion(workspace, asked, registry, everything)
        converters[target] = CONVERTERS["film_gan"].build(_one_thread(gather_ingredients(asked, choice, known, {})))
        made_with[target] = converters[target].describe()["checkpoint_sha256"]
    return OnTheFlyConversions(
        "film_gan",
        tuple(paths),
        made_with,
        converters,
        compute_device(settings.compute_device),
        "; ".join(map(weights_in_words, paths.values())),
    )


def _paths_of_pairs(workspace: Workspace, settings: ConvertSettings) -> dict[str, Path]:
    """Return the generator of every target of `mc`."""
    _check_converter("mc", settings)
    paths = {
        path.stem.removeprefix(f"{settings.source}-to-"): path
        for path in sorted(workspace.checkpoints.glob(f"{settings.source}-to-*.safetensors"))
    }
    targets: Sequence[str] = sorted(paths) if settings.targets == ("all",) else settings.targets
    missing = [target for target in targets if target not in paths]
    if missing or not targets:
        pair = f"{settings.source}:{missing[0] if missing else 'TARGET'}"
        raise SettingsError(
            f"method mc has no checkpoint for {', '.join(missing) or 'any target'} in {workspace.checkpoints}",
            f"train it with `umc train --pair {pair}`, or name the targets that have one with --targets",
        )
    return {target: paths[target] for target in targets}


def _one_thread(ingredients: Ingredients) -> Ingredients:
    # Batches are made beside the training, which has the other processors.
    return replace(ingredients, engine=ingredients.engine.model_copy(update={"threads": 1}))
