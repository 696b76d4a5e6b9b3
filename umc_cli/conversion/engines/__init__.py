"""The engines, by the name that `umc convert --engine` takes. To add one, see docs/extending.md.

Listing them loads no torch; each loads it, and its own library, when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from umc_cli.checkpoint import file_sha256
from umc_cli.conversion.engines import openvino_package
from umc_cli.conversion.engines.contract import Engine, EngineBuilder, RefinerEngine, RefinerEngineBuilder
from umc_cli.conversion.engines.precisions import openvino_precision, torch_precision
from umc_cli.conversion.on_demand import on_demand
from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.precision import Precision

if TYPE_CHECKING:
    import torch

    from umc_cli.conversion.converters.contract import EngineSettings
    from umc_cli.conversion.generator import Generator
    from umc_cli.conversion.refiner_network import Refiner

AUTO = "auto"

ENGINES: dict[str, EngineBuilder] = {
    "torch": on_demand("engines.torch_engine", "TorchEngine"),
    "torch-compile": on_demand("engines.compiled_engine", "CompiledEngine"),
    "openvino": on_demand("engines.openvino_engine", "OpenVinoEngine"),
}

REFINER_ENGINES: dict[str, RefinerEngineBuilder] = {
    "torch": on_demand("engines.torch_engine", "TorchRefinerEngine"),
    "torch-compile": on_demand("engines.compiled_engine", "CompiledRefinerEngine"),
    "openvino": on_demand("engines.openvino_engine", "OpenVinoRefinerEngine"),
}

PRECISIONS: dict[str, Callable[[Precision, torch.device | str], Precision]] = {
    "torch": torch_precision,
    "torch-compile": torch_precision,
    "openvino": openvino_precision,
}
"""By engine: the number format that it will compute in."""


def choose_engine(device: torch.device | str) -> str:
    """Return the fastest engine for a device: `torch` on CUDA, `openvino` on CPUs where it can be loaded."""
    if str(device) != "cpu" or not openvino_package.is_installed() or openvino_package.failure():
        return "torch"
    return "openvino"


def slower_engine_reason(setting: str, made_with: Mapping[str, str]) -> str | None:
    """Say why `auto` did not take the fastest engine, if it would have and could not.

    `asked`: what the settings name; `made_with`: see `Conversion.made_with`.
    """
    on_cpu = "compute_device" not in made_with
    if setting != AUTO or made_with.get("engine") != "torch" or not on_cpu or not openvino_package.is_installed():
        return None
    failure = openvino_package.failure()
    return f"using engine torch, which is slower: engine openvino cannot be loaded ({failure})" if failure else None


def check_engine_name(name: str) -> None:
    """Refuse a name that is neither `auto` nor an engine.

    Raises:
        SettingsError: the name is unknown.
    """
    if name not in (AUTO, *ENGINES):
        raise SettingsError(f"unknown engine {name!r}", did_you_mean(name, (AUTO, *ENGINES), "engines"))


def build_engine(
    generator: Generator,
    *,
    engine: str = AUTO,
    precision: Precision = Precision.AUTO,
    device: torch.device | str,
    threads: int = 1,
) -> tuple[str, Engine]:
    """Return the name of the engine and the engine itself, ready to compute.

    Raises:
        SettingsError: the engine is unknown, or cannot work with this device or precision.
    """
    check_engine_name(engine)
    name = choose_engine(device) if engine == AUTO else engine
    return name, ENGINES[name](generator, precision, _torch_device(device), threads)


def build_refiner_engine(
    refiner: Refiner,
    *,
    engine: str = AUTO,
    precision: Precision = Precision.AUTO,
    device: torch.device | str,
    threads: int = 1,
) -> tuple[str, RefinerEngine]:
    """Do for a refiner what `build_engine` does for a generator."""
    check_engine_name(engine)
    name = choose_engine(device) if engine == AUTO else engine
    return name, REFINER_ENGINES[name](refiner, precision, _torch_device(device), threads)


def describe_refiner(checkpoint: Path | None, settings: EngineSettings, device: torch.device | str) -> dict[str, str]:
    """Return the engine, the precision and the checkpoint of a refiner, as its converter will describe itself.

    Raises:
        SettingsError: the engine is unknown, or cannot work with this device or precision; there is no checkpoint.
    """
    if checkpoint is None:
        raise ValueError("the refiner was described without a checkpoint")
    check_engine_name(settings.engine)
    name = choose_engine(device) if settings.engine == AUTO else settings.engine
    precision = PRECISIONS[name](settings.precision, device)
    return {"engine": name, "precision": precision.value, "checkpoint_sha256": file_sha256(checkpoint)}


def _torch_device(device: torch.device | str) -> torch.device:
    import torch

    return torch.device(device)
