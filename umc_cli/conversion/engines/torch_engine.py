"""`torch`: the generator as PyTorch computes it, on CUDA or the CPU. The reference for the other engines."""

import copy

import torch
from torch import Tensor

from umc_cli.conversion.generator import Generator, Stem
from umc_cli.runtime import TORCH_DTYPES, Precision, compute_threads


class TorchEngine:
    """The whole module in one number format, channels last: faster than autocast, which casts at every layer."""

    def __init__(self, generator: Generator, precision: Precision, device: torch.device, threads: int) -> None:
        self._device = device
        self._threads = threads
        self.precision = _best_precision(device) if precision is Precision.AUTO else precision
        # The caller's generator keeps its own precision and place.
        self._generator = copy.deepcopy(generator).eval().requires_grad_(False)
        self._generator.to(device=device, dtype=TORCH_DTYPES[self.precision]).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def stem(self, normalised: Tensor) -> Stem:
        """Shape: [B, 80, 80] float32 -> [B, 4 ngf, 20, 20] twice, in the engine's number format."""
        with compute_threads(self._threads):
            return self._generator.stem(self._cast(normalised))

    @torch.inference_mode()
    def trunk(self, stem: Stem, gamma: Tensor, beta: Tensor) -> Tensor:
        """Shape: gamma and beta [1, 4 ngf] float32 -> [B, 80, 80] float32."""
        with compute_threads(self._threads):
            return self._generator.trunk(stem, self._cast(gamma), self._cast(beta)).float()

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self._device, dtype=TORCH_DTYPES[self.precision])


def _best_precision(device: torch.device) -> Precision:
    if device.type == "cpu":
        # Without bf16 units torch emulates it, slower than fp32; where there are some, OpenVINO is the engine.
        return Precision.FP32
    return Precision.BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else Precision.FP16
