"""Size of the refiner."""

from typing import Annotated

from pydantic import Field

from umc_cli.config import Settings


class RefinerSettings(Settings):
    """Size of the refiner; stored in its checkpoint."""

    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=4, max_length=4)] = (
        32,
        64,
        96,
        128,
    )
    """Channels at full, half, quarter and eighth resolution."""
