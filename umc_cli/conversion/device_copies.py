"""Copies between the host and a GPU that go on beside its computing."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BATCHES_UNDER_WAY = 2
"""One is copied while the one before is computed."""

Array = NDArray[np.generic]


class DeviceCopies:
    """Takes batches to a device and results back; on the CPU both are handed through, elsewhere copied.

    To and from a GPU with CUDA each direction has a stream of its own, and buffers in pinned memory, which alone is
    copied beside the computing. A buffer is used again only when nothing reads or writes it any more.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            self._there, self._back = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]
        self._under_way: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        """Buffers of batches, oldest first, and when each is copied."""
        self._free: deque[Tensor] = deque()
        """Buffers for results; writer threads give them back."""

    def to_device(self, parts: Sequence[NDArray[np.float32]], size: int) -> Tensor:
        """Return a batch of `size` rows on the device: the parts, one behind the other, and zeros.

        What the current stream computes next waits until it is there. The parts are free when this returns.
        """
        shape = (size, *parts[0].shape[1:])
        if not self._on_gpu:
            return torch.from_numpy(_gathered(parts, np.empty(shape, np.float32))).to(self._device)
        buffer = None
        if len(self._under_way) == _BATCHES_UNDER_WAY:
            buffer, copied = self._under_way.popleft()
            copied.synchronize()
        pinned, buffer = _of_shape(shape, torch.float32, buffer)
        _gathered(parts, pinned.numpy())
        with torch.cuda.stream(self._there):
            copy = torch.empty(shape, dtype=pinned.dtype, device=self._device)
            copy.copy_(pinned, non_blocking=True)
        self._under_way.append((buffer, self._there.record_event(_event())))
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._there)
        copy.record_stream(computing)
        return copy

    def to_host(self, values: Tensor) -> AbstractContextManager[Array]:
        """Begin to copy a result [...] that the current stream computes.

        The returned context, which may be entered in another thread, waits until it has arrived. The array is valid
        inside it only.
        """
        if not self._on_gpu:
            return nullcontext(values.cpu().numpy())
        pinned, buffer = _of_shape(values.shape, values.dtype, self._free.pop() if self._free else None)
        self._back.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._back):
            pinned.copy_(values, non_blocking=True)
        values.record_stream(self._back)
        return self._arrived(pinned, buffer, self._back.record_event(_event()))

    @contextmanager
    def _arrived(self, pinned: Tensor, buffer: Tensor, copied: torch.cuda.Event) -> Iterator[Array]:
        copied.synchronize()
        yield pinned.numpy()
        self._free.append(buffer)


def _event() -> torch.cuda.Event:
    """Return an event whose waiters sleep: by default each would keep a processor busy."""
    return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]


def _gathered(parts: Sequence[NDArray[np.float32]], batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `batch`, with the parts in it and zeros behind them."""
    filled = sum(map(len, parts))
    np.concatenate(parts, out=batch[:filled])
    batch[filled:] = 0
    return batch


def _of_shape(shape: Sequence[int], dtype: torch.dtype, buffer: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return pinned memory of a shape, and the whole buffer it is of: `buffer` if that is large enough."""
    n_values = math.prod(shape)
    if buffer is None or buffer.numel() < n_values:
        buffer = torch.empty(n_values, dtype=dtype, pin_memory=True)
    return buffer[:n_values].view(*shape), buffer
