"""Features of segments: the paper's log-mel spectrograms, or those of one's own."""

from functools import lru_cache

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from umc_cli.audio.feature_settings import SecFeatures, features_of
from umc_cli.audio.log_mel import level_db, log_mel
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.segment_settings import SegmentSettings

_SEGMENTS_AT_ONCE = 16
"""Of features of one's own: 2 s at 16 kHz are 13 MB of spectrum then."""


def spectrograms(segments: Tensor, settings: SegmentSettings) -> Tensor:
    """Return the features of segments as `settings` cut them. A segment's result does not depend on the others.

    Shape: [B, n] float32, full scale 1 -> [B, bands, frames] in dB re full scale, never below -100.
    """
    features = features_of(settings)
    return own_features(segments, features) if features else log_mel(segments)


@torch.no_grad()
def own_features(segments: Tensor, features: SecFeatures) -> Tensor:
    """Return features of one's own. With the settings of the paper they are those of `log_mel`, within 0.01 dB.

    Shape: [B, n] float32, full scale 1, at `features.read_rate_hz` -> [B, bands, frames] in dB re full scale, never
    below -100.
    """
    n_mels, n_frames = features.shape
    levels_db = segments.new_empty(len(segments), n_mels, n_frames, dtype=torch.float32)
    transform = _transform(features)
    for first in range(0, len(segments), _SEGMENTS_AT_ONCE):
        samples = _at_their_rate(segments[first : first + _SEGMENTS_AT_ONCE].cpu(), features)
        power = transform(samples.double())[:, :, :n_frames]  # in float32 loud tones would show in quiet bands
        levels_db[first : first + len(samples)] = level_db(power).float()
    return levels_db


def _at_their_rate(segments: Tensor, features: SecFeatures) -> Tensor:
    """Shape: [B, n] -> [B, features.n_samples]."""
    samples = segments
    if features.sample_rate_hz != features.read_rate_hz:
        rates = (features.read_rate_hz, features.sample_rate_hz)
        resampled = soxr.resample(np.ascontiguousarray(segments.numpy().T), *rates, quality="HQ")
        samples = torch.from_numpy(np.ascontiguousarray(resampled.T))
    return functional.pad(samples, (0, features.n_samples - samples.shape[1]))  # rounding: a sample more or less


@lru_cache(maxsize=4)
def _transform(features: SecFeatures) -> MelSpectrogram:
    return MelSpectrogram(
        sample_rate=features.sample_rate_hz,
        n_fft=features.n_fft,
        hop_length=features.hop_samples,
        f_min=features.f_min_hz,
        f_max=features.highest_hz,
        n_mels=features.n_mels,
        power=LOG_MEL_SETTINGS.power,
        center=LOG_MEL_SETTINGS.centered,
        pad_mode=LOG_MEL_SETTINGS.pad_mode,
        norm=LOG_MEL_SETTINGS.mel_norm,
        mel_scale=LOG_MEL_SETTINGS.mel_scale,
    ).double()
