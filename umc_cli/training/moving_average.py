"""The moving average of a network's weights over the steps, which is what a checkpoint holds."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


@torch.no_grad()
def follow(averages: Iterable[Tensor], weights: Iterable[Tensor], decay: float, index: int, n_young: int) -> None:
    """Move the averages towards the weights after step `index` (from 0), in place.

    Young averages follow faster, so that they do not remember the random start: after step `index` the decay is at most
    (1 + index) / (1 + index + n_young).
    """
    decay = min(decay, (1 + index) / (1 + index + n_young))
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    update(list(averages), list(weights), 0)
