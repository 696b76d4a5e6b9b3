"""The classifier as a whole: levels in dB in, logits out."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umc_cli.sec.backbones import PAPERS_SHAPE, build_backbone


class SecNetwork(nn.Module):
    """Normalise, the parts that methods put at the input, the backbone."""

    def __init__(
        self,
        backbone: str,
        n_classes: int,
        mean_db: float,
        std_db: float,
        input_parts: Sequence[nn.Module] = (),
        stage_norm: Callable[[], nn.Module] | None = None,
        shape: tuple[int, int] = PAPERS_SHAPE,
    ) -> None:
        """`mean_db`, `std_db`: of the segments that are trained on. `shape`: mel bands and frames."""
        super().__init__()
        self.mean_db, self.std_db = mean_db, std_db
        self.input_parts = nn.Sequential(*input_parts)
        self.backbone = build_backbone(backbone, n_classes, stage_norm, shape)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return the logits. Shape: [B, 80, 80] (or of its features) dB re full scale -> [B, n_classes]."""
        normalised = ((log_mel - self.mean_db) / self.std_db).unsqueeze(1)
        logits: Tensor = self.backbone(self.input_parts(normalised))
        return logits


@torch.no_grad()
def predict_logits(
    network: nn.Module, log_mel: NDArray[np.floating], torch_device: torch.device, batch_size: int
) -> Tensor:
    """Return the logits of all segments, in evaluation mode and fp32.

    Shape: [n, 80, 80] dB -> [n, n_classes], on the CPU; n is 1 at least.
    """
    network.eval()
    parts = [
        network(torch.from_numpy(log_mel[first : first + batch_size].astype(np.float32)).to(torch_device)).cpu()
        for first in range(0, len(log_mel), batch_size)
    ]
    return torch.cat(parts)
