"""Everything that can be set of a refiner's pretraining, and the presets."""

from typing import Annotated, Literal

from pydantic import Field

from umc_cli.config import Settings
from umc_cli.conversion.refiner_settings import RefinerSettings

WORLDS_AT_START = 4
"""Worlds that there must be before the first step."""


class PretrainingSettings(Settings):
    """What decides the weights of a refiner, beside the sounds and responses."""

    refiner: RefinerSettings = RefinerSettings()
    """Size of the network."""
    n_worlds: Annotated[int, Field(ge=1)] = 200
    """Simulated worlds to be seen; the learning rate falls to zero over them."""
    steps_per_world: Annotated[int, Field(ge=1)] = 25
    """Steps from one new world to the next."""
    worlds_kept: Annotated[int, Field(ge=WORLDS_AT_START)] = 32
    """Worlds that batches are drawn from; the oldest leaves when a new one comes. About 27 MB each."""
    devices_per_world: Annotated[int, Field(ge=2)] = 8
    """Simulated devices of a world."""
    sounds_per_world: Annotated[int, Field(ge=1)] = 60
    """Sounds that are played to the devices of a world."""
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    """Segments in a step; one half starts from each of the two converters."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Initial learning rate; it falls to zero over all worlds (cosine)."""
    family: Literal["near", "wide"] = "near"
    """Of simulated devices; `wide` has rooms, more of what phones do, and knowledge with errors."""
    objective: Literal["distance", "share"] = "distance"
    """`share`: the losses of a segment count as shares of its start's distance, so that near devices weigh as much as
    distant ones."""
    distribution_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of `distribution_loss`, for the half that starts from `quantile`: only recordings tell how levels are spread."""
    plain_distribution_weight: Annotated[float, Field(ge=0)] = 0.0
    """The same for the half that starts from `eq_noise`."""
    texture_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of `texture_loss`, for both halves."""
    bf16: bool = False
    """Multiply in half precision: twice as fast on processors that have it."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay per step of the moving average of the weights."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed."""


PRETRAINING_PRESETS: dict[str, PretrainingSettings] = {
    "cpu": PretrainingSettings(),
    "smoke": PretrainingSettings(
        refiner=RefinerSettings(widths=(8, 12, 16, 16)),
        n_worlds=4,
        steps_per_world=5,
        worlds_kept=4,
        devices_per_world=3,
        sounds_per_world=8,
        batch_size=8,
    ),
}
"""`cpu`: what the shipped refiner was trained with, an hour on two processors. `smoke`: to see that all works."""
