"""Size of the refiner, and the one that ships with the package. Loads no torch."""

from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field

from umc_cli.config import Settings

KIND = "refiner"
"""What its checkpoints say that they hold."""

SHIPPED_REFINER = Path(str(resources.files("umc_cli") / "assets" / "refiner.safetensors"))
"""Comes with the package; docs/shipped-refiner.md says what it was trained on and how well it does."""


class RefinerSettings(Settings):
    """Size of the refiner; stored in its checkpoint."""

    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=4, max_length=4)] = (
        32,
        64,
        96,
        128,
    )
    """Channels at full, half, quarter and eighth resolution."""
