"""The spectrum of a waveform on the frames of a log-mel spectrogram, and back."""

from functools import lru_cache

import torch
from torch import Tensor

from umc_cli.audio.log_mel import mel_power
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SAMPLE_RATE_HZ
from umc_cli.audio.mel_scale import mel_band_edges_hz

HOP = LOG_MEL_SETTINGS.hop_samples
WINDOW = LOG_MEL_SETTINGS.n_fft
N_BINS = WINDOW // 2 + 1
_PER_WINDOW = WINDOW // HOP
_SQUARES = 1.5
"""The sum of the squares of Hann windows a quarter of their length apart."""
WINDOW_ENERGY = 0.375 * WINDOW
"""The sum of a Hann window's squares: the power that white noise of power 1 has in every bin."""


@lru_cache(maxsize=1)
def _hann() -> Tensor:
    return torch.hann_window(WINDOW)


def spectrum(samples: Tensor) -> Tensor:
    """Return the spectrum of every frame. Shape: [256 (n - 1) + 1024] float32 -> [n, 513] complex64."""
    spectra: Tensor = torch.fft.rfft(samples.unfold(0, WINDOW, HOP) * _hann())
    return spectra


def waveform(spectra: Tensor) -> Tensor:
    """Return the waveform whose frames have these spectra, as far as frames that overlap agree.

    Shape: [n, 513] complex64 -> [256 (n - 1) + 1024] float32. The first and last 768 samples, which fewer than four
    windows cover, are too quiet.
    """
    frames: Tensor = torch.fft.irfft(spectra, n=WINDOW).mul_(_hann()).view(len(spectra), _PER_WINDOW, HOP)
    hops = frames.new_zeros(len(spectra) + _PER_WINDOW - 1, HOP)
    for number in range(_PER_WINDOW):
        hops[number : number + len(spectra)] += frames[:, number]
    return hops.flatten().div_(_SQUARES)


def power(spectra: Tensor) -> Tensor:
    """Return the power at every bin. Shape: [n, 513] complex64 -> [n, 513] float32."""
    parts = torch.view_as_real(spectra)
    return parts.square().sum(dim=-1)


@lru_cache(maxsize=1)
def bin_centres_hz() -> Tensor:
    """Return the frequencies of the bins. Shape: [513], Hz."""
    return torch.arange(N_BINS) * (SAMPLE_RATE_HZ / WINDOW)


@lru_cache(maxsize=1)
def white_mel_power() -> Tensor:
    """Return what white noise of power 1 has in the mel bands. Shape: [80]."""
    return mel_power(torch.full((1, N_BINS), WINDOW_ENERGY))[0]


@lru_cache(maxsize=1)
def bands_to_bins() -> Tensor:
    """Return the weights that interpolate values of mel bands at the bins, constant beyond the ends.

    Shape: [80, 513]; each column sums to 1. Linear in frequency between the centres of two bands.
    """
    centres = torch.tensor(mel_band_edges_hz(LOG_MEL_SETTINGS.n_mels)[1:-1])
    bins = bin_centres_hz().clamp(float(centres[0]), float(centres[-1]))
    below = (torch.searchsorted(centres, bins, right=True) - 1).clamp(0, len(centres) - 2)
    share = (bins - centres[below]) / (centres[below + 1] - centres[below])
    weights = torch.zeros(len(centres), N_BINS)
    every = torch.arange(N_BINS)
    weights[below, every] = 1 - share
    weights[below + 1, every] += share
    return weights
