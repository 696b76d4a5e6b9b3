"""Conversion of waveforms to random devices as an augmentation of a training loop."""

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from umc_cli.conversion.chosen.conversion import Conversion

_SEEDS = 1 << 32


class WaveformAugment:
    """Lets a recording, with probability `p`, be recorded by another device, drawn at random.

    Called as the augmentations of audiomentations are. All targets are equally likely. Draws depend on `seed` and on
    the calls so far; in a loader's worker also on the worker's own seed, so that workers draw differently. Can be
    pickled.
    """

    def __init__(self, conversion: Conversion, p: float = 0.5, seed: int = 0) -> None:
        """Convert with `conversion`; `p`: from 0 to 1."""
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}: a probability lies between 0 and 1")
        self.conversion = conversion
        self.p = p
        self.seed = seed
        self._random: np.random.Generator | None = None

    def __call__(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Shape: [n] or [channels, n] float32, full scale 1 -> the same. What is not converted is passed on as it is.

        Raises:
            UmcError: see `Conversion.waveform`.
        """
        random = self._generator()
        if random.random() >= self.p:
            return samples
        target = self.conversion.targets[random.integers(len(self.conversion.targets))]
        return self.conversion.waveform(samples, sample_rate, target, seed=int(random.integers(_SEEDS)))

    def __repr__(self) -> str:
        targets = self.conversion.targets
        return (
            f"WaveformAugment({self.conversion.converter}, {self.conversion.source} to {len(targets)} devices, "
            f"p={self.p})"
        )

    def _generator(self) -> np.random.Generator:
        if self._random is None:
            worker = get_worker_info()
            self._random = np.random.default_rng([self.seed, worker.seed if worker else 0])
        return self._random

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | {"_random": None}
