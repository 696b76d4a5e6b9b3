"""The response of a device relative to a known one, from recordings of similar sounds: nothing was played.

Long-term spectra of both, above their noise floors, label by label: a robust mean over many sounds is the same for
both devices, and what differs is the devices. Where the labels or the rooms differ, so do the spectra: the estimate
then holds that difference too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import FLOOR_DB, HOP_SAMPLES, SAMPLE_RATE_HZ
from umc_cli.errors import InputError

LEAST_RECORDINGS = 5

_FLOOR_PERCENTILE = 2.0
_SMOOTHED_FRAMES = 8
"""93 ms: single frames of noise lie up to 20 dB below its mean power, their mean does not."""
_LEAST_FRAMES = 10 * SAMPLE_RATE_HZ // HOP_SAMPLES
_LEAST_EXCESS_DB = 3.0
"""A recording counts in the bands where its mean power exceeds the floor by this."""
_LEAST_SHARE = 0.25
"""Of the recordings of both devices: bands that fewer reach are filled in from their neighbours."""


@dataclass(frozen=True)
class LongTermSpectra:
    """What the recordings of one device sound like, in the 80 bands of a log-mel spectrogram."""

    levels_db: NDArray[np.float64]
    """[recordings, 80]: mean power above the noise floor; NaN where there is none."""
    snr_db: NDArray[np.float64]
    """[80]: mean power over the noise floor, median over recordings."""
    labels: tuple[str, ...]
    """Of each recording."""
    noise_floor_db: NDArray[np.float64]
    """[80], dB re full scale."""


@dataclass(frozen=True)
class BlindDifference:
    """Device minus reference, in the 80 bands of a log-mel spectrogram."""

    difference_db: NDArray[np.float64]
    """[80], level included."""
    spread_db: NDArray[np.float64] | None
    """[80], standard deviation over labels; None where one label is shared."""
    snr_db: NDArray[np.float64]
    """[80], of the one of both that is worse; 0 in bands that were filled in."""
    labels: tuple[str, ...]
    """Labels that were compared; none where no label is shared and all recordings were taken together."""


def long_term_spectra(recordings: Sequence[tuple[str, NDArray[np.float32]]]) -> LongTermSpectra:
    """Return the long-term spectra of one device's recordings: pairs of a label and a log-mel [80, frames].

    The noise floor is the 2nd percentile over all frames of the power, smoothed over 8 frames. Frames of digital
    silence (padding) do not count.

    Raises:
        InputError: there are fewer than five recordings with sound.
    """
    heard = [(label, _sounding(levels_db)) for label, levels_db in recordings]
    heard = [(label, power) for label, power in heard if power.shape[1]]
    if len(heard) < LEAST_RECORDINGS:
        raise InputError(
            f"{len(heard)} recordings with sound are too few",
            f"a blind estimate needs {LEAST_RECORDINGS} of each device",
        )
    floor = _floor_power([power for _, power in heard])
    mean_power = np.stack([power.mean(axis=1) for _, power in heard])
    excess = np.where(mean_power > floor * 10 ** (_LEAST_EXCESS_DB / 10), mean_power - floor, np.nan)
    return LongTermSpectra(
        levels_db=10 * np.log10(excess),
        snr_db=10 * np.log10(np.median(mean_power, axis=0) / floor),
        labels=tuple(label for label, _ in heard),
        noise_floor_db=10 * np.log10(floor),
    )


def recorded_floor_db(recordings: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return the noise floor of one device in its recordings, as `long_term_spectra` takes it.

    Shape: log-mel spectrograms [80, frames] -> [80], dB re full scale.

    Raises:
        InputError: there are less than ten seconds with sound.
    """
    heard = [power for levels_db in recordings if (power := _sounding(levels_db)).shape[1]]
    n_frames = sum(power.shape[1] for power in heard)
    if n_frames < _LEAST_FRAMES:
        raise InputError(f"{n_frames * HOP_SAMPLES / SAMPLE_RATE_HZ:.1f} s of sound are too few", "10 s are needed")
    return np.asarray(10 * np.log10(_floor_power(heard)))


