"""Training in several processes, as `torchrun` starts them.

Every process (rank) holds the same networks, optimisers and sampler, and computes the gradients of its share of each
batch. The sum of these gradients, the same on all ranks, is that of one process with the whole batch, so the ranks stay
equal without ever sending weights. The first rank alone writes.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor

from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.runtime import compute_device, cpu_count, machine_fault, processor_count
from umc_cli.training.torchrun import n_processes, number_of

_LONGEST_WAIT = timedelta(hours=2)
"""For other ranks: the first one may read many recordings, while the others wait."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training. With one process all of this does nothing."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Tell whether this process writes, validates and talks."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return which of `n` rows this rank computes; shares differ by at most one row."""
        return slice(n * self.rank // self.count, n * (self.rank + 1) // self.count)

    @contextmanager
    def first_then_others(self) -> Iterator[None]:
        """Run the block on the first rank and, when it is through, on the others, which find what it has written."""
        if not self.is_first:
            self.sum(torch.zeros(1))
        yield
        if self.is_first:
            self.sum(torch.zeros(1))

    def sum(self, values: Tensor) -> Tensor:
        """Add the values of all ranks, in place, and return them.

        Raises:
            EnvironmentFault: another rank has ended.
        """
        if self.count > 1:
            try:
                # NCCL takes tensors of the GPU only.
                on_gpu = torch.distributed.get_backend() == "nccl"
                sent = values.cuda() if on_gpu else values
                torch.distributed.all_reduce(sent)
                if sent is not values:
                    values.copy_(sent)
            except RuntimeError as error:
                if fault := machine_fault(error, "lower --batch-size"):
                    raise fault from error
                raise EnvironmentFault(
                    "another process of this training has ended",
                    "its message is above; fix the cause, then resume with --resume",
                ) from error
        return values

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set on a rank."""
        return flag if self.count == 1 else bool(self.sum(torch.tensor([float(flag)])).item())

    def whole(self, own: Tensor, n: int) -> Tensor:
        """Return the rows of all ranks in their order. Shape: [share(n), ...] -> [n, ...]."""
        if self.count == 1:
            return own
        rows = own.new_zeros((n, *own.shape[1:]))
        rows[self.share(n)] = own
        return self.sum(rows)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add the gradients of all ranks. A parameter without a gradient on any rank stays without one."""
        if self.count == 1:
            return
        weights = list(parameters)
        counts = self.sum(torch.tensor([float(weight.grad is not None) for weight in weights])).tolist()
        used = [weight for weight, count in zip(weights, counts, strict=True) if count]
        if not used:
            return
        total = self.sum(
            torch.cat([(torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten() for weight in used])
        )
        sizes = [weight.numel() for weight in used]
        for weight, grad in zip(used, total.split(sizes), strict=True):  # type: ignore[no-untyped-call]
            weight.grad = grad.view_as(weight)


ONE_PROCESS = Ranks()


def reader_threads() -> int:
    """Return the threads that recordings are read with: one per processor.

    The first process reads while the others wait, and the single thread that torchrun gives each is for arithmetic.
    """
    is_torchruns = n_processes() > 1 and os.environ.get("OMP_NUM_THREADS") == "1"
    return processor_count() if is_torchruns else cpu_count()


def _local_rank() -> int:
    if "LOCAL_RANK" not in os.environ:
        raise SettingsError(
            "LOCAL_RANK is not set, so this process does not know which GPU of its machine it should take",
            'start the training with torchrun, or set it: LOCAL_RANK="$SLURM_LOCALID" under srun, '
            'LOCAL_RANK="$OMPI_COMM_WORLD_LOCAL_RANK" under mpirun',
        )
    return number_of("LOCAL_RANK", 0)


@contextmanager
def joined(device_name: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other processes if torchrun started this one; yield its place and the device it computes on.

    `device_name`: see `compute_device`; on CUDA each rank of a machine takes a device of its own.

    Raises:
        SettingsError: no such device here, or one device for several ranks.
        EnvironmentFault: the other processes cannot be reached.
    """
    count = n_processes()
    device = compute_device(device_name)
    if count == 1:
        yield ONE_PROCESS, device
        return
    if device.type == "cuda":
        if device.index is not None:
            raise SettingsError(
                f"--compute-device {device_name} is one device for {count} processes",
                "use --compute-device cuda: each process takes the GPU of its number",
            )
        device = compute_device(f"cuda:{_local_rank()}")
        torch.cuda.set_device(device)
    try:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFault(
            f"the {count} processes of this training cannot reach each other: {error}", "start them with torchrun"
        ) from error
    try:
        yield Ranks(torch.distributed.get_rank(), count), device
    finally:
        torch.distributed.destroy_process_group()
