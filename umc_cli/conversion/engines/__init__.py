"""The engines, by the name that `umc convert --engine` takes. To add one, see docs/extending.md."""

from collections.abc import Mapping

import torch

from umc_cli.conversion.engines import openvino_engine, openvino_package, torch_engine
from umc_cli.conversion.engines.contract import Engine, EngineBuilder, RefinerEngine, RefinerEngineBuilder
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.precision import Precision

AUTO = "auto"

ENGINES: dict[str, EngineBuilder] = {
    "torch": torch_engine.TorchEngine,
    "openvino": openvino_engine.OpenVinoEngine,
}

REFINER_ENGINES: dict[str, RefinerEngineBuilder] = {
    "torch": torch_engine.TorchRefinerEngine,
    "openvino": openvino_engine.OpenVinoRefinerEngine,
}


def choose_engine(device: torch.device) -> str:
    """Return the fastest engine for a device: `torch` on CUDA, `openvino` on CPUs where it can be loaded."""
    if device.type != "cpu" or not openvino_package.is_installed() or openvino_package.failure():
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
    device: torch.device,
    threads: int = 1,
) -> tuple[str, Engine]:
    """Return the name of the engine and the engine itself, ready to compute.

    Raises:
        SettingsError: the engine is unknown, or cannot work with this device or precision.
    """
    check_engine_name(engine)
    name = choose_engine(device) if engine == AUTO else engine
    return name, ENGINES[name](generator, precision, device, threads)


def build_refiner_engine(
    refiner: Refiner,
    *,
    engine: str = AUTO,
    precision: Precision = Precision.AUTO,
    device: torch.device,
    threads: int = 1,
) -> tuple[str, RefinerEngine]:
    """Do for a refiner what `build_engine` does for a generator."""
    check_engine_name(engine)
    name = choose_engine(device) if engine == AUTO else engine
    return name, REFINER_ENGINES[name](refiner, precision, device, threads)
