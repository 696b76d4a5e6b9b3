"""EQ on the part above the source's noise floor, plus the target's noise floor: powers add, so noise floors do.

10 log10(max(P - N_source, 0) * gain + N_target)
"""

import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB, LOG_MEL_SETTINGS


def power(level_db: Tensor) -> Tensor:
    """Return the power of levels in dB re full scale. Any shape."""
    return torch.pow(10, level_db / 10)


def signal_power(log_mel: Tensor, source_floor_db: Tensor) -> Tensor:
    """Return the power above the source's noise floor.

    Shape: [B, 80, 80] dB, floor [80, 1] or [B, 80, 1] dB -> [B, 80, 80] power.
    """
    return (power(log_mel) - power(source_floor_db)).clamp_min_(0)


def equalised(signal: Tensor, gain: Tensor, target_floor: Tensor) -> Tensor:
    """Filter the signal and add the target's noise.

    Shape: [B, 80, 80] power; gain and floor [80, 1] or [B, 80, 1] as powers -> [B, 80, 80] dB, never below -100 dB.
    """
    with_floor = torch.addcmul(target_floor.clamp_min(LOG_MEL_SETTINGS.power_floor), signal, gain)
    return with_floor.log10_().mul_(10).clamp_min_(FLOOR_DB)
