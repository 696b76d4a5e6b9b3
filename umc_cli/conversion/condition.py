"""What the FiLM encoder is told of two devices: the difference of their responses, and perhaps that of their levels.

The paper's condition is the difference of log-mel spectra of recorded impulses, which holds the level. Records keep the
shape (0 dB at 1 kHz) and the level apart, so that a generator can be told either.
"""

import numpy as np
from numpy.typing import NDArray

from umc_cli.conversion.generator_settings import ConditionKind
from umc_cli.response.device import Device
from umc_cli.response.difference import fr_difference_db, level_difference_db


def condition_db(source: Device, target: Device, kind: ConditionKind) -> NDArray[np.float32]:
    """Return what the FiLM encoder gets for a conversion from `source` to `target`.

    Shape: [128], dB, target minus source. A level that a record does not say counts as equal.

    Raises:
        SettingsError: the records are over different mel bands.
    """
    difference_db = fr_difference_db(source, target)
    if kind == "shape_and_level":
        difference_db = difference_db + np.float32(level_difference_db(source, target) or 0.0)
    return difference_db
