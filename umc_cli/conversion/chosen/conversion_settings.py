"""Settings that say which conversion is meant. Loads no torch: help is made from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from umc_cli.config import ALL, MACHINE, Names, Option, WordOrPath
from umc_cli.machine_settings import ComputeDeviceSettings
from umc_cli.precision import Precision

_CONVERSION = "Conversion"

CONVERTER_NAMES = (
    "refiner_transport",
    "refiner_quantile",
    "transport",
    "quantile",
    "refiner",
    "eq_noise",
    "eq",
    "film_gan",
)
"""As `conversion.converters.CONVERTERS` has them; kept here too because that loads numpy (a test compares them)."""

CONVERTERS_WITH_NETWORK = frozenset({"refiner_transport", "refiner_quantile", "refiner", "film_gan"})
"""What engine and precision are of."""

Targets = Annotated[Names, WordOrPath(prefix="synth:")]


class ConverterEngineSettings(ComputeDeviceSettings):
    """How the network of a converter is computed."""

    engine: Annotated[str, Option(MACHINE, words=("auto", "torch", "torch-compile", "openvino"))] = "auto"
    """Engine of the network: torch, torch-compile, openvino or auto."""
    precision: Annotated[Precision, Option(MACHINE)] = Precision.AUTO
    """fp32, bf16, fp16 or auto (the fastest that the machine supports)."""

    def without_network(self, converters: Sequence[str]) -> dict[str, str]:
        """Return why engine and precision have no effect on these converters (none: any), if they have none.

        Converters without network are computed by torch in fp32, and may be asked for that.
        """
        if not converters or CONVERTERS_WITH_NETWORK & {*converters}:
            return {}
        in_vain = {
            "engine": self.engine not in ("auto", "torch"),
            "precision": self.precision not in (Precision.AUTO, Precision.FP32),
        }
        reason = f"{' and '.join(converters)} {'computes' if len(converters) == 1 else 'compute'} no network"
        return {name: reason for name, is_in_vain in in_vain.items() if is_in_vain}


class ConversionSettings(ConverterEngineSettings):
    """From which device to which others, by which converter, and how it is computed."""

    source: Annotated[str, Option(devices=True)]
    """Device that made the recordings."""
    targets: Annotated[Targets, Option(devices=True)] = ALL
    """Devices to convert to, comma-separated, or all (every other device that the converter can serve); synth:N means
    N invented devices, synth:FILE those of a file that umc synth-fr wrote."""
    converter: Annotated[str, Option(_CONVERSION, words=("auto", *CONVERTER_NAMES))] = "auto"
    """refiner_transport, refiner_quantile, transport, quantile, refiner, eq_noise, eq, film_gan, or auto (the best one
    whose inputs are available)."""
    checkpoint: Annotated[
        Path | None,
        Option(
            _CONVERSION,
            default="checkpoints/generator.safetensors or checkpoints/refiner.safetensors, else the package's",
        ),
    ] = None
    """Weights (safetensors) for film_gan or for the refiners."""
