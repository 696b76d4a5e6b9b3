"""Random draws that several augmentations need, from an explicit generator on the CPU."""

import numpy as np
import torch
from torch import Tensor


def draw_chosen(n: int, probability: float, random: torch.Generator | None) -> Tensor:
    """Return the indices of the samples to alter, each chosen with `probability`. Shape: [k], rising, k <= n."""
    return (torch.rand(n, generator=random) < probability).nonzero().squeeze(1)


def draw_uniform(n: int, limits: tuple[float, float], random: torch.Generator) -> Tensor:
    """Return n values between two limits. Shape: [n] float32."""
    return torch.rand(n, generator=random) * (limits[1] - limits[0]) + limits[0]


def draw_integers(most: Tensor, random: torch.Generator) -> Tensor:
    """Return an integer from 0 to each of `most`, inclusive, all equally likely. Shape: [n] -> [n] int64."""
    return (torch.rand(len(most), generator=random, dtype=torch.float64) * (most + 1)).long()


def draw_beta(n: int, alpha: float, random: torch.Generator | None) -> Tensor:
    """Return n values of the distribution Beta(alpha, alpha). Shape: [n] float32, 0 to 1."""
    return torch.from_numpy(numpy_random(random).beta(alpha, alpha, n).astype(np.float32))


def numpy_random(random: torch.Generator | None) -> np.random.Generator:
    """Return numpy's generator with a seed drawn from torch's: for distributions that torch draws only globally."""
    return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=random)))
