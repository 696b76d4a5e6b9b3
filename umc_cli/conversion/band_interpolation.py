"""From the 128 mel bands of a device record to the 80 of a log-mel spectrogram."""

from collections.abc import Sequence

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel import LOG_MEL_SETTINGS, mel_band_edges_hz
from umc_cli.response.device import Device
from umc_cli.response.difference import fr_difference_db, level_difference_db


def to_log_mel_bands(
    values_db: Sequence[float] | NDArray[np.float32], centres_hz: Sequence[float], device: torch.device
) -> Tensor:
    """Interpolate band values linearly on the mel axis; constant beyond the ends.

    Shape: [128] at `centres_hz` -> [80, 1] float32, to be added to [B, 80, frames].
    """
    wanted_hz = mel_band_edges_hz(LOG_MEL_SETTINGS.n_mels)[1:-1]
    values = np.interp(librosa.hz_to_mel(wanted_hz), librosa.hz_to_mel(centres_hz), values_db)
    return torch.from_numpy(values.astype(np.float32)).unsqueeze(1).to(device)


def band_gain_db(source: Device, target: Device, device: torch.device) -> Tensor:
    """Return what must be added to the source's log-mel: shape difference plus level difference.

    Shape: [80, 1], dB. An unknown sensitivity on either side counts as no level difference.
    """
    shape = to_log_mel_bands(fr_difference_db(source, target), source.band_centres_hz, device)
    return shape + (level_difference_db(source, target) or 0.0)
