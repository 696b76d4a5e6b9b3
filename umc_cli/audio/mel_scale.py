"""Slaney's mel scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998).

Equal to librosa's to the last bit. Not librosa's own: its import takes a second and needs a home folder to cache in.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS

_HZ_PER_MEL = 200 / 3
"""Below the break."""
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27
"""Of the logarithm of the frequency, per mel above the break."""


def hz_to_mel(frequencies_hz: ArrayLike) -> NDArray[np.float64]:
    """Return places on the mel scale. Shape: any, Hz -> the same, mel."""
    hz = np.asarray(frequencies_hz, dtype=np.float64)
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz >= _BREAK_HZ, above, hz / _HZ_PER_MEL)


def mel_to_hz(mel: ArrayLike) -> NDArray[np.float64]:
    """Return frequencies. Shape: any, mel -> the same, Hz."""
    mel = np.asarray(mel, dtype=np.float64)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel >= _BREAK_MEL, above, _HZ_PER_MEL * mel)


def evenly_spaced_hz(count: int, lowest_hz: float, highest_hz: float) -> NDArray[np.float64]:
    """Return `count` frequencies with equal distances on the mel scale. Shape: [count], Hz."""
    return mel_to_hz(np.linspace(hz_to_mel(lowest_hz), hz_to_mel(highest_hz), count))


def mel_band_edges_hz(n_mels: int) -> list[float]:
    """Return the n_mels + 2 edges in Hz of the bands; band i rises from edge i to i + 1 and falls to i + 2."""
    settings = LOG_MEL_SETTINGS
    return [float(edge) for edge in evenly_spaced_hz(n_mels + 2, settings.f_min_hz, settings.f_max_hz)]


def at_mel_bands(values: ArrayLike, n_wanted: int) -> NDArray[np.float64]:
    """Interpolate values of mel bands linearly at another number of bands; constant beyond the ends.

    Shape: [n] -> [n_wanted]. Both sets of bands cover the same range evenly in mel, so that band i of n is centred at
    the share (i + 1) / (n + 1) of the axis.
    """
    given = np.asarray(values)
    at_given, at_wanted = (np.arange(1, n + 1) / (n + 1) for n in (len(given), n_wanted))
    return np.asarray(np.interp(at_wanted, at_given, given))
