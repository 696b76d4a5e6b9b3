"""Settings of the machine that several commands share."""

from typing import Annotated

from pydantic import Field

from umc_cli.config import MACHINE, Option, Settings


class ComputeDeviceSettings(Settings):
    """Where tensors are computed."""

    compute_device: Annotated[str, Option(MACHINE, words=("auto", "cpu", "cuda", "mps"))] = "auto"
    """cpu, cuda, cuda:N, mps (Apple's, never tried) or auto (CUDA where there is one)."""


class WorkerSettings(Settings):
    """How many recordings are read at once."""

    workers: Annotated[int | None, Field(ge=1), Option(MACHINE, default="one per processor")] = None
    """Reader threads."""
