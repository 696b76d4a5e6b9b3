"""Settings of `umc simulate`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from umc_cli.config import RESULT, Option, Settings

SECTION = "simulate"


class SimulateSettings(Settings):
    """Settings of `umc simulate`; also the section `[simulate]` of umc.toml."""

    source: Annotated[str | None, Option(devices=True, default="the only device with recordings")] = None
    """Device whose recordings in the workspace are played to the simulated ones."""
    devices: Annotated[int, Field(ge=1, le=1_000), Option()] = 6
    """Number of devices; the first one stands for the phone that you have."""
    unseen: Annotated[int, Field(ge=0), Option()] = 0
    """How many of them, the last ones, record split test only, so that nothing is trained on them."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), Option()] = 0
    """Random seed of the devices and of their noise."""
    prefix: Annotated[str, Option()] = "sim"
    """Begin of the devices' ids: sim0, sim1 and so on."""
    output: Annotated[Path, Option(RESULT, ("-o",))] = Path("simulated")
    """Folder of the new workspace."""
