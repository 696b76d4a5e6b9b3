"""`umc train --compile`: the same training but for rounding, in the same files.

Where a test says nothing else, torch takes graphs out of the generator and computes them as they are ("eager"): to
translate them into C++ takes half a minute.
"""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conversion.training_data import TINY, Watcher, names_in, training_devices, training_segments
from umc_cli.conversion.converter_training.adversarial_settings import AdversarialSettings
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.errors import EnvironmentFault
from umc_cli.training.run import run_training
from umc_cli.training.schedule import ScheduleSettings

pytestmark = pytest.mark.xdist_group("engines")  # one worker alone loads torch's compiler

CPU = torch.device("cpu")
IN_PARTS = TINY.model_copy(update={"batch_size": 6, "micro_batch_size": 4, "identity_weight": 5.0})
"""Of two sizes."""
STEPS = 2


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of inputs of each graph that torch takes out of a generator."""
    from torch._dynamo.backends.registry import lookup_backend  # here, as it takes two seconds

    found: list[int] = []

    def backend(graph: torch.fx.GraphModule, examples: list[torch.Tensor]) -> Callable[..., object]:
        found.append(len(examples))
        return lookup_backend("eager")(graph, examples)

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return found


def training(is_compiled: bool, is_pair: bool = False, settings: AdversarialSettings = TINY) -> AdversarialTraining:
    n_devices = 2 if is_pair else 3
    segments, devices = training_segments(n_devices), training_devices(n_devices)
    return AdversarialTraining(settings, segments, devices, is_pair, CPU, is_compiled=is_compiled)


def losses(subject: AdversarialTraining, first: int = 0) -> list[dict[str, float]]:
    return [subject.step(index) for index in range(first, first + STEPS)]


def assert_close(found: list[dict[str, float]], wanted: list[dict[str, float]], tolerance: float = 1e-4) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance)


@pytest.mark.parametrize("is_pair", [False, True])
def test_losses_and_weights_are_those_of_plain_torch(graphs: list[int], is_pair: bool) -> None:
    plain, compiled = (training(is_compiled, is_pair, IN_PARTS) for is_compiled in (False, True))
    assert_close(losses(compiled), losses(plain))
    assert len(graphs) == 4  # there and back, where the input has a gradient, too; for parts of two sizes
    (wanted, _), (found, _) = plain.state(), compiled.state()
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, rtol=1e-3, atol=1e-4)
    assert compiled.validate() == pytest.approx(plain.validate(), rel=1e-3)
    assert len(graphs) == 4  # the average is not compiled


def test_either_goes_on_where_the_other_was_and_writes_the_same(graphs: list[int], tmp_path: Path) -> None:
    begun = {is_compiled: training(is_compiled) for is_compiled in (False, True)}
    stored = []
    for is_compiled, subject in begun.items():
        losses(subject)
        (path,) = subject.save_weights(tmp_path, "best" if is_compiled else "last", {"run_id": "0"})
        stored.append(load_generator(path).generator.state_dict())
    assert stored[0].keys() == stored[1].keys()
    for is_compiled in (False, True):
        goes_on = training(is_compiled)
        goes_on.load_state(*copy.deepcopy(begun[not is_compiled].state()))
        assert_close(losses(goes_on, STEPS), losses(copy.copy(begun[not is_compiled]), STEPS))
    assert graphs


@pytest.fixture
def a_weight_for_a_generator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It takes torch's own compiler a minute for the smallest generator."""

    def amplified(generator: Generator, normalised: Tensor, difference_db: Tensor) -> Tensor:
        weight: Tensor = generator.blocks[0].first[1].weight
        return normalised * (1 + weight.sum()).square()

    monkeypatch.setattr(Generator, "forward", amplified)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.vec_isa_ok", False)  # a compiler run less, to try vectors
    torch.compiler.reset()


@pytest.mark.usefixtures("a_weight_for_a_generator")
def test_without_a_compiler_the_first_step_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(EnvironmentFault, match=r"generator cannot be compiled here: .*--no-compile"):
        training(True).step(0)


@pytest.mark.usefixtures("a_weight_for_a_generator")
def test_what_is_translated_into_code_computes_the_same() -> None:
    found = []
    for is_compiled in (True, False):
        translator = training(is_compiled).networks.translator
        converted = translator(torch.ones(2, 8, 8), [0, 1], [1, 0])
        converted.sum().backward()
        (gradient,) = (weight.grad for weight in translator.parameters() if weight.grad is not None)
        found.append((converted, gradient))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("stops", "error"), [(True, KeyboardInterrupt), (False, EnvironmentFault)])
def test_ctrl_c_that_ends_the_compiler_ends_the_training(
    stops: bool, error: type[BaseException], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All processes of a terminal get it. It was a fault of the machine: no compiler."""

    def backend(*_: object) -> None:
        raise RuntimeError("g++ was ended")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.compiler.reset()
    progress = Watcher(stop_after=0 if stops else None)
    with pytest.raises(error):
        run_training(tmp_path, training(True), ScheduleSettings(epochs=1), {}, progress)
    assert "state.safetensors" not in names_in(tmp_path)
