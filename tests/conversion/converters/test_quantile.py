from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversion.devices import device, ingredients
from umc_cli.conversion.converters.quantile import QuantileMapper


def mapper(source: np.ndarray, **targets: np.ndarray) -> QuantileMapper:
    """Return a mapper of tables [n_quantiles, 80]."""
    given = ingredients(device("source"), *(device(name) for name in targets))
    tables = {name: table.astype(np.float32) for name, table in {"source": source, **targets}.items()}
    return QuantileMapper(replace(given, devices={}, level_quantiles=tables))


def spread(levels: np.ndarray) -> np.ndarray:
    return np.tile(levels[:, None], (1, 80))


def convert(converter: QuantileMapper, log_mel: torch.Tensor, target: str = "target") -> torch.Tensor:
    return converter.convert(converter.begin(log_mel), target)


def test_the_same_distribution_changes_nothing() -> None:
    table = spread(np.linspace(-90, -10, 20))
    log_mel = torch.rand(3, 80, 80) * 120 - 99
    torch.testing.assert_close(convert(mapper(table, target=table), log_mel), log_mel, atol=1e-3, rtol=0)


def test_quantiles_go_to_quantiles_with_straight_lines_between() -> None:
    converter = mapper(spread(np.array([-80.0, -60.0, -20.0])), target=spread(np.array([-70.0, -65.0, -5.0])))
    levels = torch.tensor([-80.0, -70.0, -60.0, -40.0, -20.0])
    expected = torch.tensor([-70.0, -67.5, -65.0, -35.0, -5.0])
    converted = convert(converter, levels.repeat(1, 80, 16))
    torch.testing.assert_close(converted, expected.repeat(1, 80, 16))


def test_levels_beyond_the_ends_are_shifted() -> None:
    converter = mapper(spread(np.array([-80.0, -20.0])), target=spread(np.array([-60.0, -30.0])))
    converted = convert(converter, torch.tensor([-85.0, -12.0]).repeat(1, 80, 40))
    torch.testing.assert_close(converted, torch.tensor([-65.0, -22.0]).repeat(1, 80, 40))


def test_each_band_and_target_has_its_own_map() -> None:
    source = spread(np.linspace(-90, -10, 20))
    shift = np.arange(80)[None, :] / 10
    converter = mapper(source, up=source + shift, down=source - shift)
    log_mel = torch.rand(2, 80, 80) * 70 - 80
    begun = converter.begin(log_mel)
    expected = torch.from_numpy(shift.T.astype(np.float32))
    torch.testing.assert_close(converter.convert(begun, "up"), log_mel + expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        converter.convert(begun, "down"), (log_mel - expected).clamp_min(-100), atol=1e-3, rtol=0
    )


def test_equal_quantiles_of_digital_silence_are_no_division_by_zero() -> None:
    source = spread(np.array([-100.0, -100.0, -100.0, -40.0]))
    target = spread(np.array([-90.0, -85.0, -80.0, -30.0]))
    converted = convert(mapper(source, target=target), torch.tensor([-100.0, -70.0]).repeat(1, 80, 40))
    assert torch.isfinite(converted).all()
    assert converted[0, 0, 1] == -55.0


@given(seed=st.integers(0, 1000), n_quantiles=st.integers(2, 30))
@settings(deadline=None, max_examples=30)
def test_it_agrees_with_numpy_interp_and_keeps_order(seed: int, n_quantiles: int) -> None:
    random = np.random.default_rng(seed)
    source, target = (np.sort(random.uniform(-90, -5, (n_quantiles, 80)), axis=0) for _ in range(2))
    log_mel = random.uniform(-95, 5, (2, 80, 80)).astype(np.float32)
    converted = convert(mapper(source, target=target), torch.from_numpy(log_mel)).numpy()
    for band in (0, 40, 79):
        level = log_mel[:, band]
        expected = np.interp(level, source[:, band], target[:, band])
        expected += level - np.clip(level, source[0, band], source[-1, band])
        np.testing.assert_allclose(converted[:, band], np.maximum(expected, -100), atol=2e-2)
        order = np.argsort(level.ravel())
        assert (np.diff(converted[:, band].ravel()[order]) > -1e-3).all()