def _floor_power(recordings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    smooth = [scipy.ndimage.uniform_filter1d(power, _SMOOTHED_FRAMES, axis=1, mode="nearest") for power in recordings]
    return np.asarray(np.percentile(np.concatenate(smooth, axis=1), _FLOOR_PERCENTILE, axis=1))


def blind_difference(reference: LongTermSpectra, device: LongTermSpectra) -> BlindDifference:
    """Return device minus reference: per label the difference of the medians over recordings, then their median.

    Shape and level are compared apart, as recordings differ far more in level than in shape. Labels count by the number
    of recordings that both have. Without a common label all recordings are one.
    """
    shared = sorted(set(reference.labels) & set(device.labels))
    both = [(_of_label(reference, label), _of_label(device, label)) for label in shared]
    both = both or [(reference.levels_db, device.levels_db)]
    groups = [(_shape_and_level(before), _shape_and_level(after)) for before, after in both]
    differences = np.stack([after[0] - before[0] for before, after in groups])
    weights = np.array([min(len(before), len(after)) for before, after in both], float)
    levels = np.array([after[1] - before[1] for before, after in groups])
    shape_db = np.array([_weighted_median(column, weights) for column in differences.T])
    difference_db = shape_db + _weighted_median(levels, weights)
    reached = [np.isfinite(each.levels_db).mean(axis=0) >= _LEAST_SHARE for each in (reference, device)]
    known = np.isfinite(difference_db) & reached[0] & reached[1]
    if known.sum() < 2:
        raise InputError("the recordings do not rise above their noise", "take louder ones, of similar sounds")
    bands = np.arange(len(difference_db))
    return BlindDifference(
        difference_db=np.interp(bands, bands[known], difference_db[known]),
        spread_db=_spread(differences) if len(groups) > 1 else None,
        snr_db=np.where(known, np.minimum(reference.snr_db, device.snr_db), 0.0),
        labels=tuple(shared),
    )


def paired_difference_db(
    pairs: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> NDArray[np.float64]:
    """Return device minus reference from recordings of the same sounds, level included: the median over pairs.

    Shape: pairs of log-mel spectrograms [80, frames], reference first -> [80] in dB, NaN where the sounds do not rise
    above the noise. What blind estimates are checked against.

    Raises:
        InputError: there are fewer than five pairs with sound.
    """
    heard = [pair for pair in pairs if all(_sounding(each).shape[1] for each in pair)]
    before, after = (long_term_spectra([("", pair[side]) for pair in heard]).levels_db for side in (0, 1))
    return np.array([_weighted_median(column, np.ones(len(column))) for column in (after - before).T])


def _sounding(levels_db: NDArray[np.float32]) -> NDArray[np.float64]:
    sounding = levels_db.max(axis=0) > FLOOR_DB + 1
    return np.asarray(10 ** (levels_db[:, sounding].astype(np.float64) / 10))


def _of_label(spectra: LongTermSpectra, label: str) -> NDArray[np.float64]:
    return spectra.levels_db[[each == label for each in spectra.labels]]


def _shape_and_level(levels_db: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the median over recordings of their spectra re their own level, and the median of their levels.

    Shape: [n, 80] -> [80] in dB, NaN where no recording rises above its noise. A recording's level is its median
    band's.
    """
    heard = levels_db[np.isfinite(levels_db).any(axis=1)]
    if not len(heard):
        return np.full(levels_db.shape[1], np.nan), float("nan")
    own_db = np.nanmedian(heard, axis=1)
    columns = [column[np.isfinite(column)] for column in (heard - own_db[:, None]).T]
    return np.array([np.median(column) if len(column) else np.nan for column in columns]), float(np.median(own_db))


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    known = np.isfinite(values)
    if not known.any():
        return float("nan")
    order = np.argsort(values[known])
    passed = np.cumsum(weights[known][order])
    return float(np.interp(passed[-1] / 2, passed - weights[known][order] / 2, values[known][order]))


def _spread(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    columns = [column[np.isfinite(column)] for column in differences.T]
    return np.array([column.std(ddof=1) if len(column) > 1 else 0.0 for column in columns])
