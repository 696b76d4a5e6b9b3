"""Numbers that choose rows of a tensor on a device, sent there without making the host wait.

`tensor[[3, 1, 2]]` copies the list to a GPU, and the host waits until all that was handed to the GPU before is done.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def row_numbers(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Return whole numbers as a tensor on a device. Shape: [n]."""
    return sent(torch.tensor(numbers, dtype=torch.long), device)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return what lies on the host on a device. To a GPU it is copied from pinned memory, beside the computing."""
    if device.type != "cuda" or not values.numel():
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def places_of(order: Sequence[int]) -> list[int]:
    """Return where each row is after they were put into `order`: what undoes it."""
    return sorted(range(len(order)), key=order.__getitem__)
