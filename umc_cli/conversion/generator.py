"""The generator: CycleGAN's `resnet_9blocks` with FiLM in the first residual block (paper, sections 3.1 and 3.2).

It is cut in two: what depends on the source only (`stem`) and the rest (`trunk`), so that the first tenth of the work
is done once for all targets.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umc_cli.conversion.film import FilmEncoder
from umc_cli.conversion.generator_settings import GeneratorSettings
from umc_cli.errors import SettingsError

SIDE_MULTIPLE = 4
"""Two halvings and two doublings: both sides of the input must be multiples of this."""

_INITIAL_STD = 0.02
"""Standard deviation of CycleGAN's initial weights."""

Stem = tuple[Tensor, Tensor]
"""Input of the first residual block, and the same after that block's first convolution and InstanceNorm."""


class OneMapConv2d(nn.Conv2d):
    """A convolution to one map, without padding: its kernel's rows as a map each, which are then moved and added.

    Libraries compute a single map five times as slowly as its seven rows (docs/decisions/arithmetic.md).
    """

    def __init__(self, n_in: int, kernel: int) -> None:
        super().__init__(n_in, 1, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, n_in, H, W] -> [B, 1, H - kernel + 1, W - kernel + 1]."""
        assert self.bias is not None
        rows = F.conv2d(x, self.weight[0].transpose(0, 1).unsqueeze(2))  # [B, kernel, H, W - kernel + 1]
        kernel = rows.shape[1]
        height = x.shape[2] - kernel + 1
        moved = [rows[:, row : row + 1, row : row + height] for row in range(kernel)]
        return sum(moved, self.bias)


class ResidualBlock(nn.Module):
    """x + [ReflPad, Conv3, IN, FiLM, ReLU, ReflPad, Conv3, IN](x), with the FiLM only where it is given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _padded_conv(channels, channels, 3)
        self.second = _padded_conv(channels, channels, 3)
        self.norm = _norm(channels)

    def before_film(self, x: Tensor) -> Tensor:
        """Shape: [B, channels, H, W] -> the same."""
        normed: Tensor = self.norm(self.first(x))
        return normed

    def after_film(self, x: Tensor, modulated: Tensor) -> Tensor:
        """Shape: [B, channels, H, W] twice -> the same."""
        branch: Tensor = self.norm(self.second(torch.relu(modulated)))
        return x + branch

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, channels, H, W] -> the same."""
        return self.after_film(x, self.before_film(x))


class Generator(nn.Module):
    """Turns normalised log-mel spectrograms of one device into those of another, given the difference."""

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__()
        self.settings = settings
        narrow, middle, wide = settings.ngf, 2 * settings.ngf, 4 * settings.ngf
        self.film_encoder = FilmEncoder(
            settings.film_encoder,
            n_channels=wide,
            widths=settings.film_widths,
            kernel=settings.film_kernel,
            hidden=settings.film_hidden,
        )
        self.encoder = nn.Sequential(
            *[*_padded_conv(1, narrow, 7), _norm(narrow), nn.ReLU()],
            *[nn.Conv2d(narrow, middle, 3, stride=2, padding=1), _norm(middle), nn.ReLU()],
            *[nn.Conv2d(middle, wide, 3, stride=2, padding=1), _norm(wide), nn.ReLU()],
        )
        self.blocks = nn.ModuleList(ResidualBlock(wide) for _ in range(settings.n_blocks))
        self.decoder = nn.Sequential(
            *[_doubling_conv(wide, middle), _norm(middle), nn.ReLU()],
            *[_doubling_conv(middle, narrow), _norm(narrow), nn.ReLU()],
            *[nn.ReflectionPad2d(3), OneMapConv2d(narrow, 7)],
        )
        # Not the FiLM encoder: weights as small as these would bring small differences down to the norms' epsilon.
        for part in (self.encoder, self.blocks, self.decoder):
            part.apply(_initialise)

    def stem(self, normalised: Tensor) -> Stem:
        """Compute what does not depend on the target.

        Shape: [B, H, W] -> [B, 4 ngf, H/4, W/4] twice.

        Raises:
            SettingsError: a side is not a multiple of 4.
        """
        height, width = normalised.shape[-2:]
        if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
            raise SettingsError(
                f"the generator cannot take spectrograms of {height} x {width} (mel bands x frames)",
                f"both sides must be multiples of {SIDE_MULTIPLE}; change n_mels or n_frames",
            )
        x = self.encoder(normalised.unsqueeze(1))
        return x, self._first_block.before_film(x)

    def trunk(self, stem: Stem, gamma: Tensor, beta: Tensor) -> Tensor:
        """Compute the rest for one target, or for one difference per segment.

        Shape: stem of [B, H, W]; gamma and beta [1 or B, 4 ngf] from `film_encoder` -> [B, H, W].
        """
        x, normed = stem
        x = self._first_block.after_film(x, normed * gamma[:, :, None, None] + beta[:, :, None, None])
        for block in self.blocks[1:]:
            x = block(x)
        converted: Tensor = self.decoder(x)
        return converted.squeeze(1)

    def forward(self, normalised: Tensor, fr_difference_db: Tensor) -> Tensor:
        """Shape: [B, H, W] without unit, [1 or B, 128] dB (target minus source) -> [B, H, W] without unit."""
        gamma, beta = self.film_encoder(fr_difference_db)
        return self.trunk(self.stem(normalised), gamma, beta)

    @property
    def _first_block(self) -> ResidualBlock:
        block = self.blocks[0]
        assert isinstance(block, ResidualBlock)
        return block


def _norm(channels: int) -> nn.InstanceNorm2d:
    # Running statistics would make evaluation differ from training.
    return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)


def _padded_conv(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.ReflectionPad2d(kernel // 2), nn.Conv2d(n_in, n_out, kernel))


def _doubling_conv(n_in: int, n_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=1, output_padding=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, _INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
