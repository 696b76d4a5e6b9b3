"""Log-mel spectrograms: the only place where mel settings exist.

Waveform -> centred STFT (Hann 1,024, hop 256) -> power -> 80 Slaney mel bands -> 10 log10, in dB re full scale.
The paper (section 4.1) gives window, hop and bands; scale, norm, power and floor are librosa's defaults.
"""

from functools import lru_cache

import librosa
import torch
import torchaudio
from torch import Tensor

from umc_cli.config import Settings

SAMPLE_RATE_HZ = 22_050
HOP_SAMPLES = 256
N_FRAMES = 80
SEGMENT_SAMPLES = N_FRAMES * HOP_SAMPLES
"""20,480 samples = 929 ms: the paper's 930-ms segments, in whole frames."""


class LogMelSettings(Settings):
    """How a spectrogram was made; stored in every shard and checkpoint."""

    sample_rate_hz: int = SAMPLE_RATE_HZ
    n_fft: int = 1024
    hop_samples: int = HOP_SAMPLES
    n_mels: int = 80
    n_frames: int = N_FRAMES
    f_min_hz: float = 0.0
    f_max_hz: float = SAMPLE_RATE_HZ / 2
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    power: float = 2.0
    centered: bool = True
    pad_mode: str = "constant"
    power_floor: float = 1e-10
    """Lowest power before the logarithm: -100 dB."""


LOG_MEL_SETTINGS = LogMelSettings()
FLOOR_DB = -100.0
"""10 log10 of `power_floor`: no log-mel value lies below."""

_SEGMENTS_AT_ONCE = 3
"""Per pass on a CPU: 3 x 1.3 MB of frames and spectrum stay in its cache; 64 at once take four times as long."""
_SEGMENTS_AT_ONCE_ON_GPU = 256
"""Enough to fill a GPU, with 0.4 GB of intermediates."""
_BANDS_PER_GROUP = 16
"""Two AVX2 registers of columns; `log_mel` takes a sixth longer with all 80 bands in one group."""


def log_mel(segments: Tensor) -> Tensor:
    """Return the log-mel spectrograms of a batch of segments, on the device that the segments are on.

    Shape: [B, 20480] float32 in [-1, 1] -> [B, 80, 80] (mel bands, frames) float32 in dB re full scale, >= -100.
    A centred STFT gives 81 frames; the last one is dropped. A segment's result does not depend on the others.
    Equal to librosa's `melspectrogram` + `10 * log10(max(power, 1e-10))` within 0.01 dB.
    """
    settings = LOG_MEL_SETTINGS
    at_once = _SEGMENTS_AT_ONCE if segments.device.type == "cpu" else _SEGMENTS_AT_ONCE_ON_GPU
    half_window = settings.n_fft // 2
    n_padded = half_window + SEGMENT_SAMPLES + half_window  # the silence at both ends stays in place
    padded = torch.zeros(min(at_once, len(segments)), n_padded, dtype=torch.float64, device=segments.device)
    frames = padded.unfold(1, settings.n_fft, settings.hop_samples)[:, : settings.n_frames]  # a view of `padded`
    levels_db = segments.new_empty(len(segments), settings.n_mels, settings.n_frames, dtype=torch.float32)
    for first in range(0, len(segments), at_once):
        chunk = segments[first : first + at_once]
        padded[: len(chunk), half_window:-half_window] = chunk
        levels_db[first : first + at_once] = _levels_db(frames[: len(chunk)]).mT
    return levels_db


def _levels_db(frames: Tensor) -> Tensor:
    """Return the levels of some windows of sound, in dB re full scale.

    Shape: [b, 80 frames, 1024] float64 -> [b, 80 frames, 80 bands] float32. The transform is in float64, as in librosa:
    in float32 the rounding noise of a loud tone shows in quiet bands, 0.3 dB off near the floor.
    """
    spectrum = torch.view_as_real(torch.fft.rfft(frames * _hann_window(frames.device))).float()  # [b, 80, 513, 2]
    squares = spectrum.square_()  # in place and at once: faster than real and imaginary parts by turns
    power = (squares[..., 0] + squares[..., 1]).flatten(0, 1)  # [b * 80, 513]
    mel_power = torch.cat([power[:, bins] @ weights for bins, weights in _mel_groups(frames.device)], dim=1)
    return mel_power.clamp_min_(LOG_MEL_SETTINGS.power_floor).log10_().mul_(10).view(*frames.shape[:2], -1)


def mel_band_edges_hz(n_mels: int) -> "list[float]":
    """Return the n_mels + 2 edges in Hz of the bands; band i rises from edge i to i + 1 and falls to i + 2."""
    settings = LOG_MEL_SETTINGS
    return [float(edge) for edge in librosa.mel_frequencies(n_mels + 2, fmin=settings.f_min_hz, fmax=settings.f_max_hz)]


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
    # torchaudio's filter bank equals librosa's within 1e-5 dB; librosa's would load numba and scipy, a second's work.
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
