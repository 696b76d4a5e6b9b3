"""`eq_noise`: EQ on the part above the source's noise floor, plus the target's noise floor.

Where the noise floor and not the response sets the level, plain EQ is wrong: it would equalise the noise.
"""

from torch import Tensor

from umc_cli.conversion.band_interpolation import band_gain_db, noise_floor_db
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.noise_aware_eq import equalised, power, signal_power


class NoiseAwareEqualizer:
    """See `conversion.noise_aware_eq`."""

    def __init__(self, ingredients: Ingredients) -> None:
        source = ingredients.devices[ingredients.source]
        device = ingredients.torch_device
        self._source_floor_db = noise_floor_db(source, device)
        self._gain = {
            target: power(band_gain_db(source, ingredients.devices[target], device)) for target in ingredients.targets
        }
        self._target_floor = {
            target: power(noise_floor_db(ingredients.devices[target], device)) for target in ingredients.targets
        }

    def begin(self, log_mel: Tensor) -> Tensor:
        """Return the power above the source's noise floor. Shape: [B, 80, 80], dB -> power."""
        return signal_power(log_mel, self._source_floor_db)

    def convert(self, begun: Tensor, target: str) -> Tensor:
        """Filter the signal and add the target's noise. Shape: [B, 80, 80], power -> dB."""
        return equalised(begun, self._gain[target], self._target_floor[target])

    def describe(self) -> dict[str, str]:
        """Nothing beyond the devices."""
        return {}
