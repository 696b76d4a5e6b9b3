"""FiLM encoder: from the difference of two devices to a scale and a shift per channel (paper, section 3.2).

Three times [Conv1d, InstanceNorm1d, ReLU], then an MLP. Widths, kernel and stride are published nowhere.
"""

import torch
from torch import Tensor, nn

from umc_cli.conversion.generator_settings import FilmEncoderKind
from umc_cli.response.device import N_BANDS

_DIFFERENCE_UNIT_DB = 10.0
"""Brings differences of devices to the order of 1 where no norm does."""
_STRIDE = 2


class FilmEncoder(nn.Module):
    """Turns what it is told of two devices (`condition_db`) into (gamma, beta), one of each per channel of the blocks.

    Each InstanceNorm takes the mean and the size off every channel, so that the size of the whole is lost. Its mean is
    not: zero padding makes the borders differ from the rest where a constant is added. 10 dB more move an untrained
    encoder's (gamma, beta) by 72 to 77 % of their spread over pairs of phones, four times the size by nothing.
    """

    def __init__(
        self, kind: FilmEncoderKind, *, n_channels: int, widths: tuple[int, ...], kernel: int, hidden: int
    ) -> None:
        super().__init__()
        self._is_sized = kind == "sized"
        self._unconditioned_channels = n_channels if kind == "none" else 0
        if self._unconditioned_channels:
            return
        layers: list[nn.Module] = []
        n_inputs, n_positions = 1, N_BANDS
        for width in widths:
            layers += [
                nn.Conv1d(n_inputs, width, kernel, stride=_STRIDE, padding=kernel // 2),
                nn.InstanceNorm1d(width),
                nn.ReLU(),
            ]
            n_inputs, n_positions = width, -(-n_positions // _STRIDE)
        self.convolutions = nn.Sequential(*layers)
        n_features = n_inputs * n_positions + (N_BANDS if self._is_sized else 0)
        self.mlp = nn.Sequential(nn.Linear(n_features, hidden), nn.ReLU(), nn.Linear(hidden, 2 * n_channels))

    def forward(self, fr_difference_db: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma and beta. Shape: [B, 128] in dB -> [B, n_channels] twice, without unit.

        The MLP's first half is added to 1, so that a new encoder begins near the identity.
        """
        if self._unconditioned_channels:
            gamma = fr_difference_db.new_ones(len(fr_difference_db), self._unconditioned_channels)
            return gamma, torch.zeros_like(gamma)
        features = self.convolutions(fr_difference_db.unsqueeze(1)).flatten(1)
        if self._is_sized:
            features = torch.cat([features, fr_difference_db / _DIFFERENCE_UNIT_DB], dim=1)
        gamma_offset, beta = self.mlp(features).chunk(2, dim=1)
        return 1 + gamma_offset, beta
