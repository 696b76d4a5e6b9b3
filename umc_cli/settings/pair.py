"""Settings of `umc pair`."""

from typing import Annotated

from pydantic import Field

from umc_cli.config import LEARNING, RESULT, Option, Settings

SECTION = "pair"


class PairSettings(Settings):
    """Settings of `umc pair`; also the section `[pair]` of umc.toml."""

    reference_device: Annotated[str, Option(metavar="ID", devices=True)]
    """Device that the others are measured next to; a device without a record counts as flat."""
    from_data: Annotated[bool, Option()] = False
    """Instead of files, use the workspace's recordings in split train (or train-converter) that several devices made of
    the same sounds (the same recording in the manifest)."""
    steps: Annotated[int, Field(ge=1, le=100_000), Option(LEARNING)] = 240
    """Training steps of the refiner, of 16 segments each."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Initial learning rate (Adam); falls to zero over the steps."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), Option(LEARNING)] = 0
    """Random seed of the training."""
    overwrite: Annotated[bool, Option(RESULT)] = False
    """Replace device records and adapted weights."""
