"""What invented devices are drawn from. Loads nothing heavy: help is made from it."""

from umc_cli.config import Range, Settings

FROM_DEVICES, FROM_LIBRARY = "devices", "library"
"""What responses are learned from: those that the workspace knows, or those of the package alone."""


class LevelSettings(Settings):
    """Ranges of noise floors and sensitivities."""

    noise_level_dbfs: Range = (-78.0, -52.0)
    """RMS of a device's own noise, dB re full scale."""
    noise_slope_db_per_octave: Range = (-4.0, 1.0)
    """Colour of the noise: 0 white, -3 pink."""
    sensitivity_difference_db: Range = (-12.0, 12.0)
    """How much louder the target records the same sound, at 1 kHz less the drawn difference there."""
