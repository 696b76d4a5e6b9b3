"""Where two recordings of one sound lie, to a fraction of a sample, and how to move one onto the other."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

_FINER = 4
"""Points per sample of the correlation; a parabola through its highest three gives the rest, to 0.002 of a sample."""


def lag_samples(signal: NDArray[np.float64], reference: NDArray[np.float64], most: float) -> float:
    """Return by how many samples `signal` is later than `reference`: where their correlation is highest.

    Shape: [n], [n]. Searched within +-`most` samples.
    """
    n = scipy.fft.next_fast_len(2 * len(signal), real=True)
    cross = scipy.fft.rfft(signal, n) * np.conj(scipy.fft.rfft(reference, n))
    correlation = scipy.fft.irfft(cross, n * _FINER)
    reach = int(most * _FINER)
    near = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    best = int(np.argmax(near))
    if 0 < best < len(near) - 1:
        before, peak, after = near[best - 1 : best + 2]
        curvature = before - 2 * peak + after
        return float(best - reach + (0.5 * (before - after) / curvature if curvature else 0)) / _FINER
    return (best - reach) / _FINER


def moved_earlier(signal: NDArray[np.float64], lag: float) -> NDArray[np.float64]:
    """Return `signal`, `lag` samples earlier. Shape: [n]. Exact where both ends are silent."""
    n = scipy.fft.next_fast_len(len(signal) + 2 * int(abs(lag) + 64), real=True)
    phase = np.exp(2j * np.pi * scipy.fft.rfftfreq(n) * lag)
    moved: NDArray[np.float64] = scipy.fft.irfft(scipy.fft.rfft(signal, n) * phase, n)[: len(signal)]
    return moved


def aligned(
    repeats: NDArray[np.float64], most: float, rounds: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move all repeats onto their average; return them and how much later each was, in samples.

    Shape: [n, length] -> [n, length], [n]. The first round aligns with the repeat of median energy, so that neither a
    loud nor a weak one leads.
    """
    energies = np.square(repeats).sum(axis=1)
    reference = repeats[np.argsort(energies)[len(repeats) // 2]]
    lags = np.zeros(len(repeats))
    moved = repeats
    for _ in range(rounds):
        lags = np.array([lag_samples(repeat, reference, most) for repeat in repeats])
        moved = np.stack([moved_earlier(repeat, lag) for repeat, lag in zip(repeats, lags, strict=True)])
        reference = moved.mean(axis=0)
    return moved, lags
