"""Networks that `torch.compile` makes faster while they are trained."""

from collections.abc import Iterable

from torch import nn


def compile_when_called(networks: Iterable[nn.Module]) -> None:
    """Have each network compiled when it is first called; a copy of it is not. Weights keep their names.

    Compilers run in processes of their own, even if there is one processor: of those that this process starts itself
    Ctrl-C would make an end, and the step, after which the training saves and stops, could not be done.
    """
    from torch._inductor import config  # here, as it takes two seconds

    config.compile_threads = max(2, config.compile_threads or 0)
    for network in networks:
        network.compile()
