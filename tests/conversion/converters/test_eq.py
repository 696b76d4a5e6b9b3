import librosa
import numpy as np
import torch

from tests.conversion.devices import device, ingredients
from umc_cli.conversion.converters.eq import Equalizer


def convert(log_mel: torch.Tensor, *devices: object) -> torch.Tensor:
    converter = Equalizer(ingredients(*devices))  # type: ignore[arg-type]
    return converter.convert(converter.begin(log_mel), devices[1].id)  # type: ignore[attr-defined]


def test_equal_devices_change_nothing() -> None:
    log_mel = torch.rand(3, 80, 80) * 80 - 90
    torch.testing.assert_close(convert(log_mel, device("a", 2.0), device("b", 2.0)), log_mel)


def test_the_sign_is_target_minus_source() -> None:
    """A target that is 6 dB more sensitive records 6 dB more."""
    log_mel = torch.full((1, 80, 80), -40.0)
    assert convert(log_mel, device("a", 1.0), device("b", 7.0)).unique().tolist() == [-34.0]


def test_sensitivity_counts_where_both_are_known() -> None:
    log_mel = torch.full((1, 80, 80), -40.0)
    loud, quiet, unknown = (
        device(name, sensitivity_dbfs=level) for name, level in [("l", -30.0), ("q", -37.0), ("u", None)]
    )
    assert convert(log_mel, quiet, loud).unique().tolist() == [-33.0]
    assert convert(log_mel, quiet, unknown).unique().tolist() == [-40.0]


def test_a_tilt_in_mel_stays_a_tilt_in_mel() -> None:
    """128 bands become 80 on the mel axis: a response linear in mel is sampled exactly."""
    mel = librosa.hz_to_mel(np.array(device("a").band_centres_hz))
    converted = convert(torch.full((1, 80, 80), -50.0), device("a"), device("b", list(0.5 * mel)))
    centres = librosa.hz_to_mel(librosa.mel_frequencies(82, fmin=0, fmax=11_025)[1:-1])
    np.testing.assert_allclose(converted[0, :, 0], -50 + 0.5 * centres, atol=1e-3)


def test_nothing_falls_below_the_floor() -> None:
    assert convert(torch.full((1, 80, 80), -95.0), device("a"), device("b", -20.0)).unique().tolist() == [-100.0]
