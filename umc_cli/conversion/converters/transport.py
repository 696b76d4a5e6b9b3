"""`transport` and `refiner_transport`: what another converter makes, moved by linear optimal transport of segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.converters.contract import ConvertsToEach, Ingredients
from umc_cli.conversion.rows_by_key import rows_by_key
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
    """Converts as another converter does, then moves components of whole segments, where there is a map."""

    def __init__(self, start: ConvertsToEach, ingredients: Ingredients) -> None:
        self._start = start
        device = torch.device(ingredients.torch_device)
        # Batches of any size give the same result in double precision, which Apple's GPUs do not have.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._maps: dict[str, _Map] = {}
        for target in ingredients.targets:
            transport = ingredients.transports.get(target)
            if transport is not None and len(transport.components):
                # A copy: on a cluster the arrays cannot be written to.
                arrays = (torch.tensor(getattr(transport, name), dtype=self._dtype, device=device) for name in PARTS)
                self._maps[target] = _Map(*arrays)

    def begin(self, log_mel: Tensor) -> Any:
        """Begin as the other converter does. Shape: [B, 80, 80], dB."""
        return self._start.begin(log_mel)

    def convert(self, begun: Any, target: str) -> Tensor:
        """Return what `target` would have recorded. Shape: [B, 80, 80] dB; where moved, not below -100 dB."""
        return self._moved(self._start.convert(begun, target), target)

    def convert_to_each(self, begun: Any, targets: Sequence[str]) -> Tensor:
        """Return every segment as its own target would have recorded it. Shape: [B, 80, 80] dB, as of `convert`."""
        parts = rows_by_key(self._start.convert_to_each(begun, targets), targets)
        return torch.cat([self._moved(part, target) for target, part in parts])

    def _moved(self, started: Tensor, target: str) -> Tensor:
        if target not in self._maps:
            return started
        own = self._maps[target]
        flat = started.reshape(len(started), -1).to(self._dtype)
        found = ((flat - own.origin) @ own.components.T).clamp(own.lowest, own.highest)
        moved = flat + found @ own.matrix @ own.components + own.shift
        return moved.float().reshape(started.shape).clamp_min_(FLOOR_DB)

    def describe(self) -> dict[str, str]:
        """Return what the other converter says of itself. The maps lie beside run.json."""
        return self._start.describe()
