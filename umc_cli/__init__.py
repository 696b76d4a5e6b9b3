"""Turn sound recordings made with one device into what other devices would have recorded.

What is listed in `__all__` is for users of Python (docs/python.md); it is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umc_cli.api import convert, devices, log_mel, measure, open_conversion
    from umc_cli.audio.feature_settings import SecFeatures
    from umc_cli.conversion.chosen.conversion import Conversion
    from umc_cli.conversion.device_augment import DeviceAugment
    from umc_cli.conversion.waveform_augment import WaveformAugment
    from umc_cli.errors import UmcError
    from umc_cli.shards.reader import ShardDataset

__version__ = "0.2.0"

__all__ = [
    "Conversion",
    "DeviceAugment",
    "SecFeatures",
    "ShardDataset",
    "UmcError",
    "WaveformAugment",
    "convert",
    "devices",
    "log_mel",
    "measure",
    "open_conversion",
]

_HOMES = {
    "Conversion": "umc_cli.conversion.chosen.conversion",
    "DeviceAugment": "umc_cli.conversion.device_augment",
    "SecFeatures": "umc_cli.audio.feature_settings",
    "ShardDataset": "umc_cli.shards.reader",
    "UmcError": "umc_cli.errors",
    "WaveformAugment": "umc_cli.conversion.waveform_augment",
}
"""Modules of the names that do not come from `umc_cli.api`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "umc_cli.api")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
