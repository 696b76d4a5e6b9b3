"""The source's own spectrograms beside the converted ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umc_cli.conversion.converters.contract import Converter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WithSource:
    """A converter that also serves the source, with what it was given. Describes itself as the converter does."""

    converter: Converter
    source: str

    def begin(self, log_mel: Tensor) -> tuple[Tensor, Any]:
        """Shape: [B, 80, 80] (mel bands, frames) float32, dB."""
        return log_mel, self.converter.begin(log_mel)

    def convert(self, begun: tuple[Tensor, Any], target: str) -> Tensor:
        """Return what `target` would have recorded, or the source did. Shape: [B, 80, 80] float32, dB."""
        return begun[0] if target == self.source else self.converter.convert(begun[1], target)

    def describe(self) -> dict[str, str]:
        """Return what a shard must say of how it was made."""
        return self.converter.describe()
