"""`eq`: the log-mel spectrogram plus the difference of the two devices. Right where no noise floor sets the level."""

from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.band_interpolation import band_gain_db
from umc_cli.conversion.converters.contract import Ingredients


class Equalizer:
    """log_mel + shape difference + level difference, band by band."""

    def __init__(self, ingredients: Ingredients) -> None:
        source = ingredients.devices[ingredients.source]
        self._gain_db = {
            target: band_gain_db(source, ingredients.devices[target], ingredients.torch_device)
            for target in ingredients.targets
        }

    def begin(self, log_mel: Tensor) -> Tensor:
        """Targets share the input itself. Shape: [B, 80, 80], dB."""
        return log_mel

    def convert(self, begun: Tensor, target: str) -> Tensor:
        """Add the target's gain. Shape: [B, 80, 80] -> [B, 80, 80], dB; never below the floor of -100 dB."""
        return (begun + self._gain_db[target]).clamp_min_(FLOOR_DB)

    def describe(self) -> dict[str, str]:
        """Nothing beyond the devices."""
        return {}
