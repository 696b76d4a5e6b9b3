"""Sets and draws on the fly: seeds, numbers, and what is refused."""

import time

import numpy as np
import pytest

from umc_cli.errors import SettingsError
from umc_cli.response.synthesis import DEFAULT_METHOD, METHODS
from umc_cli.response.synthesis.drawing import (
    draw_differences,
    draw_set,
    fit_method,
    library_responses_db,
    method_settings,
)
from umc_cli.response.synthesis_settings import LevelSettings
from umc_cli.response.synthetic_differences import SyntheticDifferences


def library_set(method: str, n: int, seed: int = 0) -> SyntheticDifferences:
    return draw_set(fit_method(method, library_responses_db()), LevelSettings(), n, seed, {"method": method})


def arrays(drawn: SyntheticDifferences) -> list[np.ndarray]:
    return [drawn.fr_difference_db, drawn.noise_floor_db, drawn.sensitivity_difference_db]


@pytest.mark.parametrize("method", METHODS)
def test_equal_seeds_give_equal_draws_and_others_do_not(method: str) -> None:
    first, again, other = (draw_differences(method, 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((50, 128), np.float32)
    assert np.abs(first - other).max(axis=1).min() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_larger_set_begins_with_the_smaller_one(method: str) -> None:
    small, large = (arrays(library_set(method, n)) for n in (3, 1_500))
    for few, many in zip(small, large, strict=True):
        np.testing.assert_array_equal(many[:3], few)
        assert len(np.unique(many, axis=0)) == 1_500


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_gives_another_set(method: str) -> None:
    for one, other in zip(arrays(library_set(method, 4)), arrays(library_set(method, 4, seed=1)), strict=True):
        assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_drawing_keeps_up_with_a_data_set(method: str) -> None:
    """A million in 10 s, here a tenth of it, with room for a busy machine."""
    draw_differences(method, 1, np.random.default_rng(0))
    started = time.process_time()
    draw_differences(method, 100_000, np.random.default_rng(0))
    assert time.process_time() - started < 1.5


def test_default_is_a_method() -> None:
    assert DEFAULT_METHOD in METHODS


def test_unknown_method_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"unknown method 'pcs' \(did you mean 'pca'\? known methods: piecewise"):
        draw_differences("pcs", 1, np.random.default_rng(0))


@pytest.mark.parametrize("n", [0, -3, 1_000_001])
def test_numbers_out_of_range_are_refused(n: int) -> None:
    with pytest.raises(SettingsError, match=f"cannot draw {n} differences"):
        draw_differences("piecewise", n, np.random.default_rng(0))


@pytest.mark.parametrize(("method", "n_devices"), [("pca", 2), ("mixture", 1), ("mixture", 0)])
def test_too_few_devices_are_refused(method: str, n_devices: int) -> None:
    with pytest.raises(SettingsError, match=f"learns from .* or more measured devices; there are {n_devices}"):
        fit_method(method, np.zeros((n_devices, 128)))


def test_piecewise_needs_no_device() -> None:
    assert fit_method("piecewise", np.zeros((0, 128))).draw(2, np.random.default_rng(0)).shape == (2, 128)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SettingsError, match=r"method piecewise: setting most: .*its settings: least_bands"):
        method_settings("piecewise", {"most": 3})
    assert method_settings("piecewise", {"most_db": "9"}).model_dump()["most_db"] == 9.0
