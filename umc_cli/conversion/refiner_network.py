"""The refiner: a small U-Net without normalisation that corrects what a rule-based converter got wrong.

It starts from `eq_noise`, or from `quantile` where recordings of both devices exist, sees that start, the input, the
difference and both noise floors as maps, and adds a residual in dB. Nothing in it hides the level, which decides where
noise masks the signal, and the difference keeps its size.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umc_cli.conversion.noise_aware_eq import equalised, power
from umc_cli.conversion.refiner_settings import RefinerSettings

SIDE_MULTIPLE = 8
"""Three halvings: both sides of the input must be multiples of this."""

N_MAPS = 8
_LEVEL_CENTRE_DB, _LEVEL_UNIT_DB = -50.0, 20.0
"""Bring levels and the residual to the order of 1."""
_GAIN_UNIT_DB = 10.0


@dataclass(frozen=True)
class KnownPair:
    """What is known of a source and a target, each [80, 1], or [B, 80, 1] for a pair per segment, in dB."""

    gain_db: Tensor
    """Difference of the responses and of the levels, target minus source."""
    source_floor_db: Tensor
    target_floor_db: Tensor


class Refiner(nn.Module):
    """Turns maps into a correction of the rule-based start, in units of 20 dB."""

    def __init__(self, settings: RefinerSettings) -> None:
        super().__init__()
        self.settings = settings
        widths = settings.widths
        self.first = _conv(N_MAPS, widths[0])
        self.encoder = nn.ModuleList(_conv(width, width) for width in widths)
        self.halvings = nn.ModuleList(_conv(wide, wider, stride=2) for wide, wider in pairwise(widths))
        self.bottom = _conv(widths[-1], widths[-1])
        self.whole_segment = nn.Linear(widths[-1], widths[-1])
        self.narrowings = nn.ModuleList(nn.Conv2d(wider, wide, 1) for wide, wider in pairwise(widths))
        self.decoder = nn.ModuleList(_conv(width, width) for width in widths[:-1])
        self.last = _conv(widths[0], 1)
        # A new refiner changes nothing: training begins at the rival and goes on from there.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """Shape: [B, 8, 80, 80] -> [B, 80, 80] without unit."""
        x = F.relu(self.first(maps))
        skips = []
        for convolution, halving in zip(self.encoder[:-1], self.halvings, strict=True):
            x = x + F.relu(convolution(x))
            skips.append(x)
            x = F.relu(halving(x))
        x = x + F.relu(self.encoder[-1](x))
        x = x + F.relu(self.bottom(x))
        # Gain control acts on the whole segment, further than convolutions see.
        x = x + self.whole_segment(x.mean(dim=(2, 3)))[:, :, None, None]
        upwards = zip(skips[::-1], self.narrowings[::-1], self.decoder[::-1], strict=True)
        for skip, narrowing, convolution in upwards:
            x = F.interpolate(narrowing(x), scale_factor=2.0, mode="nearest") + skip
            x = x + F.relu(convolution(x))
        residual: Tensor = self.last(x)
        return residual.squeeze(1)


def refiner_maps(signal: Tensor, log_mel: Tensor, pair: KnownPair, mapped: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what the refiner sees, and the start that its output corrects.

    Shape: [B, 80, 80] power and dB -> [B, 8, 80, 80] without unit, [B, 80, 80] dB. `signal`: `signal_power` of the
    input. `mapped`: what quantile mapping makes of the input, if there are recordings to map between.
    """
    equal = equalised(signal, power(pair.gain_db), power(pair.target_floor_db))
    start = equal if mapped is None else mapped
    height = torch.linspace(-1, 1, log_mel.shape[1], device=log_mel.device)[:, None]
    maps = [
        *[(level - _LEVEL_CENTRE_DB) / _LEVEL_UNIT_DB for level in (log_mel, equal, start)],
        pair.gain_db / _GAIN_UNIT_DB,
        *[(floor - _LEVEL_CENTRE_DB) / _LEVEL_UNIT_DB for floor in (pair.source_floor_db, pair.target_floor_db)],
        log_mel.new_full((1, 1), float(mapped is not None)),
        height,
    ]
    return torch.stack([one.expand_as(log_mel) for one in maps], dim=1), start


def refined(start: Tensor, residual: Tensor) -> Tensor:
    """Return the corrected levels. Shape: [B, 80, 80] dB, [B, 80, 80] without unit -> [B, 80, 80] dB."""
    return torch.add(start, residual, alpha=_LEVEL_UNIT_DB)


def _conv(n_in: int, n_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
