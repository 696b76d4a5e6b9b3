import numpy as np
import pytest
import torch

from tests.conversion.devices import device, ingredients
from umc_cli.audio.log_mel import log_mel
from umc_cli.conversion.converters.eq_noise import NoiseAwareEqualizer


def convert(values: torch.Tensor, *devices: object) -> torch.Tensor:
    converter = NoiseAwareEqualizer(ingredients(*devices))  # type: ignore[arg-type]
    return converter.convert(converter.begin(values), devices[1].id)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("level", "source_floor", "gain", "target_floor", "expected"),
    [
        (-20.0, -90.0, 6.0, -90.0, -14.0),  # far above both floors: EQ
        (-90.0, -90.0, 20.0, -70.0, -70.0),  # nothing but the source's noise: the target's noise
        (-95.0, -90.0, 20.0, -70.0, -70.0),  # below the source's floor
        (-60.0, -90.0, -30.0, -60.0, 10 * np.log10(10**-9 + 10**-6)),  # masked by the target's noise
        (-60.0, -63.0103, 0.0, -63.0103, -60.0),  # half signal, half noise; the same device again
    ],
)
def test_known_answers(level: float, source_floor: float, gain: float, target_floor: float, expected: float) -> None:
    source, target = device("a", 0.0, source_floor), device("b", gain, target_floor)
    converted = convert(torch.full((1, 80, 80), level), source, target)
    torch.testing.assert_close(converted, torch.full((1, 80, 80), expected, dtype=torch.float32), atol=2e-3, rtol=0)


def test_a_device_to_itself_changes_nothing_above_its_floor() -> None:
    values = torch.rand(2, 80, 80) * 60 - 70
    torch.testing.assert_close(
        convert(values, device("a", 3.0, -80.0), device("b", 3.0, -80.0)), values, atol=1e-3, rtol=0
    )


def test_digital_silence_becomes_the_target_noise() -> None:
    converted = convert(torch.full((1, 80, 80), -100.0), device("a", 0.0, -90.0), device("b", 0.0, -75.0))
    torch.testing.assert_close(converted, torch.full((1, 80, 80), -75.0), atol=1e-3, rtol=0)


def test_it_predicts_a_real_mixture_better_than_eq_alone() -> None:
    """White noise through a flat 12-dB attenuation, plus the target's noise: truth made from waveforms."""
    random = np.random.default_rng(0)
    clean = random.standard_normal((8, 20_480)) * 10 ** (-60 / 20)
    noise = random.standard_normal((8, 20_480)) * 10 ** (-66 / 20)
    truth = log_mel(torch.from_numpy((clean * 10 ** (-12 / 20) + noise).astype(np.float32)))
    given = log_mel(torch.from_numpy(clean.astype(np.float32)))
    white_gain_db = 12.5
    source, target = device("a", 0.0, -110.0), device("b", -12.0, -66.0 + white_gain_db)
    converted = convert(given, source, target)
    error = (converted.mean(dim=(0, 2)) - truth.mean(dim=(0, 2))).abs().mean()
    eq_error = (given.mean(dim=(0, 2)) - 12 - truth.mean(dim=(0, 2))).abs().mean()
    assert error < 1.5
    assert eq_error > 5
