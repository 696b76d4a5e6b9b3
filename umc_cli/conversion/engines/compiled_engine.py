"""`torch-compile`: the engine `torch` with its networks compiled, which joins norms, activations and padding.

Has never run on a GPU.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch._dynamo import maybe_mark_dynamic
from torch.utils._pytree import tree_leaves

from umc_cli.conversion.engines.torch_engine import TorchEngine, TorchRefinerEngine, drop_idle_biases
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.precision import Precision
from umc_cli.runtime import explain_compiler_faults


class CompiledEngine(TorchEngine):
    """Compiles stem and trunk at the first batch, for batches of any size."""

    def __init__(self, generator: Generator, precision: Precision, device: torch.device, threads: int) -> None:
        super().__init__(generator, precision, device, threads)
        drop_idle_biases(self._generator)
        self._stem, self._trunk = compiled(self._stem), compiled(self._trunk)


class CompiledRefinerEngine(TorchRefinerEngine):
    """The refiner, in the same manner."""

    def __init__(self, refiner: Refiner, precision: Precision, device: torch.device, threads: int) -> None:
        super().__init__(refiner, precision, device, threads)
        self._network = compiled(self._network)


ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")


def compiled(call: Callable[ParametersT, ResultT]) -> Callable[ParametersT, ResultT]:
    """Return a call that computes the same, compiled when it is first called.

    Raises (when called):
        EnvironmentFault: it cannot be compiled here.
    """
    fast = torch.compile(call, fullgraph=True)

    def compiled_call(*args: ParametersT.args, **kwargs: ParametersT.kwargs) -> ResultT:
        for tensor in tree_leaves(args):
            maybe_mark_dynamic(tensor, 0)
        with explain_compiler_faults("engine 'torch-compile' cannot compile the network here", "use --engine torch"):
            return fast(*args, **kwargs)

    return compiled_call
