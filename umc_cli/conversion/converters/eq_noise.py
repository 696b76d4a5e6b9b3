"""`eq_noise`: EQ on the part above the source's noise floor, plus the target's noise floor.

Where the noise floor and not the response sets the level, plain EQ is wrong: it would equalise the noise.
"""

import torch
from torch import Tensor

from umc_cli.audio.log_mel import FLOOR_DB, LOG_MEL_SETTINGS
from umc_cli.conversion.band_interpolation import band_gain_db, to_log_mel_bands
from umc_cli.conversion.converters.contract import ConverterSpec, Ingredients, Need
from umc_cli.response.device import Device


class NoiseAwareEqualizer:
    """10 log10(max(P - N_source, 0) * gain + N_target): powers add, so noise floors do."""

    def __init__(self, ingredients: Ingredients) -> None:
        source = ingredients.devices[ingredients.source]
        device = ingredients.torch_device

        def floor_power(record: Device) -> Tensor:
            if record.noise_floor_db is None:
                raise ValueError(f"{record.id} has no noise floor")
            return _power(to_log_mel_bands(record.noise_floor_db, device))

        self._source_floor = floor_power(source)
        self._gain = {
            target: _power(band_gain_db(source, ingredients.devices[target], device)) for target in ingredients.targets
        }
        self._target_floor = {
            target: floor_power(ingredients.devices[target]).clamp_min(LOG_MEL_SETTINGS.power_floor)
            for target in ingredients.targets
        }

    def begin(self, log_mel: Tensor) -> Tensor:
        """Return the power above the source's noise floor. Shape: [B, 80, 80], dB -> power."""
        return (_power(log_mel) - self._source_floor).clamp_min_(0)

    def convert(self, begun: Tensor, target: str) -> Tensor:
        """Filter the signal and add the target's noise. Shape: [B, 80, 80], power -> dB."""
        power = torch.addcmul(self._target_floor[target], begun, self._gain[target])
        return power.log10_().mul_(10).clamp_min_(FLOOR_DB)

    def describe(self) -> dict[str, str]:
        """Nothing beyond the devices."""
        return {}


def _power(level_db: Tensor) -> Tensor:
    return torch.pow(10, level_db / 10)


SPEC = ConverterSpec(
    summary="equalises what rises above the source's noise floor and adds the target's noise floor",
    needs=frozenset({Need.RESPONSE, Need.NOISE_FLOOR}),
    build=NoiseAwareEqualizer,
)
