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
from torch import nn

from tests.conversion.training_data import TINY, training_devices, training_segments
from umc_cli.conversion.converter_training.adversarial_settings import AdversarialSettings
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.errors import EnvironmentFault
from umc_cli.training.compiling import compile_when_called

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


def test_without_a_compiler_the_first_step_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's own compiler, which finds none."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    torch.compiler.reset()
    with pytest.raises(EnvironmentFault, match=r"generator cannot be compiled here: .*--no-compile"):
        training(True).step(0)


def test_what_is_translated_into_code_computes_the_same() -> None:
    """By torch's own compiler: the generator's kinds of layers. The smallest generator takes it a minute."""
    torch.compiler.reset()
    torch.manual_seed(0)
    plain = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2), nn.ReLU())
    compiled = copy.deepcopy(plain)
    compile_when_called([compiled])
    x = torch.randn(2, 1, 8, 8)
    for network in (plain, compiled):
        network(x).square().sum().backward()  # type: ignore[no-untyped-call]
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert compiled[1].weight.grad is not None
    torch.testing.assert_close(compiled(x), plain(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled[1].weight.grad, plain[1].weight.grad, rtol=1e-4, atol=1e-5)
