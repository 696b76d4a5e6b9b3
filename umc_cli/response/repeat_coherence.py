"""Whether repeats of an impulse response agree in waveform, band by band, and which of them does not.

Repeats are averaged as waveforms, so magnitudes that agree are not enough: where a millisecond was lost in the middle
of a sweep, what came before it is turned against the other repeats, and the average cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from umc_cli.response.frequency_response import band_weights

_MOST_LOSS_DB = 1.0
"""Of a band's level by averaging, beyond what noise explains."""
_NOISE_MARGIN = 2.0
"""Scatter between repeats may be this many times what the noise makes: a narrow band holds few independent values."""
_LEAST_SNR = 4.0
"""Power of a repeat over its noise; bands with less cannot be judged."""
_STEP_HZ = 4.0


@dataclass(frozen=True)
class Coherence:
    """What repeats of one response say of each other. Lists run over 128 mel bands."""

    kept: NDArray[np.intp]
    """Indices of the repeats that agree."""
    is_coherent: NDArray[np.bool_]
    """Bands in which averaging those kept loses less than 1 dB; True where noise hides it, or there is one repeat."""
    loss_db: NDArray[np.float64]
    """How much lower the waveform average of those kept lies than their mean power, 0 or more."""
    scatter_db: NDArray[np.float64] | None
    """Level of what differs between the repeats kept, of one repeat; None for one repeat."""


def check_coherence(
    repeats: NDArray[np.float64], rate_hz: int, noise_db: NDArray[np.float64] | None, judged: NDArray[np.bool_]
) -> Coherence:
    """Compare aligned repeats band by band, and leave out those that disagree with most of the others.

    Shape: [n, length]. `noise_db`: level of the noise of one repeat, [128], as `band_level_db` counts it; None where it
    is unknown. `judged`: bands that matter, [128]. Fewer than half of the repeats are left out, one after the other,
    each only if fewer bands disagree without it.
    """
    n_points = scipy.fft.next_fast_len(max(repeats.shape[1], round(rate_hz / _STEP_HZ)), real=True)
    spectra = scipy.fft.rfft(repeats, n_points, axis=1)
    weights = band_weights(np.asarray(scipy.fft.rfftfreq(n_points, 1 / rate_hz), np.float64))
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    powers = np.stack([weights @ np.square(np.abs(spectrum)) for spectrum in spectra])
    noise = np.zeros(len(weights)) if noise_db is None else 10 ** (noise_db / 10)
    most_left_out = (len(repeats) - 1) // 2
    kept = list(range(len(repeats)))
    state = _agreement(spectra, powers, weights, kept, noise, judged)
    while not state.is_coherent.all() and len(repeats) - len(kept) < most_left_out:
        total = spectra[kept].sum(axis=0)
        others = [total - spectra[index] for index in kept]
        apart = [
            weights @ np.square(np.abs(spectra[index] - rest / (len(kept) - 1)))
            for index, rest in zip(kept, others, strict=True)
        ]
        # Against the power of all, lest an average that cancels makes every repeat look odd.
        share = (np.array(apart) / powers[kept].mean(axis=0))[:, ~state.is_coherent]
        odd = kept[int(np.argmax(np.median(share, axis=1)))]
        fewer = [index for index in kept if index != odd]
        without_it = _agreement(spectra, powers, weights, fewer, noise, judged)
        if without_it.is_coherent.sum() <= state.is_coherent.sum():
            break
        kept, state = fewer, without_it
    return state


def _agreement(
    spectra: NDArray[np.complex128],
    powers: NDArray[np.float64],
    weights: NDArray[np.float64],
    kept: Sequence[int],
    noise: NDArray[np.float64],
    judged: NDArray[np.bool_],
) -> Coherence:
    n = len(kept)
    of_average = weights @ np.square(np.abs(spectra[kept].mean(axis=0)))
    mean_power = powers[kept].mean(axis=0)
    scatter = np.maximum(mean_power - of_average, 0)
    excess = scatter - _NOISE_MARGIN * noise * (1 - 1 / n)
    is_bad = excess > (10 ** (_MOST_LOSS_DB / 10) - 1) * of_average
    floor = 1e-30
    return Coherence(
        kept=np.array(kept, np.intp),
        is_coherent=~(is_bad & judged & (mean_power > _LEAST_SNR * noise)),
        loss_db=10 * np.log10(np.maximum(mean_power, floor) / np.maximum(of_average, floor)),
        scatter_db=10 * np.log10(np.maximum(scatter * n / (n - 1), floor)) if n > 1 else None,
    )
