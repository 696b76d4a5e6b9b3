"""Settings of `umc train --pretrain simulated`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from umc_cli.conversion.converter_training.pretraining_settings import PretrainingSettings
from umc_cli.machine_settings import ComputeDeviceSettings
from umc_cli.training.run_options import RunSettings
from umc_cli.training.schedule import PositiveInt

SECTION = "pretrain"


class PretrainSettings(RunSettings, PretrainingSettings, ComputeDeviceSettings):
    """Settings of `umc train --pretrain simulated`; also the section `[pretrain]` of umc.toml."""

    preset: str = "cpu"
    """cpu (an hour on two processors) or smoke (to see that all works)."""
    name: str | None = None
    """Name of the run's folder; none: `refiner-` and the preset."""
    publish: bool | None = None
    """Copy the best weights of a finished run to the workspace's checkpoints; none: if they are better than those that
    `umc convert` takes now."""
    start: Path | None = None
    """Weights (safetensors) of a refiner to begin with; none: new ones."""
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the recordings to validate on."""
    max_steps: PositiveInt | None = None
    """Stop after this many steps, if the worlds have more."""
    log_every: PositiveInt = 50
    """Steps between rows of metrics.csv."""
    validate_every: PositiveInt = 500
    """Steps between validations, which may give new best weights."""
    save_every: PositiveInt = 250
    """Steps between saved states."""
    workers: PositiveInt | None = None
    """Processes that simulate; none: all processors but one."""

    @property
    def run_name(self) -> str:
        """Return the name of the run's folder."""
        return self.name or f"refiner-{self.preset}"
