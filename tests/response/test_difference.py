"""The sign of a difference, on devices whose answer is known."""

import numpy as np
import pytest

from tests.conversion.devices import device
from umc_cli.response.device import N_BANDS
from umc_cli.response.difference import fr_difference_db, level_difference_db


def test_the_difference_is_target_minus_source() -> None:
    flat = device("flat", np.zeros(N_BANDS))
    treble = device("treble", np.linspace(0, 12, N_BANDS))
    difference = fr_difference_db(source=flat, target=treble)
    assert difference.shape == (128,)
    assert difference.dtype == np.float32
    np.testing.assert_allclose(difference, np.linspace(0, 12, N_BANDS), atol=1e-6)
    np.testing.assert_allclose(fr_difference_db(source=treble, target=flat), -difference)


def test_adding_the_difference_to_the_source_gives_the_target() -> None:
    random = np.random.default_rng(3)
    source, target = (device(name, random.normal(0, 6, N_BANDS)) for name in ("source", "target"))
    np.testing.assert_allclose(
        np.array(source.frequency_response_db) + fr_difference_db(source, target),
        target.frequency_response_db,
        atol=1e-5,
    )


def test_a_device_does_not_differ_from_itself() -> None:
    bumpy = device("bumpy", np.sin(np.arange(N_BANDS)), sensitivity_dbfs=-37.0)
    np.testing.assert_array_equal(fr_difference_db(bumpy, bumpy), 0)
    assert level_difference_db(bumpy, bumpy) == 0


def test_a_more_sensitive_target_is_louder() -> None:
    flat = np.zeros(N_BANDS)
    quiet, loud = device("quiet", flat, sensitivity_dbfs=-40.0), device("loud", flat, sensitivity_dbfs=-28.5)
    assert level_difference_db(source=quiet, target=loud) == pytest.approx(11.5)
    assert level_difference_db(source=loud, target=quiet) == pytest.approx(-11.5)


def test_the_level_difference_is_unknown_where_a_sensitivity_is() -> None:
    flat = np.zeros(N_BANDS)
    known, unknown = device("known", flat, sensitivity_dbfs=-37.0), device("unknown", flat)
    assert level_difference_db(known, unknown) is None
    assert level_difference_db(unknown, known) is None
    assert level_difference_db(unknown, unknown) is None


def test_level_and_shape_stand_apart() -> None:
    flat = np.zeros(N_BANDS)
    np.testing.assert_array_equal(
        fr_difference_db(device("quiet", flat, sensitivity_dbfs=-50.0), device("loud", flat, sensitivity_dbfs=-20.0)), 0
    )
