"""`transport`: `quantile`, then the linear optimal transport of whole segments that the recordings speak for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.quantile_mapping import QuantilePosition, level_at, locate
from umc_cli.conversion.transport import PARTS


@dataclass(frozen=True)
class _Map:
    """A `conversion.transport.Transport`, where it is computed."""

    origin: Tensor
    components: Tensor
    lowest: Tensor
    highest: Tensor
    matrix: Tensor
    shift: Tensor


class Transporter:
    """Maps levels band by band, then moves components of whole segments."""

    def __init__(self, ingredients: Ingredients) -> None:
        device = torch.device(ingredients.torch_device)
        # Batches of any size give the same result in double precision, which Apple's GPUs do not have.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._tables = {
            name: torch.from_numpy(ingredients.level_quantiles[name]).T.contiguous().to(device)  # [80, Q]
            for name in (ingredients.source, *ingredients.targets)
        }
        self._source = self._tables[ingredients.source]
        self._maps: dict[str, _Map] = {}
        for target in ingredients.targets:
            transport = ingredients.transports.get(target)
            if transport is not None and len(transport.components):
                arrays = (torch.from_numpy(getattr(transport, name)) for name in PARTS)
                self._maps[target] = _Map(*(one.to(device, self._dtype) for one in arrays))

    def begin(self, log_mel: Tensor) -> tuple[QuantilePosition, int]:
        """Find each level's place among the source's quantiles, band by band. Shape: [B, 80, 80], dB."""
        levels = log_mel.transpose(0, 1).reshape(log_mel.shape[1], -1)  # [80, B * frames]
        return locate(levels, self._source), len(log_mel)

    def convert(self, begun: tuple[QuantilePosition, int], target: str) -> Tensor:
        """Return what `target` would have recorded. Shape: [B, 80, 80] dB; never below the floor of -100 dB."""
        position, n_segments = begun
        levels = level_at(position, self._tables[target])
        mapped = levels.reshape(len(levels), n_segments, -1).transpose(0, 1)
        if target not in self._maps:
            return mapped
        own = self._maps[target]
        flat = mapped.reshape(n_segments, -1).to(self._dtype)
        found = ((flat - own.origin) @ own.components.T).clamp(own.lowest, own.highest)
        moved = flat + found @ own.matrix @ own.components + own.shift
        return moved.float().reshape(mapped.shape).clamp_min_(FLOOR_DB)

    def describe(self) -> dict[str, str]:
        """Nothing beyond tables and maps, which lie beside run.json."""
        return {}
