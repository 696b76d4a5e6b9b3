"""A converter whose batches do not fit into the GPU's memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from tests.test_resume import leftovers, shards
from umc_cli.conversion.converters import CONVERTERS, eq
from umc_cli.conversion.converters.contract import Ingredients

Umc = Callable[..., Run]

TARGETS = (TARGET, "pixel3-back", "xperia1")
COMMAND = ("convert", "--source", SOURCE, "--targets", ",".join(TARGETS), "--converter", "eq", "--json")


class Narrow(eq.Equalizer):
    """As `eq`, but runs out of memory above a number of segments: when it begins, or for one target."""

    def __init__(self, ingredients: Ingredients, most: int, where: str) -> None:
        super().__init__(ingredients)
        self._most = most
        self._where = where
        self.sizes: list[int] = []
        """Of the batches that fitted."""

    def begin(self, log_mel: Tensor) -> Tensor:
        self._take(log_mel, "begin")
        return super().begin(log_mel)

    def convert(self, begun: Tensor, target: str) -> Tensor:
        self._take(begun, target)
        return super().convert(begun, target)

    def _take(self, segments: Tensor, where: str) -> None:
        if where == self._where:
            if len(segments) > self._most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            self.sizes.append(len(segments))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], list[Narrow]]:
    """Return a function that makes `eq` narrow, and returns a list that will hold the converter."""

    def replace_eq(most: int, where: str) -> list[Narrow]:
        built: list[Narrow] = []

        def build(ingredients: Ingredients) -> Narrow:
            built.append(Narrow(ingredients, most, where))
            return built[0]

        monkeypatch.setitem(CONVERTERS, "eq", replace(CONVERTERS["eq"], build=build))
        return built

    return replace_eq


@pytest.mark.parametrize("where", ["begin", TARGETS[1]])
@pytest.mark.parametrize(("most", "sizes"), [(16, {16, 10}), (5, {4, 2}), (1, {1})])
def test_batches_are_halved_until_they_fit_and_every_row_is_the_same(
    workspace: Path, umc: Umc, narrow: Callable[..., list[Narrow]], where: str, most: int, sizes: set[int]
) -> None:
    write_audio(workspace / f"data/{SOURCE}/a/long.wav", noise(46))
    assert umc(*COMMAND, "--output", "whole").json["n_segments"] == 58
    built = narrow(most, where)
    run = umc(*COMMAND)
    assert (run.exit_code, run.json["n_segments"]) == (0, 58), run.stderr
    assert shards(workspace / "converted") == shards(workspace / "whole")
    # 58 segments are batches of 32 and 26. What was too large once is not tried again.
    assert sum(built[0].sizes) == 58
    assert set(built[0].sizes) == sizes


@pytest.mark.parametrize("where", ["begin", TARGETS[1]])
def test_one_segment_that_does_not_fit_is_a_fault(
    workspace: Path, umc: Umc, narrow: Callable[..., list[Narrow]], where: str
) -> None:
    narrow(0, where)
    run = umc(*COMMAND)
    assert run.exit_code == 3
    assert "there is not enough memory to convert one segment" in run.stderr
    assert "--compute-device cpu" in run.stderr
    assert "Traceback" not in run.stderr
    assert not shards(workspace / "converted")
    assert not leftovers(workspace / "converted")
    narrow(1, where)
    assert umc(*COMMAND).exit_code == 0
