"""What stands around the generator: from dB to the scale it works in, and back. Training and conversion share it.

The generator's first convolution and InstanceNorm make it blind to the level of a segment: x and x + 10 dB give the
same output. `lost` leaves it at that, as the paper does. `carried` takes the level off before and puts it back after.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from umc_cli.config import Settings
from umc_cli.conversion.generator_settings import LevelKind


class Normalisation(Settings):
    """Statistics over all log-mel values of the training set, of all devices together."""

    mean_db: Annotated[float, Field(allow_inf_nan=False)]
    std_db: Annotated[float, Field(allow_inf_nan=False, gt=0)]


def normalise(log_mel: Tensor, normalisation: Normalisation, level: LevelKind) -> tuple[Tensor, Tensor]:
    """Return (log_mel - offset) / std, and the offset.

    Shape: [B, 80, 80] dB -> [B, 80, 80] without unit, [B, 1, 1] dB. The offset is the level of each segment (its mean
    over bands and frames in dB) if that is carried around the generator, else the mean of the training set.
    """
    if level == "carried":
        offset_db = log_mel.mean(dim=(1, 2), keepdim=True)
    else:
        offset_db = log_mel.new_full((log_mel.shape[0], 1, 1), normalisation.mean_db)
    return (log_mel - offset_db) / normalisation.std_db, offset_db


def denormalise(normalised: Tensor, offset_db: Tensor, normalisation: Normalisation) -> Tensor:
    """Undo `normalise`. Shape: [B, 80, 80], [B, 1, 1] -> [B, 80, 80] dB."""
    return normalised * normalisation.std_db + offset_db
