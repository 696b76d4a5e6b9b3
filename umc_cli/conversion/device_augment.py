"""Conversion to random devices as an augmentation of a training loop."""

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.random_targets import convert_to_random_targets


class DeviceAugment(nn.Module):
    """Lets each sample, with probability `p`, be recorded by another device, drawn at random.

    All targets are equally likely. In `eval` mode samples pass unchanged. Draws depend on `seed` and on the calls so
    far; in a loader's worker also on the worker's own seed, so that workers draw differently. Can be pickled.
    """

    def __init__(self, conversion: Conversion, p: float = 0.5, seed: int = 0) -> None:
        """Convert with `conversion`; `p`: from 0 to 1."""
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}: a probability lies between 0 and 1")
        self.conversion = conversion
        self.p = p
        self.seed = seed
        self._random: torch.Generator | None = None

    def forward(self, log_mel: Tensor) -> Tensor:
        """Shape: [B, 80, 80] or [B, 1, 80, 80] (mel bands, frames) in dB -> the same, on the same device."""
        if not self.training:
            return log_mel
        random = self._generator()
        chosen = (torch.rand(len(log_mel), generator=random) < self.p).to(log_mel.device)
        result = log_mel.clone()
        if chosen.any():
            converter = self.conversion.built
            given = log_mel[chosen].reshape(-1, *log_mel.shape[-2:])
            with torch.no_grad():
                converted = convert_to_random_targets(
                    given.to(self.conversion.torch_device),
                    dict.fromkeys(self.conversion.targets, converter),
                    random,
                )
            result[chosen] = converted.reshape(-1, *log_mel.shape[1:]).to(result)
        return result

    def extra_repr(self) -> str:
        """Return what `print(module)` shows."""
        targets = self.conversion.targets
        return f"{self.conversion.converter}, {self.conversion.source} to {len(targets)} devices, p={self.p}"

    def _generator(self) -> torch.Generator:
        if self._random is None:
            worker = get_worker_info()
            self._random = torch.Generator().manual_seed((self.seed + (worker.seed if worker else 0)) % (1 << 63))
        return self._random

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | {"_random": None}
