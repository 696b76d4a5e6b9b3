"""`openvino`: the generator compiled for the processor at hand, in bf16 where it has units for that, else in fp32."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.conversion.engines import openvino_package
from umc_cli.conversion.engines.precisions import openvino_precision
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.precision import Precision

OpenVinoStem = tuple[NDArray[np.float32], NDArray[np.float32]]

_PRECISION_HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16", Precision.FP16: "f16"}


class OpenVinoEngine:
    """Stem and trunk as two compiled models, one batch at a time on all the given processors.

    Not to be called from several threads at once.
    """

    def __init__(self, generator: Generator, precision: Precision, device: torch.device, threads: int) -> None:
        self.precision, compile_model = _compiler(precision, device, threads)
        # Here, as OpenVINO need not be installed.
        from umc_cli.conversion.engines.openvino_generator import stem_model, trunk_model

        self._stem = compile_model(stem_model(generator))
        self._trunk = compile_model(trunk_model(generator))

    def stem(self, normalised: Tensor) -> OpenVinoStem:
        """Shape: [B, 80, 80] float32 -> two arrays in the order that this engine's trunk takes."""
        results = _infer(self._stem, [normalised.detach().contiguous().numpy()])
        return results[0], results[1]

    def trunk(self, stem: OpenVinoStem, gamma: Tensor, beta: Tensor) -> Tensor:
        """Shape: gamma and beta [1 or B, 4 ngf] float32 -> [B, 80, 80] float32."""
        film = [gamma.detach().cpu().numpy(), beta.detach().cpu().numpy()]
        return torch.from_numpy(_infer(self._trunk, [*stem, *film])[0])


class OpenVinoRefinerEngine:
    """The refiner as one compiled model; the same limits hold."""

    def __init__(self, refiner: Refiner, precision: Precision, device: torch.device, threads: int) -> None:
        self.precision, compile_model = _compiler(precision, device, threads)
        # Here, as OpenVINO need not be installed.
        from umc_cli.conversion.engines.openvino_refiner import refiner_model

        self._request = compile_model(refiner_model(refiner))

    def __call__(self, maps: Tensor) -> Tensor:
        """Shape: [B, 8, 80, 80] float32 -> [B, 80, 80] float32."""
        return torch.from_numpy(_infer(self._request, [maps.detach().contiguous().numpy()])[0])


def _compiler(wanted: Precision, device: torch.device, threads: int) -> tuple[Precision, Callable[[Any], Any]]:
    """Return the precision, and what makes an inference request of an `openvino.Model`.

    Raises:
        SettingsError: OpenVINO is not here, or cannot work with that device or precision.
    """
    precision = openvino_precision(wanted, device)
    core = openvino_package.core()
    settings = {
        "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    return precision, lambda model: core.compile_model(model, "CPU", settings).create_infer_request()


def _infer(request: Any, inputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Run one batch without copying the inputs; the outputs are copied, as the next batch overwrites them."""
    results = request.infer(dict(enumerate(inputs)), share_inputs=True)
    return [results[index] for index in range(len(results))]
