"""What the small networks share: stages, the mean over time, mean and maximum over bands, and a linear output."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn


class StagedClassifier(nn.Module):
    """Shape: [B, 1, F, T] -> [B, n_classes]; F and T at least 16."""

    def __init__(
        self,
        stages: Iterable[Sequence[nn.Module]],
        n_channels: int,
        n_classes: int,
        stage_norm: Callable[[], nn.Module] | None,
    ) -> None:
        """Put a network together. `stages`: the layers of each. `n_channels`: of what the last one returns."""
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(*stage, *([stage_norm()] if stage_norm else [])) for stage in stages)
        self.output = nn.Linear(2 * n_channels, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for stage in self.stages:
            x = stage(x)
        over_bands = torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)
        logits: Tensor = self.output(over_bands.mean(dim=2))
        return logits
