"""Mean and standard deviation of every frequency of a sample, in which devices show."""

import torch
from torch import Tensor

EPSILON = 1e-5
"""Added to variances, as PyTorch's norms do."""


def frequency_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over channels and time. Shape: [B, C, F, T] -> [B, 1, F, 1] twice."""
    variance, mean = torch.var_mean(x, dim=(1, 3), correction=0, keepdim=True)
    return mean, (variance + EPSILON).sqrt()


def normalise_frequencies(x: Tensor) -> Tensor:
    """Return x with mean 0 and standard deviation 1 in every frequency of every sample.

    Shape: [B, C, F, T] -> the same. Frequency-wise instance normalisation (IFN, FreqIN): Kim et al. 2021 and 2022.
    """
    mean, std = frequency_statistics(x)
    return (x - mean) / std
