"""A target for each segment in one call: what calls for every target give, without coming back from the device."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conversion.devices import device
from tests.conversion.generators import log_mel_batch, write_small_checkpoint
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import ConvertsToEach, EngineSettings, Ingredients
from umc_cli.conversion.random_targets import convert_to_random_targets
from umc_cli.conversion.refiner_checkpoint import save_refiner
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.conversion.transport import Transport

META = torch.device("meta")
"""Tensors that hold no values: reading one, or bringing it back to the CPU, raises."""
TARGETS = ("a", "b", "c")
WANTED = ("a", "a", "c", "b", "b", "b", "a")
IN_ONE_CALL = ("refiner_transport", "refiner_quantile", "refiner", "transport", "quantile", "film_gan")


def write_refiner(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    refiner = Refiner(RefinerSettings(widths=(4, 6, 8, 8)))
    torch.nn.init.normal_(refiner.last.weight, std=0.1)
    save_refiner(path, refiner)
    return path


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    """Return devices, tables, a map for one target, and a network of its own for another."""
    folder = tmp_path_factory.mktemp("weights")
    numbers = np.random.default_rng(0)
    levels = np.linspace(-90, -10, 20, dtype=np.float32)[:, None] + np.zeros(80, np.float32)
    parts = {"origin": 6400, "components": (2, 6400), "lowest": 2, "highest": 2, "matrix": (2, 2), "shift": 6400}
    arrays: dict[str, Any] = {
        name: numbers.normal(0, 0.05, shape).astype(np.float32) for name, shape in parts.items()
    } | {"lowest": np.full(2, -50, np.float32), "highest": np.full(2, 50, np.float32)}
    names = ("source", *TARGETS)
    return Ingredients(
        source="source",
        targets=TARGETS,
        devices={
            name: device(name, np.linspace(-n, n, 128).tolist(), -80.0 + n, -20.0 + n) for n, name in enumerate(names)
        },
        torch_device=torch.device("cpu"),
        level_quantiles={name: levels + n for n, name in enumerate(names)},
        transports={"b": Transport(**arrays, strength=1.0)},
        checkpoint=write_small_checkpoint(folder / "generator.safetensors"),
        refiner=write_refiner(folder / "refiner.safetensors", 0),
        adapted={"c": write_refiner(folder / "adapted.safetensors", 1)},
        engine=EngineSettings(engine="torch"),
    )


@pytest.mark.parametrize("name", IN_ONE_CALL)
def test_each_segment_gets_its_own_target(name: str, given: Ingredients) -> None:
    converter = CONVERTERS[name].build(given)
    assert isinstance(converter, ConvertsToEach)
    log_mel = log_mel_batch(len(WANTED))
    converted = converter.convert_to_each(converter.begin(log_mel), WANTED)
    alone = [converter.convert(converter.begin(log_mel[row : row + 1]), target) for row, target in enumerate(WANTED)]
    assert torch.allclose(converted, torch.cat(alone), atol=1e-3)
    other = converter.convert(converter.begin(log_mel), "b")  # targets differ by more than that
    assert all((other[row] - converted[row]).abs().max() > 0.1 for row, name in enumerate(WANTED) if name != "b")


@pytest.mark.parametrize("name", [*IN_ONE_CALL, "eq", "eq_noise"])
def test_nothing_comes_back_from_the_device(name: str, given: Ingredients) -> None:
    """Rows were chosen by masks, one for every target, and results came back to the CPU."""
    converter = CONVERTERS[name].build(replace(given, torch_device=META, engine=given.engine))
    converters = dict.fromkeys(TARGETS, converter)
    log_mel = torch.zeros(9, 80, 80, device=META)
    converted = convert_to_random_targets(log_mel, converters, torch.Generator().manual_seed(0))
    assert (converted.device, converted.shape, converted.dtype) == (META, log_mel.shape, torch.float32)


class Counted:
    """A converter that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def begin(self, log_mel: Tensor) -> Tensor:
        return log_mel

    def convert(self, begun: Tensor, target: str) -> Tensor:
        self.calls.append(target)
        return begun

    def convert_to_each(self, begun: Tensor, targets: Sequence[str]) -> Tensor:
        self.calls.append([*targets])
        return begun

    def describe(self) -> dict[str, str]:
        return {}


def test_one_call_on_a_gpu_and_one_for_every_target_elsewhere() -> None:
    """On a CPU results are to keep their last bit, which may depend on the batch; networks of pairs are several."""
    many, few = torch.zeros(40, 80, 80, device=META), torch.zeros(40, 80, 80)
    for log_mel, n_calls in ((many, 1), (few, 3)):
        one = Counted()
        convert_to_random_targets(log_mel, dict.fromkeys(TARGETS, one), torch.Generator().manual_seed(0))
        assert len(one.calls) == n_calls
        assert sorted({*np.hstack(one.calls).tolist()}) == [*TARGETS]
    several = {target: Counted() for target in TARGETS}
    convert_to_random_targets(many, several, torch.Generator().manual_seed(0))
    assert [each.calls for each in several.values()] == [["a"], ["b"], ["c"]]
