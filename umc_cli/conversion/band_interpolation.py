"""From the 128 mel bands of a device record to the 80 of a log-mel spectrogram."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.response.device import Device
from umc_cli.response.difference import fr_difference_db, level_difference_db


def to_log_mel_bands(values_db: Sequence[float] | NDArray[np.float32], device: torch.device) -> Tensor:
    """Interpolate band values linearly on the mel axis; constant beyond the ends.

    Shape: [128] -> [80, 1] float32, to be added to [B, 80, frames]. Both sets of bands cover 0-11,025 Hz evenly in mel,
    so that band i of n is centred at the share (i + 1) / (n + 1) of the axis.
    """
    n_given, n_wanted = len(values_db), LOG_MEL_SETTINGS.n_mels
    given, wanted = (np.arange(1, n + 1) / (n + 1) for n in (n_given, n_wanted))
    return torch.from_numpy(np.interp(wanted, given, values_db).astype(np.float32)).unsqueeze(1).to(device)


def band_gain_db(source: Device, target: Device, device: torch.device) -> Tensor:
    """Return what must be added to the source's log-mel: shape difference plus level difference.

    Shape: [80, 1], dB. An unknown sensitivity on either side counts as no level difference.
    """
    return to_log_mel_bands(fr_difference_db(source, target), device) + (level_difference_db(source, target) or 0.0)


def noise_floor_db(record: Device, device: torch.device) -> Tensor:
    """Return the noise floor of a device. Shape: [80, 1], dB re full scale.

    Raises:
        ValueError: its record has none; who asks has checked that.
    """
    if record.noise_floor_db is None:
        raise ValueError(f"{record.id} has no noise floor")
    return to_log_mel_bands(record.noise_floor_db, device)
