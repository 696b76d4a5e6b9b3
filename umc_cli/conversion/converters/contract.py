"""What a converter is, what it may need, and what it is given. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from umc_cli.config import Settings
from umc_cli.conversion.transport import Transport
from umc_cli.precision import Precision
from umc_cli.response.device import Device

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Need(StrEnum):
    """Something that must be known before a converter can work."""

    RESPONSE = "a frequency response"
    NOISE_FLOOR = "a noise floor"
    RECORDINGS = "recordings"
    CHECKPOINT = "a checkpoint"
    REFINER = "a refiner"


class EngineSettings(Settings):
    """How the generator is computed."""

    engine: str = "auto"
    """`auto`, or a key of `conversion.engines.ENGINES`."""
    precision: Precision = Precision.AUTO
    threads: int = 1
    """Processors for the arithmetic on the CPU."""


@dataclass(frozen=True)
class Ingredients:
    """All that the converters may draw on; each takes what it declared to need."""

    source: str
    targets: tuple[str, ...]
    devices: Mapping[str, Device]
    """Records of the source and the targets, where there are any."""
    torch_device: torch.device | str
    """Where the log-mel batches live and where the results are wanted; a name means the device of that name."""
    level_quantiles: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """[n_quantiles, 80] in dB: per mel band, the levels that the device's recordings reach."""
    transports: Mapping[str, Transport] = field(default_factory=dict)
    """By target: what moves whole segments after the converter that `ConverterSpec.moves` names."""
    checkpoint: Path | None = None
    """Of a generator."""
    refiner: Path | None = None
    """Checkpoint of a refiner."""
    adapted: Mapping[str, Path] = field(default_factory=dict)
    """By target: checkpoint of a refiner that was adapted to source and target, used in the place of `refiner`."""
    engine: EngineSettings = field(default_factory=EngineSettings)


class Converter(Protocol):
    """Turns batches of the source's log-mel spectrograms into those of each target."""

    def begin(self, log_mel: Tensor) -> Any:
        """Compute once what every target shares. Shape: [B, 80, 80] (mel bands, frames) float32, dB."""
        ...

    def convert(self, begun: Any, target: str) -> Tensor:
        """Return what `target` would have recorded. Shape: [B, 80, 80] float32, dB."""
        ...

    def describe(self) -> dict[str, str]:
        """Return what a shard must say of how it was made (engine, precision, checkpoint sha256), if anything."""
        ...


@runtime_checkable
class ConvertsToEach(Converter, Protocol):
    """A converter that also takes a target for each segment: for a GPU one call instead of one for every target."""

    def convert_to_each(self, begun: Any, targets: Sequence[str]) -> Tensor:
        """Return what each segment's own target would have recorded: what `convert` does, but for rounding.

        Shape: begun with [B, 80, 80], B targets -> [B, 80, 80] float32, dB.
        """
        ...


@dataclass(frozen=True)
class ConverterSpec:
    """A converter as the dict of converters lists it."""

    summary: str
    """One line for people who choose."""
    needs: frozenset[Need]
    build: Callable[[Ingredients], Converter]
    moves: str | None = None
    """The converter whose results it moves, by a map that is learned from recordings; None: it learns no map."""
    foretell: Callable[[Ingredients], dict[str, str]] | None = None
    """Returns what `describe` of the converter will, without building it and without torch.

    None: it is built to be asked, which takes a second or two even if all is converted already.
    """


def describes_nothing(_: Ingredients) -> dict[str, str]:
    """Foretell a converter that has nothing to say of itself."""
    return {}
