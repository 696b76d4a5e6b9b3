"""Convolution of every segment of a batch with a filter of its own."""

import scipy.fft
import torch
from torch import Tensor


def convolve_each(waveforms: Tensor, filters: Tensor) -> Tensor:
    """Return each waveform through its causal filter, cut to the waveform's length.

    Shape: [B, n] and [B, taps] -> [B, n]. What sounded before the segment is taken for silence.
    """
    if not len(waveforms):  # MKL's FFT fails on an empty batch
        return waveforms
    n_samples = waveforms.shape[1]
    # Long enough not to wrap around.
    n_points = scipy.fft.next_fast_len(n_samples + filters.shape[1] - 1, real=True)
    spectra = torch.fft.rfft(waveforms, n_points)
    spectra *= torch.fft.rfft(filters, n_points)
    convolved: Tensor = torch.fft.irfft(spectra, n_points)
    return convolved[:, :n_samples]
