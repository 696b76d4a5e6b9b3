"""The target that every training sample is converted to."""

import torch


def draw_targets(n_targets: int, n_samples: int, random: torch.Generator) -> list[int]:
    """Return the number of a target for each sample, all equally likely. `random`: of the CPU."""
    drawn: list[int] = torch.randint(n_targets, (n_samples,), generator=random).tolist()
    return drawn
