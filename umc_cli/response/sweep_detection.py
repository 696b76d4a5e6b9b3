"""Tell a recording of a sine sweep from other sounds, without knowing which sweep was played."""

import numpy as np
import scipy.signal
from numpy.typing import NDArray

_FRAME_S = 0.05
_MOST_FRAMES = 4096
"""Of a recording: three minutes and a half."""
_QUIETEST_DB = -40.0
"""Re the loudest frame: below it there is no tone to follow."""
_LEAST_OCTAVES = 3.0
_LEAST_S = 0.5
_MOST_MISFIT_OCTAVES = 0.15
"""Of at least three quarters of the frames: harmonics of a small loudspeaker may be louder than low notes."""
_FOLLOWED_SHARE = 0.75
_LEAST_RISE, _MOST_RISE = 0.1, 15.0
"""Octaves per second: sweeps of three octaves and more last from a fifth of a second to half a minute."""


def holds_a_sweep(recording: NDArray[np.float64], rate_hz: int) -> bool:
    """Tell whether the loudest frequency of a recording rises exponentially over three octaves or more. Shape: [n]."""
    n = round(_FRAME_S * rate_hz)
    if len(recording) < 2 * n:
        return False
    cut = recording[: _MOST_FRAMES * n]
    frequency_hz, _, power = scipy.signal.spectrogram(cut, rate_hz, nperseg=n, noverlap=0, mode="psd")
    loudest = power[1:].max(axis=0)
    octave = np.log2(frequency_hz[1:][np.argmax(power[1:], axis=0)])
    sounding = loudest > loudest.max() * 10 ** (_QUIETEST_DB / 10)
    least = round(_LEAST_S / _FRAME_S)
    for first in range(0, len(octave) - least, least // 2):
        seconds = np.arange(least) * _FRAME_S
        part = octave[first : first + least]
        if not sounding[first : first + least].all():
            continue
        slope = float(np.median(np.diff(part[:: least // 4]))) / (_FRAME_S * (least // 4))
        if not _LEAST_RISE <= slope <= _MOST_RISE:
            continue
        middle = float(np.median(part - slope * seconds))
        # From this piece on, both ways, as long as the line holds.
        line = middle + slope * (np.arange(len(octave)) - first) * _FRAME_S
        # Within a frame of a fast sweep any of the frequencies passed may be the loudest.
        on_line = sounding & (np.abs(octave - line) < _MOST_MISFIT_OCTAVES + slope * _FRAME_S / 2)
        near = np.convolve(on_line, np.ones(least) / least, mode="same") >= _FOLLOWED_SHARE
        if near.sum() * _FRAME_S * slope >= _LEAST_OCTAVES:
            return True
    return False
