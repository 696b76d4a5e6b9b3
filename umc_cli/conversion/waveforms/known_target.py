"""What the records of two devices say to those who convert waveforms."""

import numpy as np
import torch

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.mel_scale import hz_to_mel
from umc_cli.conversion.band_interpolation import band_gain_db, noise_floor_db
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.noise_aware_eq import power
from umc_cli.conversion.waveforms.following import KnownTarget
from umc_cli.conversion.waveforms.spectrum import N_BINS, bin_centres_hz
from umc_cli.response.difference import fr_difference_db, level_difference_db

_CPU = torch.device("cpu")


def known_target(ingredients: Ingredients, target: str) -> KnownTarget:
    """Return the difference of source and target and the target's noise floor, as far as there are records."""
    source, other = (ingredients.devices.get(device) for device in (ingredients.source, target))
    floor = power(noise_floor_db(other, _CPU)[:, 0]) if other and other.noise_floor_db else None
    if source is None or other is None:
        return KnownTarget(torch.zeros(N_BINS), torch.zeros(LOG_MEL_SETTINGS.n_mels), floor)
    shape_db = np.interp(
        hz_to_mel(bin_centres_hz()), hz_to_mel(source.band_centres_hz), fr_difference_db(source, other)
    )
    response_db = torch.from_numpy(shape_db).float() + (level_difference_db(source, other) or 0.0)
    return KnownTarget(response_db, band_gain_db(source, other, _CPU)[:, 0], floor)
