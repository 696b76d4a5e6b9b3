"""How far converted spectrograms are from what the target recorded: pure functions on arrays.

Where nothing else is said, arrays hold log-mel levels in dB re full scale, [N, 80, 80] (segments, mel bands, frames).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGNAL_MARGIN_DB = 6.0
"""A frame holds signal where its summed power lies at least this far above that of the noise floor."""

QUIET_PERCENTILE = 5.0
"""Where no noise floor is known: the level of a recording's frames that stands for it."""

Levels = NDArray[np.float32]
Values = NDArray[np.float64]


def frames_with_signal(
    true: Levels, noise_floor_db: NDArray[np.float32] | None, recordings: Sequence[str]
) -> NDArray[np.bool_]:
    """Tell which frames of the target's true recordings hold more than its noise.

    A frame's level is 10 log10 of its power summed over the bands. It counts where that level lies at least 6 dB above
    the level of `noise_floor_db` ([80], dB, the target's), or, where that is None, above the 5th percentile of the
    levels of all frames of the same recording (`recordings`: the name of each segment's recording, [N]).

    Shape: [N, 80, 80] -> [N, 80] (segments, frames).
    """
    levels_db = _summed_db(true, axis=1)
    if noise_floor_db is not None:
        return levels_db >= _summed_db(noise_floor_db, axis=0) + SIGNAL_MARGIN_DB
    names = np.asarray(recordings)
    quiet_db = np.empty(len(names))
    for name in np.unique(names):
        quiet_db[names == name] = np.percentile(levels_db[names == name], QUIET_PERCENTILE)
    return levels_db >= quiet_db[:, None] + SIGNAL_MARGIN_DB


def log_spectral_distance(converted: Levels, true: Levels, frames: NDArray[np.bool_] | None = None) -> Values:
    """Return each segment's mean over frames of sqrt(mean over bands of (converted - true)^2), in dB.

    `frames` [N, 80]: only these frames count (`frames_with_signal`); a segment without any gets nan. None: all frames.

    Shape: [N, 80, 80], [N, 80, 80] -> [N].
    """
    squares = np.square(np.subtract(converted, true, dtype=np.float64))
    by_frame: Values = np.sqrt(squares.mean(axis=1))
    if frames is None:
        frames = np.ones(by_frame.shape, dtype=bool)
    counts = frames.sum(axis=1)
    sums = np.where(frames, by_frame, 0.0).sum(axis=1)
    distances: Values = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return distances


def recording_distances(converted: Levels, true: Levels, recordings: Sequence[str]) -> dict[str, float]:
    """Return each recording's mean over segments of `log_spectral_distance`, in order of appearance."""
    by_recording: dict[str, list[float]] = {}
    for recording, value in zip(recordings, log_spectral_distance(converted, true), strict=True):
        by_recording.setdefault(recording, []).append(float(value))
    return {recording: float(np.mean(values)) for recording, values in by_recording.items()}


@dataclass(frozen=True)
class ResponseError:
    """How far the mean change of a conversion is from the difference that was asked for."""

    shape_db: float
    """RMS over the trusted bands, after the mean over them is taken out: the level does not count."""
    level_db: float
    """That mean: positive where the conversion is too loud. RMS with the level: sqrt(shape^2 + level^2)."""


def response_error(
    converted: Levels, given: Levels, gain_db: NDArray[np.float32], trusted: NDArray[np.bool_]
) -> ResponseError:
    """Compare mean(converted - given), over segments and frames, with the gain that was asked for, band by band.

    `gain_db` [80]: the difference target minus source (128 bands in the device records) over the 80 bands of the
    spectrogram, with the level difference where both sensitivities are known. `trusted` [80]: bands in which both
    records can be trusted; the others do not count. Where noise sets the level of many frames, the true recordings have
    an error too: compare with theirs.

    Raises:
        ValueError: no band is trusted.
    """
    if not trusted.any():
        raise ValueError("no band is trusted")
    change_db = np.subtract(converted, given, dtype=np.float64).mean(axis=(0, 2))
    error_db = (change_db - gain_db)[trusted]
    return ResponseError(shape_db=float(error_db.std()), level_db=float(error_db.mean()))


def frechet_distance_of_gaussians(
    first_mean: Values, first_covariance: Values, second_mean: Values, second_covariance: Values
) -> float:
    """Return |m1 - m2|^2 + trace(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), in float64.

    The last trace is the sum of the singular values of C1^1/2 C2^1/2, which is the same whichever set comes first and
    needs no inverse. Eigenvalues of a covariance that rounding made negative count as zero, so that sets with fewer
    members than dimensions are no fault. Never negative.
    """
    roots = _symmetric_root(first_covariance) @ _symmetric_root(second_covariance)
    common = np.linalg.svd(roots, compute_uv=False).sum()
    apart = float(np.square(first_mean - second_mean).sum())
    return max(0.0, apart + float(np.trace(first_covariance) + np.trace(second_covariance) - 2 * common))


def frechet_distance(first: NDArray[np.float32] | Values, second: NDArray[np.float32] | Values) -> float:
    """Return the Frechet distance of two sets of embeddings, each taken for a Gaussian (mean and covariance).

    Shape: [N, D], [M, D]; at least two members each. The smaller the sets, the larger the distance, also of sets from
    one and the same distribution: compare only distances of sets of the same sizes (`frechet_distances_of_halves`).

    Raises:
        ValueError: fewer than two members.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a covariance needs at least two members")
    (first_mean, first_covariance), (second_mean, second_covariance) = _moments(first), _moments(second)
    return frechet_distance_of_gaussians(first_mean, first_covariance, second_mean, second_covariance)


def frechet_distances_of_halves(
    first: NDArray[np.float32],
    first_recordings: Sequence[str],
    second: NDArray[np.float32],
    second_recordings: Sequence[str],
    seeds: Iterable[int],
) -> Values:
    """Return, for each seed, the Frechet distance of `first` from half of the recordings to `second` from the others.

    No recording is on both sides. With the converted segments as `first` and the target's real ones as `second` this is
    the distance of the conversion; with the real ones as both, and the same seeds, it is that measure's noise level:
    what a perfect conversion would get. Seeds whose halves leave fewer than two segments on a side give nan.

    Shape: [N, D], [N], [M, D], [M] -> [seeds].
    """
    names = np.unique([*first_recordings, *second_recordings])
    distances = []
    for seed in seeds:
        half = np.random.default_rng(seed).permutation(names)[: (len(names) + 1) // 2]
        ours = first[np.isin(first_recordings, half)]
        theirs = second[~np.isin(second_recordings, half)]
        distances.append(frechet_distance(ours, theirs) if min(len(ours), len(theirs)) >= 2 else np.nan)
    return np.array(distances)


def _summed_db(levels_db: NDArray[np.float32], axis: int) -> Values:
    power = np.power(10.0, levels_db / 10, dtype=np.float64).sum(axis=axis)
    return np.asarray(10 * np.log10(power))


def _moments(embeddings: NDArray[np.float32] | Values) -> tuple[Values, Values]:
    exact = np.asarray(embeddings, dtype=np.float64)
    return exact.mean(axis=0), np.atleast_2d(np.cov(exact, rowvar=False))


def _symmetric_root(covariance: Values) -> Values:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)
