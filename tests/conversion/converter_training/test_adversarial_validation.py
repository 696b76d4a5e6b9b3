import numpy as np
import pytest
import torch

from tests.conversion.devices import device
from umc_cli.conversion.band_interpolation import to_log_mel_bands
from umc_cli.conversion.converter_training.adversarial_validation import cycle_error_db, response_error_db

TILT = np.linspace(-6, 6, 128)
DEVICES = [device("flat"), device("tilted", TILT.tolist())]
ASKED = to_log_mel_bands(TILT, torch.device("cpu"))  # [80, 1]
GIVEN = torch.randn(4, 80, 80, generator=torch.Generator().manual_seed(0)) * 10 - 50


def test_cycle_error_is_the_mean_absolute_difference_in_db() -> None:
    assert cycle_error_db(GIVEN + torch.tensor([1.0, -3.0]).repeat(40), GIVEN) == pytest.approx(2, abs=1e-4)


def test_a_conversion_that_adds_the_difference_has_no_response_error_whatever_the_level() -> None:
    pairs = [(0, 1), (0, 1), (1, 0), (1, 0)]
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0]).view(-1, 1, 1)
    assert response_error_db(GIVEN + signs * ASKED + 7, GIVEN, pairs, DEVICES) < 1e-3


def test_no_conversion_has_the_size_of_the_difference_as_error() -> None:
    expected = float(ASKED.std(correction=0))
    assert response_error_db(GIVEN, GIVEN, [(0, 1)] * 4, DEVICES) == pytest.approx(expected, rel=1e-4)
    one_right = torch.cat([GIVEN[:2], GIVEN[2:] - ASKED])
    pairs = [(0, 1), (0, 1), (1, 0), (1, 0)]
    assert response_error_db(one_right, GIVEN, pairs, DEVICES) == pytest.approx(expected / 2, rel=1e-4)


def test_bands_that_one_record_does_not_trust_do_not_count() -> None:
    narrow = [DEVICES[0], DEVICES[1].model_copy(update={"trusted_range_hz": (100.0, 1000.0)})]
    wrong_above = GIVEN + ASKED
    wrong_above[:, 40:] += 20  # band 40 is at about 2.3 kHz
    assert response_error_db(wrong_above, GIVEN, [(0, 1)] * 4, narrow) < 1e-3
    assert response_error_db(wrong_above, GIVEN, [(0, 1)] * 4, DEVICES) > 5
