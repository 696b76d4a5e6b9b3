"""Which number format an engine computes in, known before it is built. Loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umc_cli.conversion.engines import openvino_package
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision
from umc_cli.runtime import has_bf16_units

if TYPE_CHECKING:
    import torch

_CAPABILITIES = {Precision.FP32: "FP32", Precision.BF16: "BF16", Precision.FP16: "FP16"}


def torch_precision(wanted: Precision, device: torch.device | str) -> Precision:
    """Return the number format of the engine `torch`."""
    if wanted is not Precision.AUTO:
        return wanted
    if str(device) == "cpu":
        # Without bf16 units torch emulates it, slower than fp32; where there are some, OpenVINO is the engine.
        return Precision.FP32
    # As fast as bf16, with three more bits: the paper's generator stays within 0.1 dB of fp32 only in fp16.
    return Precision.FP16


def openvino_precision(wanted: Precision, device: torch.device | str) -> Precision:
    """Return the number format of the engine `openvino`.

    Raises:
        SettingsError: OpenVINO is not here, or cannot work with that device or precision.
    """
    if str(device) != "cpu":
        raise SettingsError(f"engine 'openvino' computes on the CPU, not on {device}", "use --engine torch")
    if not openvino_package.is_installed():
        raise SettingsError("engine 'openvino' is not installed", "pip install openvino, or use --engine torch")
    if failure := openvino_package.failure():
        raise SettingsError(f"engine 'openvino' cannot be loaded: {failure}", "use --engine torch")
    capabilities = openvino_package.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return choose_precision(wanted, capabilities, has_bf16_units(device))


def choose_precision(wanted: Precision, capabilities: list[str], bf16_is_faster: bool) -> Precision:
    """Return the wanted number format, or the fastest of those that OpenVINO says the processor has.

    Raises:
        SettingsError: the processor does not have the wanted one.
    """
    if wanted is Precision.AUTO:
        return Precision.BF16 if bf16_is_faster and "BF16" in capabilities else Precision.FP32
    if _CAPABILITIES[wanted] not in capabilities:
        raise SettingsError(f"this processor does not support {wanted}", "use --precision auto or fp32")
    return wanted
