"""What SEC methods do to samples and to the network, put together from their names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, field_validator
from torch import nn

from umc_cli.config import Settings, dump_settings
from umc_cli.errors import SettingsError
from umc_cli.sec.augmentations import AUGMENTATIONS
from umc_cli.sec.augmentations.contract import (
    AugmentationMaterial,
    AugmentationSpec,
    SpectrogramAugmentation,
    WaveformAugmentation,
)
from umc_cli.wrong_settings import first_fault


class NetworkParts(Settings):
    """The methods that are part of the network, each with its settings; stored in the classifier's checkpoint."""

    parts: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("parts")
    @classmethod
    def _check(cls, parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, given in parts.items():
            if name not in AUGMENTATIONS or not AUGMENTATIONS[name].build_network_part:
                raise ValueError(f"{name!r} is not a method that is part of the network")
            AUGMENTATIONS[name].settings.model_validate(given)
        return parts

    def at_input(self, mean_db: float, std_db: float) -> list[nn.Module]:
        """Return the parts for the network's input."""
        return [_part(AUGMENTATIONS[name], given, mean_db, std_db) for name, given in self.parts.items()]

    def after_stages(self, mean_db: float, std_db: float) -> Callable[[], nn.Module] | None:
        """Return what makes the part for the end of a stage; None if no method has one."""
        staged = {name: given for name, given in self.parts.items() if AUGMENTATIONS[name].after_stages}
        if not staged:
            return None

        def build() -> nn.Module:
            return nn.Sequential(
                *[_part(AUGMENTATIONS[name], given, mean_db, std_db) for name, given in staged.items()]
            )

        return build


@dataclass(frozen=True)
class SampleAlterations:
    """The methods that alter samples while training, in the order in which they are applied."""

    waveform: tuple[WaveformAugmentation, ...] = ()
    spectrogram: tuple[SpectrogramAugmentation, ...] = ()


def check_method_settings(given: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse settings of unknown methods, and unknown settings of known ones. `given`: settings by method.

    Methods that a run does not use may be among them: several runs share umc.toml.

    Raises:
        SettingsError: naming the method, and those that have settings.
    """
    for name in given:
        if name not in AUGMENTATIONS:
            raise SettingsError(
                f"method_settings are given for {name!r}, which has no settings",
                f"methods with settings: {', '.join(AUGMENTATIONS)}",
            )
        _settings(name, given)


def network_parts(names: Sequence[str], given: Mapping[str, Mapping[str, Any]]) -> NetworkParts:
    """Return the methods among `names` that are part of the network. `given`: settings by method.

    Raises:
        SettingsError: a setting is unknown or not allowed.
    """
    parts = {}
    for name in names:
        if AUGMENTATIONS[name].build_network_part:
            parts[name] = dump_settings(_settings(name, given))
    return NetworkParts(parts=parts)


def sample_alterations(
    names: Sequence[str], given: Mapping[str, Mapping[str, Any]], material: AugmentationMaterial
) -> SampleAlterations:
    """Return the methods among `names` that alter samples. `given`: settings by method.

    Raises:
        SettingsError: a setting is unknown or not allowed, or a method lacks what it needs.
    """
    waveform, spectrogram = [], []
    for name in names:
        spec = AUGMENTATIONS[name]
        if spec.build_waveform:
            waveform.append(spec.build_waveform(_settings(name, given), material))
        if spec.build_spectrogram:
            spectrogram.append(spec.build_spectrogram(_settings(name, given), material))
    return SampleAlterations(tuple(waveform), tuple(spectrogram))


def _settings(name: str, given: Mapping[str, Mapping[str, Any]]) -> Settings:
    try:
        return AUGMENTATIONS[name].settings.model_validate(dict(given.get(name, {})))
    except ValidationError as error:
        raise SettingsError(f"method {name}: {first_fault(error)}", "see docs/extending.md#sec-methods") from error


def _part(spec: AugmentationSpec, given: Mapping[str, Any], mean_db: float, std_db: float) -> nn.Module:
    assert spec.build_network_part is not None
    material = AugmentationMaterial(np.empty((0, 128)), mean_db, std_db)
    return spec.build_network_part(spec.settings.model_validate(given), material)
