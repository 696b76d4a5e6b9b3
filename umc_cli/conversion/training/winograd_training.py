"""The generator in training on CPUs, computed with fewer multiplications: forward and gradients.

The 3x3 convolutions of the residual blocks, nine tenths of the work, go by Winograd's F(4x4, 3x3), which takes 36
multiplications in the place of 144 (see `engines.winograd`, whose layout and transforms these are: feature maps are
[pixel, B * channels], pixels in tile order). Both gradients of such a convolution are products of the same size. The
last convolution, 7x7 to one channel, is one matrix product and a sum of shifted planes. Equal to
`Generator.forward` but for rounding.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umc_cli.conversion.engines import winograd
from umc_cli.conversion.generator import Generator, ResidualBlock

_LEAST_CHANNELS = 128
"""Of the residual blocks; with fewer the transforms cost more than the multiplications that they save."""
_WINDOW_VALUES, _TILE_VALUES, _KERNEL_VALUES = 36, 16, 9
_EPSILON = 1e-5
"""Of InstanceNorm."""


def is_worthwhile(generator: Generator, normalised: Tensor) -> bool:
    """Tell whether `forward_for_training` can compute this, and is faster than `Generator.forward`."""
    return (
        torch.is_grad_enabled()
        and normalised.device.type == "cpu"
        and normalised.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and 4 * generator.settings.ngf >= _LEAST_CHANNELS
        and normalised.shape[-2] % 16 == 0
        and normalised.shape[-1] % 16 == 0
    )


def forward_for_training(generator: Generator, normalised: Tensor, fr_difference_db: Tensor) -> Tensor:
    """Return what `generator` does. Shape: [B, H, W] without unit, [B, 128] dB -> [B, H, W]; H, W multiples of 16."""
    gamma, beta = generator.film_encoder(fr_difference_db)
    features = generator.encoder(normalised.unsqueeze(1))
    n_segments, n_channels, height, width = features.shape
    order, raster, window = _orders(height, width)
    x = features.permute(2, 3, 0, 1).reshape(height * width, -1).index_select(0, order)
    for index, block in enumerate(generator.blocks):
        assert isinstance(block, ResidualBlock)
        normed = _normed(_convolved(x, block.first, window))
        if index == 0:
            normed = (normed.view(-1, n_segments, n_channels) * gamma + beta).view_as(x)
        x = x + _normed(_convolved(torch.relu(normed), block.second, window))
    pixels = x.index_select(0, raster).view(height, width, n_segments, n_channels)
    before_last = generator.decoder[:-2](pixels.permute(2, 3, 0, 1))
    padding, last = generator.decoder[-2:]
    assert isinstance(last, nn.Conv2d)
    return _to_one_channel(padding(before_last), last)


class _Convolution(torch.autograd.Function):
    """Reflection padding by 1 and a 3x3 convolution, without its bias, which the InstanceNorm after it removes.

    Shape: [pixels, B * channels in], [channels out, channels in, 3, 3] -> [pixels, B * channels out].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Tensor) -> Tensor:
        input_transform, output_transform, kernel_transform = _transforms()
        n_out, n_in = weight.shape[:2]
        kernel = (kernel_transform @ weight.reshape(-1, _KERNEL_VALUES).T).view(-1, n_out, n_in)
        windows = x.index_select(0, window).view(_WINDOW_VALUES, -1)
        products = torch.bmm((input_transform @ windows).view(_WINDOW_VALUES, -1, n_in), kernel.mT)
        # The windows are made again for the gradient: kept, they would take more than twice the room of the input.
        ctx.save_for_backward(x, kernel, window)
        return (output_transform @ products.view(_WINDOW_VALUES, -1)).view(len(x), -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        input_transform, output_transform, kernel_transform = _transforms()
        x, kernel, window = ctx.saved_tensors
        _, n_out, n_in = kernel.shape
        products = output_transform.T @ gradients[0].reshape(_TILE_VALUES, -1)
        products = products.view(_WINDOW_VALUES, -1, n_out)
        for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            windows = input_transform.T @ torch.bmm(products, kernel).view(_WINDOW_VALUES, -1)
            for_x = torch.zeros_like(x).index_add_(0, window, windows.view(len(window), -1))
        if ctx.needs_input_grad[1]:
            windows = input_transform @ x.index_select(0, window).view(_WINDOW_VALUES, -1)
            for_kernel = torch.bmm(products.mT, windows.view(_WINDOW_VALUES, -1, n_in))
            for_weight = (kernel_transform.T @ for_kernel.view(_WINDOW_VALUES, -1)).T.reshape(n_out, n_in, 3, 3)
        return for_x, for_weight, None


class _Normalisation(torch.autograd.Function):
    """InstanceNorm over the pixels. Shape: [pixels, B * channels] -> the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # Not var_mean, which takes several times as long along the first dimension.
        normed = x - x.mean(0, keepdim=True)
        scale = torch.rsqrt(normed.square().mean(0, keepdim=True) + _EPSILON)
        normed.mul_(scale)
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        normed, scale = ctx.saved_tensors
        gradient = gradients[0]
        along = (gradient * normed).mean(0, keepdim=True)
        return (gradient - gradient.mean(0, keepdim=True)).sub_(normed * along).mul_(scale)


def _convolved(x: Tensor, padded: nn.Sequential, window: Tensor) -> Tensor:
    convolution = padded[-1]
    assert isinstance(convolution, nn.Conv2d)
    convolved: Tensor = _Convolution.apply(x, convolution.weight, window)
    return convolved


def _normed(x: Tensor) -> Tensor:
    normed: Tensor = _Normalisation.apply(x)
    return normed


def _to_one_channel(padded: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Shape: [B, channels, H + k - 1, W + k - 1] -> [B, H, W]."""
    size = convolution.kernel_size[0]
    height, width = padded.shape[-2:]
    # Each pixel's part in all results that it belongs to, then the sum of these parts where they belong.
    parts = convolution.weight.flatten(2).squeeze(0).T.flip(0) @ padded.flatten(2)
    sums = F.fold(parts, (height + size - 1, width + size - 1), size).squeeze(1)
    result = sums[:, size - 1 : height, size - 1 : width]
    return result if convolution.bias is None else result + convolution.bias


@lru_cache(maxsize=1)
def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms of inputs [36, 36], of outputs [16, 36] and of kernels [36, 9]."""
    return (
        winograd.squared(winograd.INPUT_TRANSFORM),
        winograd.squared(winograd.OUTPUT_TRANSFORM),
        winograd.squared(winograd.KERNEL_TRANSFORM),
    )


@lru_cache(maxsize=4)
def _orders(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return tile order, raster order, and the pixels of every tile's window, for feature maps of this size."""
    order = winograd.tile_order(height, width)
    return order, torch.argsort(order), winograd.window_pixels(height, width)
