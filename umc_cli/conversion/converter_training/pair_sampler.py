"""Which segments meet in a step: ordered pairs of devices, drawn at random, and of each device its next segment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Segments of one step, and for each the device it is to be converted to."""

    own: list[int]
    """Device index of each segment."""
    rows: list[int]
    """Number of each segment within its device."""
    other: list[int]
    """Device index that each segment is to be converted to."""


class PairSampler:
    """Draws ordered pairs of different devices, all equally likely, and unpaired segments of both.

    Each device's segments come in random order, all of them before any comes again.
    """

    def __init__(self, n_segments: Sequence[int], seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._orders = [torch.randperm(count, generator=self._random) for count in n_segments]
        self._positions = [0] * len(n_segments)

    def draw(self, n_pairs: int) -> Draw:
        """Return 2 * n_pairs segments: the first of every pair, then the second of every pair."""
        n_devices = len(self._orders)
        first = torch.randint(n_devices, (n_pairs,), generator=self._random)
        second = torch.randint(n_devices - 1, (n_pairs,), generator=self._random)
        second += second >= first
        own, other = torch.cat([first, second]).tolist(), torch.cat([second, first]).tolist()
        return Draw(own, [self._next(device) for device in own], other)

    def state(self) -> tuple[dict[str, Tensor], list[int]]:
        """Return the random state and the orders, and the positions in them."""
        orders = {f"order.{device}": order for device, order in enumerate(self._orders)}
        return orders | {"random": self._random.get_state()}, list(self._positions)

    def load_state(self, tensors: Mapping[str, Tensor], positions: Sequence[int]) -> None:
        """Go on where `state` was taken."""
        self._random.set_state(tensors["random"])
        self._orders = [tensors[f"order.{device}"] for device in range(len(self._orders))]
        self._positions = list(positions)

    def _next(self, device: int) -> int:
        if self._positions[device] == len(self._orders[device]):
            self._orders[device] = torch.randperm(len(self._orders[device]), generator=self._random)
            self._positions[device] = 0
        self._positions[device] += 1
        return int(self._orders[device][self._positions[device] - 1])
