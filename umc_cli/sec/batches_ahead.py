"""The next batches of a training, made while its network works on this one."""

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from umc_cli.runtime import processor_count
from umc_cli.sec.dataset import TrainingBatch, TrainingBatches

_MOST_THREADS_FOR_GPU = 4
"""What is left to processors (random numbers, reading, features of one's own) may take longer than a GPU's step."""


class BatchesAhead:
    """Makes batches in threads of its own: on a CPU one, beside the training; for a GPU several.

    With CUDA, conversions and spectrograms are computed on a stream of their own, so that they do not queue after the
    step, and the step waits for nothing but its batch. Which thread makes a batch changes nothing in it.
    """

    def __init__(self, torch_device: torch.device) -> None:
        """All that the batches are computed with must have been sent to the device before."""
        self._device = torch_device
        self._count = threads_for(torch_device)
        self._threads = ThreadPoolExecutor(self._count, "umc-batches", torch.set_num_threads, (1,))
        self._coming: dict[int, Future[tuple[TrainingBatch, torch.cuda.Event | None]]] = {}
        self._stream: torch.cuda.Stream | None = None
        if torch_device.type == "cuda":
            self._stream = torch.cuda.Stream(torch_device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(torch_device))

    def get(self, batches: TrainingBatches, index: int) -> TrainingBatch:
        """Return batch `index`, ready for what the current stream computes next, and have those after it made."""
        wanted = range(index, index + 1 + self._count)
        self._coming = {
            number: self._coming.get(number) or self._threads.submit(self._make, batches, number) for number in wanted
        }
        batch, made = self._coming.pop(index).result()
        if made is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(made)
            for values in (batch.log_mel, batch.targets):
                values.record_stream(computing)
        return batch

    def forget(self) -> None:
        """Wait for what is being made, and throw it away: the batches are about to change."""
        for coming in self._coming.values():
            coming.result()
        self._coming = {}

    def _make(self, batches: TrainingBatches, index: int) -> tuple[TrainingBatch, torch.cuda.Event | None]:
        if self._stream is None:
            return batches.get(index), None
        with torch.cuda.stream(self._stream):
            return batches.get(index), self._stream.record_event()


def threads_for(torch_device: torch.device) -> int:
    """Return how many threads make batches for trainings on a device."""
    return min(_MOST_THREADS_FOR_GPU, processor_count()) if torch_device.type == "cuda" else 1
