"""From the 128 mel bands of a device record to the 80 of a log-mel spectrogram."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.mel_scale import at_mel_bands, mel_band_edges_hz
from umc_cli.response.device import Device
from umc_cli.response.difference import fr_difference_db, level_difference_db, shared_trusted_range_hz


def to_log_mel_bands(values_db: Sequence[float] | NDArray[np.float32], device: torch.device | str) -> Tensor:
    """Interpolate band values linearly on the mel axis; constant beyond the ends.

    Shape: [128] -> [80, 1] float32, to be added to [B, 80, frames]. Both sets of bands cover 0-11,025 Hz.
    """
    at_bands_db = at_mel_bands(values_db, LOG_MEL_SETTINGS.n_mels)
    return torch.from_numpy(at_bands_db.astype(np.float32)).unsqueeze(1).to(device)


def trusted_log_mel_bands(source: Device, target: Device) -> NDArray[np.bool_]:
    """Tell for each band of a log-mel spectrogram whether the records of both devices can be trusted. Shape: [80]."""
    centres_hz = np.array(mel_band_edges_hz(LOG_MEL_SETTINGS.n_mels)[1:-1])
    low_hz, high_hz = shared_trusted_range_hz(source, target)
    return np.asarray((centres_hz >= low_hz) & (centres_hz <= high_hz))


def band_gain_db(source: Device, target: Device, device: torch.device | str) -> Tensor:
    """Return what must be added to the source's log-mel: shape difference plus level difference.

    Shape: [80, 1], dB. An unknown sensitivity on either side counts as no level difference.
    """
    return to_log_mel_bands(fr_difference_db(source, target), device) + (level_difference_db(source, target) or 0.0)


def noise_floor_db(record: Device, device: torch.device | str) -> Tensor:
    """Return the noise floor of a device. Shape: [80, 1], dB re full scale.

    Raises:
        ValueError: its record has none; who asks has checked that.
    """
    if record.noise_floor_db is None:
        raise ValueError(f"{record.id} has no noise floor")
    return to_log_mel_bands(record.noise_floor_db, device)
