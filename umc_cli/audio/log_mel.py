"""Log-mel spectrograms: the only place where mel settings exist.

Waveform -> centred STFT (Hann 1,024, hop 256) -> power -> 80 Slaney mel bands -> 10 log10, in dB re full scale.
The paper (section 4.1) gives window, hop and bands; scale, norm, power and floor are librosa's defaults.
"""

import threading
from functools import lru_cache

import torch
import torchaudio
from torch import Tensor

from umc_cli.audio.log_mel_settings import (
    LOG_MEL_SETTINGS,
    SEGMENT_SAMPLES,
)

_SEGMENTS_AT_ONCE = 6
"""Per pass on a CPU: 6 x 1.3 MB of frames and spectrum stay near its cache; fewer pay more for each call."""
_SEGMENTS_AT_ONCE_ON_GPU = 256
"""Enough to fill a GPU, with 0.4 GB of intermediates."""
_BANDS_PER_GROUP = 16
"""Two AVX2 registers of columns; `log_mel` takes a sixth longer with all 80 bands in one group."""


@torch.no_grad()
def log_mel(segments: Tensor) -> Tensor:
    """Return the log-mel spectrograms of a batch of segments, on the device that the segments are on.

    Shape: [B, 20480] float32 in [-1, 1] -> [B, 80, 80] (mel bands, frames) float32 in dB re full scale, >= -100.
    A centred STFT gives 81 frames; the last one is dropped. A segment's result does not depend on the others.
    Equal to librosa's `melspectrogram` + `10 * log10(max(power, 1e-10))` within 0.01 dB.
    """
    settings = LOG_MEL_SETTINGS
    at_once = _SEGMENTS_AT_ONCE if segments.device.type == "cpu" else _SEGMENTS_AT_ONCE_ON_GPU
    work = _work_buffers(segments.device, min(at_once, len(segments)))
    levels_db = segments.new_empty(len(segments), settings.n_mels, settings.n_frames, dtype=torch.float32)
    for first in range(0, len(segments), at_once):
        chunk = segments[first : first + at_once]
        work.padded[: len(chunk), work.silence : -work.silence] = chunk
        levels_db[first : first + at_once] = _levels_db(work, len(chunk)).mT
    return levels_db


def _levels_db(work: "_WorkBuffers", count: int) -> Tensor:
    """Return the levels of the first `count` segments in `work.padded`, in dB re full scale.

    Shape: [count, 80 frames, 80 bands] float32. The transform is in float64, as in librosa: in float32 the rounding
    noise of a loud tone shows in quiet bands, 0.3 dB off near the floor.
    """
    windowed = torch.mul(work.frames[:count], _hann_window(work.padded.device), out=work.windowed[:count])
    # Not into a kept buffer: given `out`, torch transforms into new memory all the same, and copies.
    spectrum = torch.view_as_real(torch.fft.rfft(windowed))  # [count, 80, 513, 2]
    squares = work.squares[:count].copy_(spectrum).square_()  # all at once: faster than real and imaginary by turns
    power = torch.add(squares[..., 0], squares[..., 1], out=work.power[:count]).flatten(0, 1)  # [count * 80, 513]
    return level_db(mel_power(power)).view(count, -1, LOG_MEL_SETTINGS.n_mels)


def mel_power(power: Tensor) -> Tensor:
    """Return the power in the mel bands of the power at the bins of a transform. Shape: [n, 513] -> [n, 80]."""
    return torch.cat([power[:, bins] @ weights for bins, weights in _mel_groups(power.device)], dim=1)


def level_db(power: Tensor) -> Tensor:
    """Return a power of mel bands in dB, never below -100. Changes what it is given. Any shape."""
    return power.clamp_min_(LOG_MEL_SETTINGS.power_floor).log10_().mul_(10)


class _WorkBuffers:
    """Memory for one pass, kept from call to call: fetching it from the system anew takes longer than the FFT."""

    def __init__(self, device: torch.device, count: int) -> None:
        settings = LOG_MEL_SETTINGS
        n_bins = settings.n_fft // 2 + 1
        self.silence = settings.n_fft // 2
        """Zeros before and after each segment; nothing is ever written there."""
        n_padded = self.silence + SEGMENT_SAMPLES + self.silence
        self.padded = torch.zeros(count, n_padded, dtype=torch.float64, device=device)
        self.frames = self.padded.unfold(1, settings.n_fft, settings.hop_samples)[:, : settings.n_frames]  # a view
        self.windowed = torch.empty(count, settings.n_frames, settings.n_fft, dtype=torch.float64, device=device)
        self.squares = torch.empty(count, settings.n_frames, n_bins, 2, device=device)
        self.power = torch.empty(count, settings.n_frames, n_bins, device=device)


_of_this_thread = threading.local()


def _work_buffers(device: torch.device, count: int) -> _WorkBuffers:
    """Return this thread's buffers on `device` for at least `count` segments: as many as the largest batch so far."""
    kept: dict[torch.device, _WorkBuffers] = _of_this_thread.__dict__.setdefault("by_device", {})
    if device not in kept or len(kept[device].padded) < count:
        kept.pop(device, None)
        with torch.inference_mode(False):  # made inside a caller's inference mode they could not be used outside it
            kept[device] = _WorkBuffers(device, count)
    return kept[device]


@lru_cache(maxsize=4)
def _hann_window(device: torch.device) -> Tensor:
    return torch.hann_window(LOG_MEL_SETTINGS.n_fft, dtype=torch.float64, device=device)


@lru_cache(maxsize=4)
def _mel_groups(device: torch.device) -> list[tuple[slice, Tensor]]:
    """Return the mel filter bank in groups of neighbouring bands: the bins a group spans and its weights there.

    Shape of the weights: [bins, bands]. Nearly all of the whole [513, 80] matrix is zeros; without most of them
    the product takes half the time.
    """
    settings = LOG_MEL_SETTINGS
    # torchaudio's filter bank equals librosa's within 1e-5 dB; librosa's would load numba and scipy, a second's work,
    # and need a place to cache in.
    filters = torchaudio.functional.melscale_fbanks(
        n_freqs=settings.n_fft // 2 + 1,
        f_min=settings.f_min_hz,
        f_max=settings.f_max_hz,
        n_mels=settings.n_mels,
        sample_rate=settings.sample_rate_hz,
        norm=settings.mel_norm,
        mel_scale=settings.mel_scale,
    )  # [513, 80]
    groups = []
    for first_band in range(0, settings.n_mels, _BANDS_PER_GROUP):
        weights = filters[:, first_band : first_band + _BANDS_PER_GROUP]
        nonzero_bins = weights.any(dim=1).nonzero()
        bins = slice(int(nonzero_bins[0]), int(nonzero_bins[-1]) + 1)
        groups.append((bins, weights[bins].contiguous().to(device)))
    return groups
