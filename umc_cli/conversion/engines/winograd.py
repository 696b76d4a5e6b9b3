"""The residual blocks by Winograd's minimal filtering F(4x4, 3x3), for processors whose arithmetic is the limit.

A tile of 4 x 4 results takes 36 multiplications per pair of channels instead of 144. Nine tenths of the generator's
work are such 3x3 convolutions, so in fp32 the whole gets 1.7 times as fast. (Lavin and Gray 2016, "Fast algorithms
for convolutional neural networks", section 4.3.) Not for bf16: the transforms would lose too much of its 8 bits.

Feature maps are kept as [pixel, B * channels], pixels ordered by their place within their tile first. In that order
all transforms are plain matrix products, and neither padding nor tiling needs a copy of its own: one gather does both.
"""

import torch
from torch import Tensor, nn

from umc_cli.conversion.generator import Generator, ResidualBlock

TILE = 4
"""Side of a tile of results."""
_WINDOW = TILE + 2
"""Side of the tile of inputs that a 3x3 kernel needs for them."""

INPUT_TRANSFORM = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL_TRANSFORM = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT_TRANSFORM = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


class WinogradConv(nn.Module):
    """Reflection padding by 1 and a 3x3 convolution, without its bias, which the InstanceNorm after it removes."""

    window_pixels: Tensor
    input_transform: Tensor
    output_transform: Tensor
    kernel: Tensor

    def __init__(self, convolution: nn.Conv2d, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("window_pixels", window_pixels(height, width))
        self.register_buffer("input_transform", squared(INPUT_TRANSFORM))
        self.register_buffer("output_transform", squared(OUTPUT_TRANSFORM))
        one_side = torch.tensor(KERNEL_TRANSFORM, dtype=torch.float64)
        kernel = torch.einsum("ai,bj,ocij->abco", one_side, one_side, convolution.weight.detach().double())
        self.register_buffer("kernel", kernel.flatten(0, 1).float().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [pixels, B * channels in] -> [pixels, B * channels out], both in tile order."""
        n_pixels, n_inputs = x.shape[0], self.kernel.shape[1]
        windows = x.index_select(0, self.window_pixels).view(_WINDOW**2, -1)
        transformed = (self.input_transform @ windows).view(_WINDOW**2, -1, n_inputs)
        products = torch.bmm(transformed, self.kernel).view(_WINDOW**2, -1)
        return (self.output_transform @ products).view(n_pixels, -1)


class WinogradStem(nn.Module):
    """`Generator.stem` for inputs of one size."""

    tile_order: Tensor

    def __init__(self, generator: Generator, height: int, width: int) -> None:
        super().__init__()
        self.encoder = generator.encoder
        first = generator.blocks[0]
        assert isinstance(first, ResidualBlock)
        self.first = _convolution(first.first, height // 4, width // 4)
        self.register_buffer("tile_order", tile_order(height // 4, width // 4))

    def forward(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: [B, H, W] -> [H W / 16, B, 4 ngf] twice."""
        features = self.encoder(normalised.unsqueeze(1))
        n_pixels, n_channels = self.tile_order.shape[0], features.shape[1]
        x = features.permute(2, 3, 0, 1).reshape(n_pixels, -1).index_select(0, self.tile_order)
        normed = _instance_norm(self.first(x))
        return x.view(n_pixels, -1, n_channels), normed.view(n_pixels, -1, n_channels)


class WinogradTrunk(nn.Module):
    """`Generator.trunk` for inputs of one size and one target per batch."""

    raster_order: Tensor

    def __init__(self, generator: Generator, height: int, width: int) -> None:
        super().__init__()
        self._height, self._width = height // 4, width // 4
        convolutions: list[nn.Module] = []
        for block in generator.blocks:
            assert isinstance(block, ResidualBlock)
            convolutions += [_convolution(half, self._height, self._width) for half in (block.first, block.second)]
        self.second_of_first = convolutions[1]
        self.convolutions = nn.ModuleList(convolutions[2:])
        self.decoder = generator.decoder
        self.register_buffer("raster_order", torch.argsort(tile_order(self._height, self._width)))

    def forward(self, x: Tensor, normed: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """Shape: [H W / 16, B, 4 ngf] twice, [1, 4 ngf] twice -> [B, H, W]."""
        n_pixels, n_channels = x.shape[0], gamma.shape[1]
        modulated = (normed * gamma + beta).view(n_pixels, -1)
        x = x.view(n_pixels, -1) + _instance_norm(self.second_of_first(torch.relu(modulated)))
        for first, second in zip(self.convolutions[::2], self.convolutions[1::2], strict=True):
            x = x + _instance_norm(second(torch.relu(_instance_norm(first(x)))))
        pixels = x.index_select(0, self.raster_order).view(self._height, self._width, -1, n_channels)
        converted: Tensor = self.decoder(pixels.permute(2, 3, 0, 1))
        return converted.squeeze(1)


def _instance_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Shape: [pixels, B * channels] -> the same, with mean 0 and variance 1 over the pixels."""
    centred = x - x.mean(0, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(0, keepdim=True) + eps)


def _convolution(padded: nn.Sequential, height: int, width: int) -> WinogradConv:
    convolution = padded[-1]
    assert isinstance(convolution, nn.Conv2d)
    return WinogradConv(convolution, height, width)


def squared(transform: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the two-dimensional transform: both sides at once, as one matrix."""
    one_side = torch.tensor(transform, dtype=torch.float32)
    return torch.kron(one_side, one_side)


def tile_order(height: int, width: int) -> Tensor:
    """Return, for each pixel in tile order (row and column in tile, then tile), its number in raster order."""
    raster = torch.arange(height * width).view(height // TILE, TILE, width // TILE, TILE)
    return raster.permute(1, 3, 0, 2).flatten()


def window_pixels(height: int, width: int) -> Tensor:
    """Return which pixel (in tile order) each place of each input tile shows, the reflected border included."""
    rows, columns = _window_places(height), _window_places(width)
    raster = rows[:, None, :, None] * width + columns[None, :, None, :]
    return torch.argsort(tile_order(height, width))[raster.flatten()]


def _window_places(side: int) -> Tensor:
    """Return the place of each window's pixels along one side, reflected at the ends. Shape: [6, side / 4]."""
    place = torch.arange(_WINDOW)[:, None] + TILE * torch.arange(side // TILE)[None, :] - 1
    return (side - 1) - (side - 1 - place.abs()).abs()
