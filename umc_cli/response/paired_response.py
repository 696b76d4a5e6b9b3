"""What recordings of the same sounds at once tell of a device next to another: response, level, floors, spread."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.errors import InputError
from umc_cli.response.blind_response import long_term_spectra

_LEAST_SHARE = 0.25
"""Of the segments: bands that fewer reach are filled in from their neighbours."""
_LEAST_SEGMENTS = 3
_TO_DEVIATION = 1.4826
"""From the median absolute deviation to the standard deviation of normal values."""


@dataclass(frozen=True)
class PairedResponse:
    """Device minus reference, in the 80 bands of a log-mel spectrogram."""

    difference_db: NDArray[np.float64]
    """[80], level included: the median over segments."""
    spread_db: NDArray[np.float64]
    """[80], over segments."""
    snr_db: NDArray[np.float64]
    """[80], of the one of both that is worse; 0 in bands that were filled in."""
    reference_floor_db: NDArray[np.float64]
    """[80], dB re full scale."""
    device_floor_db: NDArray[np.float64]


def paired_response(reference: NDArray[np.float32], device: NDArray[np.float32]) -> PairedResponse:
    """Return the difference of two devices from segments that they recorded at once, in step.

    Shape: [n, 80, 80] (mel bands, frames) in dB, twice. Segment by segment, the mean powers above the noise floors are
    compared; a floor is the 2nd percentile over all frames of the power, smoothed over 93 ms.

    Raises:
        InputError: the sounds do not rise above the noise.
    """
    sounding = [index for index in range(len(device)) if _has_sound(reference[index]) and _has_sound(device[index])]
    before, after = (long_term_spectra([("", each[index]) for index in sounding]) for each in (reference, device))
    differences = after.levels_db - before.levels_db
    heard = np.isfinite(differences)
    known = heard.sum(axis=0) >= max(_LEAST_SEGMENTS, _LEAST_SHARE * len(differences))
    if known.sum() < 2:
        raise InputError("the sounds do not rise above the noise", "play louder, nearer, or in a quieter room")
    median = np.array([np.median(column[np.isfinite(column)]) for column in differences.T[known]])
    spread = np.array([_spread(column[np.isfinite(column)]) for column in differences.T[known]])
    bands = np.arange(len(known))
    return PairedResponse(
        difference_db=np.interp(bands, bands[known], median),
        spread_db=np.interp(bands, bands[known], spread),
        snr_db=np.where(known, np.minimum(before.snr_db, after.snr_db), 0.0),
        reference_floor_db=np.maximum(before.noise_floor_db, FLOOR_DB),
        device_floor_db=np.maximum(after.noise_floor_db, FLOOR_DB),
    )


def _has_sound(levels_db: NDArray[np.float32]) -> bool:
    return bool(levels_db.max() > FLOOR_DB + 1)


def _spread(values: NDArray[np.float64]) -> float:
    return float(_TO_DEVIATION * np.median(np.abs(values - np.median(values))))
