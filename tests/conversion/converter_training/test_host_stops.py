"""A training step on a GPU waits for it once, to read its losses; no GPU is needed to count.

Tensors pretend to be on a GPU (fake tensors have a shape and a device, and no values). What makes the host wait is seen
where torch dispatches it: a copy of unpinned memory, and a value that is read. To load what torch needs for this takes
three seconds.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conversion.training_data import TINY, training_devices, training_segments
from umc_cli.conversion.converter_training.adversarial_step import AdversarialBatch, training_step
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining, _parts
from umc_cli.conversion.converter_training.pretraining import RefinerPretraining, _batch, pretraining_step
from umc_cli.conversion.converter_training.pretraining_settings import PretrainingSettings
from umc_cli.conversion.converter_training.pretraining_world import EITHER_HALF, TrainingWorld
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.training.row_numbers import row_numbers

GPU = torch.device("cuda")


class Stops(TorchDispatchMode):
    """Counts what makes the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._pinned: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        aten = torch.ops.aten
        if function is aten._pin_memory.default:
            self._pinned.append(args[0])
            return args[0]
        if function is aten._local_scalar_dense.default:
            self.found["values read"] += args[0].device.type == "cuda"
            return 1.0
        if function is aten._to_copy.default and torch.device(given.get("device") or args[0].device) != args[0].device:
            is_pinned = any(args[0] is pinned for pinned in self._pinned)
            self.found["copies"] += not (is_pinned and given.get("non_blocking"))
        return function(*args, **given)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks can be moved to a GPU that is not there."""

    def to(self: nn.Module, device: torch.device | None = None, **_: object) -> nn.Module:
        for module in self.modules():
            for name, value in [*module._parameters.items(), *module._buffers.items()]:
                if value is not None and device is not None:
                    moved = value.detach().to(device)
                    is_weight = name in module._parameters
                    setattr(module, name, nn.Parameter(moved, value.requires_grad) if is_weight else moved)
        return self

    monkeypatch.setattr(nn.Module, "to", to)  # torch's own does not take fake tensors


def pretend_backward(weights: list[nn.Parameter], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give weights gradients; the real function asks for the GPU."""

    def backward(_: Tensor) -> None:
        for weight in weights:
            weight.grad = torch.zeros_like(weight)

    monkeypatch.setattr(Tensor, "backward", backward)


@pytest.fixture
def stops(pretended: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Return a function that does a step on a GPU that is not there, and counts."""

    def count(own: list[int], other: list[int], is_pair: bool, **settings: Any) -> Counter[str]:
        chosen = TINY.model_copy(update={"batch_size": len(own), **settings})
        n_devices = 2 if is_pair else 3
        segments, devices = training_segments(n_devices), training_devices(n_devices)
        with FakeTensorMode(allow_non_fake_inputs=True):
            subject = AdversarialTraining(chosen, segments, devices, is_pair, GPU)
            networks = subject.networks
            pretend_backward([*networks.translator.parameters(), *networks.discriminators.parameters()], monkeypatch)
            batch = AdversarialBatch(torch.zeros(len(own), 80, 80, device=GPU), own, other)
            with Stops() as found:
                losses = training_step(
                    networks, batch, _parts(chosen), subject._buffers, subject._random, subject._step_settings, 0
                )
        assert found.found["values read"] == len(losses)  # all at once
        return found.found

    return count


@pytest.mark.filterwarnings("ignore:Accessing the data pointer")  # of a deep copy
def test_a_step_stops_the_host_only_to_read_its_losses(stops: Callable[..., Counter[str]]) -> None:
    """22 copies of row numbers, each of which waited for all that was computed before, in the step of `paper`."""
    own, other = [0, 1, 2, 0, 1, 2, 0, 1], [1, 2, 0, 1, 2, 0, 1, 2]
    assert stops(own, other, is_pair=False)["copies"] == 0
    assert stops(own, other, is_pair=False, micro_batch_size=4, identity_weight=5.0)["copies"] == 0
    assert stops([0, 1, 0, 1], [1, 0, 1, 0], is_pair=True)["copies"] == 0


@pytest.mark.usefixtures("pretended")
def test_a_step_of_pretraining_does_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loss weights and row numbers were copied, and its losses read one by one."""
    n_devices, n_segments, size = 3, 5, 4
    world = TrainingWorld(
        log_mel=torch.zeros(n_devices, n_segments, 80, 80, dtype=torch.float16),
        half=torch.zeros(n_segments, dtype=torch.int64),
        learned_from=torch.full((1,), EITHER_HALF),
        level_db=torch.zeros(1, n_devices, 80, 1),
        floor_db=torch.zeros(1, n_devices, 80, 1),
        quantiles_db=torch.zeros(1, n_devices, 80, 20),
    )
    settings = PretrainingSettings(
        refiner=RefinerSettings(widths=(4, 6, 8, 8)), batch_size=size, texture_weight=1.0, objective="share"
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        training = RefinerPretraining(settings, _NoWorlds(), world, torch_device=GPU)
        pretend_backward([*training._refiner.parameters()], monkeypatch)
        chosen = torch.zeros(size, dtype=torch.int64)
        with Stops() as found:
            batch = _batch(world.on(GPU), chosen, chosen, chosen, torch.zeros(3, size, dtype=torch.int64))
            moved = found.found.pop("copies")  # the world's segments, levels, floors and tables, once each
            losses = pretraining_step(training._refiner, training._optimiser, batch, settings, 0)
        averaged = training._averaged()
    assert batch.source.device.type == "cuda"
    assert moved == 4
    assert found.found["copies"] == 0
    assert found.found["values read"] == len(losses)  # all at once
    assert {tensor.device.type for tensor in averaged.state_dict().values()} == {"cuda"}


class _NoWorlds:
    def get(self, number: int) -> TrainingWorld:
        raise AssertionError(number)


def test_a_list_that_chooses_rows_is_what_stops_it() -> None:
    with FakeTensorMode(), Stops() as found:
        values = torch.zeros(4, device=GPU)
        _ = values[row_numbers([2, 0], GPU)]
        assert found.found["copies"] == 0
        _ = values[[2, 0]]
    assert found.found["copies"] == 1
