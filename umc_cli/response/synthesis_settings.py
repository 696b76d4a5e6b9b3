"""What invented devices are drawn from. Loads nothing heavy: help is made from it."""

from typing import Annotated

from pydantic import AfterValidator, Field

from umc_cli.config import Settings

FROM_DEVICES, FROM_LIBRARY = "devices", "library"
"""What responses are learned from: those that the workspace knows, or those of the package alone."""


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("write the lower limit first")
    return limits


_Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[tuple[_Finite, _Finite], AfterValidator(_rising)]
"""Lowest and highest value; drawn uniformly between them."""


class LevelSettings(Settings):
    """Ranges of noise floors and sensitivities."""

    noise_level_dbfs: Range = (-78.0, -52.0)
    """RMS of a device's own noise, dB re full scale."""
    noise_slope_db_per_octave: Range = (-4.0, 1.0)
    """Colour of the noise: 0 white, -3 pink."""
    sensitivity_difference_db: Range = (-12.0, 12.0)
    """How much louder the target records the same sound, at 1 kHz less the drawn difference there."""
