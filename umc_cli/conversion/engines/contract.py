"""What an engine is: something that computes a trained generator, in two halves. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from umc_cli.precision import Precision

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from umc_cli.conversion.generator import Generator
    from umc_cli.conversion.refiner_network import Refiner


class Engine(Protocol):
    """Computes the generator for batches of any size; a segment's result does not depend on its batch."""

    @property
    def precision(self) -> Precision:
        """Number format of the arithmetic actually used, never `auto`."""
        ...

    def stem(self, normalised: Tensor) -> Any:
        """Compute what does not depend on the target; `trunk` may be given the result any number of times.

        Shape: [B, 80, 80] float32 without unit, on the engine's device.
        """
        ...

    def trunk(self, stem: Any, gamma: Tensor, beta: Tensor) -> Tensor:
        """Compute the rest for one target, or for one difference per segment.

        Shape: gamma and beta [1 or B, 4 ngf] float32 from the FiLM encoder -> [B, 80, 80] float32 without unit.
        """
        ...


EngineBuilder = Callable[["Generator", Precision, "torch.device", int], Engine]
"""Makes an engine of a generator, the wanted precision, the compute device and the number of processors.

Raises `SettingsError` where the engine cannot work with that device or precision.
"""


class RefinerEngine(Protocol):
    """Computes the refiner for batches of any size; a segment's result does not depend on its batch."""

    @property
    def precision(self) -> Precision:
        """Number format of the arithmetic actually used, never `auto`."""
        ...

    def __call__(self, maps: Tensor) -> Tensor:
        """Shape: [B, 8, 80, 80] float32 -> [B, 80, 80] float32, without unit, on the engine's device."""
        ...


RefinerEngineBuilder = Callable[["Refiner", Precision, "torch.device", int], RefinerEngine]
"""As `EngineBuilder`, for a refiner."""
