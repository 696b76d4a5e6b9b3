"""A converter that gives NaN or infinite levels writes no shard."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.samples import TARGET, Run
from umc_cli.conversion.converters import CONVERTERS, eq
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.streaming import _all_finite

Umc = Callable[..., Run]


class Spoilt(eq.Equalizer):
    """Puts one value into one place of what `eq` gives."""

    value = float("nan")

    def convert(self, begun: Tensor, target: str) -> Tensor:
        levels = super().convert(begun, target).clone()
        levels[-1, 40, 79] = self.value
        return levels


@pytest.mark.parametrize(
    ("value", "options", "fails"),
    [
        (float("nan"), (), True),
        (float("-inf"), (), True),
        (float("inf"), ("--dtype", "float32"), True),
        (float("nan"), ("--dtype", "float32"), True),
        (7e4, (), True),  # beyond the range of float16
        (7e4, ("--dtype", "float32"), False),
        (-6e4, (), False),
    ],
)
def test_levels_that_are_not_finite_are_not_written(
    workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch, value: float, options: tuple[str, ...], fails: bool
) -> None:
    def build(ingredients: Ingredients) -> Spoilt:
        spoilt = Spoilt(ingredients)
        spoilt.value = value
        return spoilt

    monkeypatch.setitem(CONVERTERS, "eq", replace(CONVERTERS["eq"], build=build))
    run = convert(*options)
    shards = list(workspace.glob("converted/*/*"))
    if not fails:
        assert (run.exit_code, len(shards)) == (0, 1)
        return
    assert run.exit_code == 2
    assert "converter eq" in run.stderr
    assert f"levels for {TARGET} that are not finite" in run.stderr
    assert "Hint:" in run.stderr
    assert "Traceback" not in run.stderr
    assert shards == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_bits_tell_what_numpy_tells(dtype: type) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(np.float16) if dtype is np.float16 else (bits.astype(np.uint32) << 16).view(np.float32)
    for value in values:
        assert _all_finite(np.array([0, value, -1], dtype)) == np.isfinite(value)
    assert _all_finite(np.empty((0, 80, 80), dtype))
    assert _all_finite(torch.zeros(2, 80, 80, dtype=torch.float16).numpy())
