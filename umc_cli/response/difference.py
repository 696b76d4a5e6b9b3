"""The difference of two devices: target minus source."""

import numpy as np
from numpy.typing import NDArray

from umc_cli.errors import SettingsError
from umc_cli.response.device import Device

_SAME_BAND_HZ = 0.2
"""Records round band centres to 0.1 Hz."""


def fr_difference_db(source: Device, target: Device) -> NDArray[np.float32]:
    """Return what must be added to the source's spectrum to get the target's shape: target minus source.

    Shape: [128], dB. The paper's condition (section 3.1). Level stands apart, see `level_difference_db`.

    Raises:
        SettingsError: the records are over different mel bands.
    """
    if not np.allclose(source.band_centres_hz, target.band_centres_hz, rtol=0, atol=_SAME_BAND_HZ):
        raise SettingsError(
            f"the records of {source.id} and {target.id} are over different mel bands",
            "make the older one again, with this version of umc",
        )
    difference_db: NDArray[np.float32] = np.subtract(
        target.frequency_response_db, source.frequency_response_db, dtype=np.float32
    )
    return difference_db


def level_difference_db(source: Device, target: Device) -> float | None:
    """Return how much louder the target records the same sound, in dB; None where a sensitivity is unknown."""
    if source.sensitivity_dbfs is None or target.sensitivity_dbfs is None:
        return None
    return target.sensitivity_dbfs - source.sensitivity_dbfs


def shared_trusted_range_hz(source: Device, target: Device) -> tuple[float, float]:
    """Return the range in which both records can be trusted, in Hz; the first is above the second where none is."""
    (source_low, source_high), (target_low, target_high) = source.trusted_range_hz, target.trusted_range_hz
    return max(source_low, target_low), min(source_high, target_high)
