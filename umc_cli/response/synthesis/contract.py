"""What a method of inventing frequency-response differences is, and what it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umc_cli.config import Settings

Differences = NDArray[np.float32]
"""[n, 128] over mel bands, dB: target minus source."""

Responses = NDArray[np.float64]
"""[n devices, 128] over mel bands, dB."""


class Sampler(Protocol):
    """A method that has its settings and has learned what it learns."""

    def draw(self, n: int, random: np.random.Generator) -> Differences:
        """Return `n` differences. Shape: [n, 128], dB; equal states of `random` give equal draws."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what it learned, as plain JSON values, if anything."""
        ...


@dataclass(frozen=True)
class MethodSpec:
    """A method as the dict of methods lists it."""

    summary: str
    """One line for people who choose."""
    settings: type[Settings]
    least_devices: int
    """Measured devices that it learns from, at the least; 0: it learns nothing."""
    fit: Callable[[Responses, Any], Sampler]
    """From measured responses and its settings."""
