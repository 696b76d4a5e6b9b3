"""`torch`: the generator as PyTorch computes it, on CUDA or the CPU. The reference for the other engines."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from umc_cli.conversion.engines.precisions import torch_precision
from umc_cli.conversion.generator import Generator, Stem
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.precision import Precision
from umc_cli.runtime import compute_fp32_in_full, compute_threads, torch_dtype


class TorchEngine:
    """The whole module in one number format, channels last: faster than autocast, which casts at every layer."""

    def __init__(self, generator: Generator, precision: Precision, device: torch.device, threads: int) -> None:
        self._device = device
        self._threads = threads
        self.precision = torch_precision(precision, device)
        self._generator = _fitted(generator, device, self.precision)
        if device.type == "cuda":  # on the CPU shards are to keep their bytes
            drop_idle_biases(self._generator)
        self._stem, self._trunk = self._generator.stem, self._generator.trunk

    @torch.inference_mode()
    def stem(self, normalised: Tensor) -> Stem:
        """Shape: [B, 80, 80] float32 -> [B, 4 ngf, 20, 20] twice, in the engine's number format."""
        with compute_threads(self._threads):
            return self._stem(self._cast(normalised))

    @torch.inference_mode()
    def trunk(self, stem: Stem, gamma: Tensor, beta: Tensor) -> Tensor:
        """Shape: gamma and beta [1 or B, 4 ngf] float32 -> [B, 80, 80] float32."""
        with compute_threads(self._threads):
            return self._trunk(stem, self._cast(gamma), self._cast(beta)).float()

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self._device, dtype=torch_dtype(self.precision))


class TorchRefinerEngine:
    """The refiner, in the same manner."""

    def __init__(self, refiner: Refiner, precision: Precision, device: torch.device, threads: int) -> None:
        self._device = device
        self._threads = threads
        self.precision = torch_precision(precision, device)
        self._network: Callable[[Tensor], Tensor] = _fitted(refiner, device, self.precision)

    @torch.inference_mode()
    def __call__(self, maps: Tensor) -> Tensor:
        """Shape: [B, 8, 80, 80] float32 -> [B, 80, 80] float32."""
        with compute_threads(self._threads):
            cast = maps.to(self._device, torch_dtype(self.precision), memory_format=torch.channels_last)
            return self._network(cast).float()


def drop_idle_biases(generator: Generator) -> None:
    """Remove the biases that InstanceNorm takes off again: all but the last convolution's.

    Each costs a pass over its feature map. The result changes by rounding only.
    """
    parts = (generator.encoder, generator.blocks, generator.decoder)
    convolutions = [
        module for part in parts for module in part.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    for convolution in convolutions[:-1]:
        convolution.bias = None


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def _fitted(module: ModuleT, device: torch.device, precision: Precision) -> ModuleT:
    """Return a copy for inference; the caller's module keeps its own precision and place."""
    compute_fp32_in_full(device)
    fitted = copy.deepcopy(module).eval().requires_grad_(False)
    return fitted.to(device=device, dtype=torch_dtype(precision)).to(memory_format=torch.channels_last)
