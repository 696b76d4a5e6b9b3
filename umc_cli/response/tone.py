"""The sensitivity of a device, from a recording of a sound level calibrator."""

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from umc_cli.errors import InputError
from umc_cli.response.frequency_response import REFERENCE_HZ

_BAND = 2**0.25
"""The tone lies within a quarter of an octave of 1 kHz."""
_LEAST_SHARE = 0.5


def sensitivity_dbfs(recording: NDArray[np.float64], rate_hz: int) -> float:
    """Return the RMS level in dB re full scale of a recorded 1-kHz tone of 94 dB SPL (1 Pa). Shape: [n], full scale 1.

    The level is that of the loudest line within a quarter of an octave of 1 kHz, so that noise and hum do not count.

    Raises:
        InputError: most of the sound near 1 kHz and above is something else.
    """
    frequency_hz, power = scipy.signal.welch(
        recording, rate_hz, window="flattop", nperseg=min(len(recording), rate_hz), scaling="spectrum"
    )
    near = (frequency_hz > REFERENCE_HZ / _BAND) & (frequency_hz < REFERENCE_HZ * _BAND)
    tone = float(power[near].max(initial=0))
    high_pass = scipy.signal.butter(4, REFERENCE_HZ / 2, "highpass", fs=rate_hz, output="sos")
    if tone <= 0 or tone < _LEAST_SHARE * float(np.mean(np.square(scipy.signal.sosfiltfilt(high_pass, recording)))):
        raise InputError("holds no steady tone near 1 kHz", "record a 1 kHz calibrator of 94 dB SPL, nothing else")
    return float(10 * np.log10(tone))
