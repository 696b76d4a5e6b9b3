"""How long a training is and how often it leaves something behind."""

from typing import Annotated, Literal

from pydantic import Field

from umc_cli.config import RUN, Option, Settings

PositiveInt = Annotated[int, Field(ge=1)]

WeightsName = Literal["best", "last"]


class ScheduleSettings(Settings):
    """How long a run is and how often it leaves something behind. May differ when a run is resumed."""

    epochs: Annotated[PositiveInt, Option(RUN)] = 100
    """Passes over the training segments."""
    max_steps: Annotated[PositiveInt | None, Option(RUN, default="as many as the epochs have")] = None
    """Stop after this many steps, if the epochs have more."""
    log_every: Annotated[PositiveInt, Option(RUN)] = 20
    """Steps between rows of metrics.csv, each the mean of the losses since the last one."""
    validate_every: Annotated[PositiveInt | None, Option(RUN, default="an epoch, at most 500")] = 500
    """Steps between validations, which may give new best weights."""
    save_every: Annotated[PositiveInt, Option(RUN)] = 500
    """Steps between saved states."""


class KeepSettings(Settings):
    """Which of a run's weights count, where a training lets one choose."""

    keep: Annotated[WeightsName, Option(RUN)] = "best"
    """Weights that count: best (of the best validation) or last (after the last step, whatever validations say)."""
