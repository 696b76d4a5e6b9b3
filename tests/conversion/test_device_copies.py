"""Copies to a GPU and back, on streams that do everything as late as they may: what does not wait reads NaN.

What has run on a GPU is said in docs/data-flow.md.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.samples import noise, write_audio
from umc_cli.audio.files import read_header
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.device_copies import DeviceCopies
from umc_cli.conversion.shard_job import ShardJob, StreamSettings
from umc_cli.conversion.streaming import stream
from umc_cli.shards.plan import Piece, PlannedFile

CUDA = torch.device("cuda")


class LateStream:
    """Does its work only when somebody waits for it."""

    def __init__(self, *_: object) -> None:
        self._work: list[Callable[[], object]] = []
        self._done = 0

    def do(self, work: Callable[[], object]) -> None:
        self._work.append(work)

    def run(self, until: int) -> None:
        while self._done < until:
            self._done += 1
            self._work[self._done - 1]()

    def record_event(self, event: "LateEvent") -> "LateEvent":
        event.stream, event.place = self, len(self._work)
        return event

    def wait_stream(self, other: "LateStream") -> None:
        self.do(other.record_event(LateEvent()).synchronize)


@dataclass
class LateEvent:
    stream: LateStream = field(default_factory=LateStream)
    place: int = 0

    def synchronize(self) -> None:
        self.stream.run(self.place)


@dataclass
class Gpu:
    """What of torch.cuda the copies use, on the CPU."""

    computing: LateStream = field(default_factory=LateStream)
    current: list[LateStream] = field(default_factory=list)
    n_pinned: int = 0
    recorded: list[tuple[Tensor, LateStream]] = field(default_factory=list)
    """Tensors whose memory a second stream was said to use."""
    blocking: set[bool] = field(default_factory=set)
    """Of the events that were made."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    found, copy, empty = Gpu(), torch.Tensor.copy_, torch.empty
    found.current.append(found.computing)

    @contextmanager
    def use(stream: LateStream) -> Iterator[None]:
        found.current.append(stream)
        yield
        found.current.pop()

    def late_copy(self: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        if not non_blocking:
            return copy(self, source)
        found.current[-1].do(lambda: copy(self, source))
        return self

    def empty_here(*shape: Any, dtype: torch.dtype | None = None, pin_memory: bool = False, **_: object) -> Tensor:
        found.n_pinned += pin_memory
        return empty(*shape, dtype=dtype).fill_(float("nan"))

    def event(*, blocking: bool) -> LateEvent:
        found.blocking.add(blocking)
        return LateEvent()

    monkeypatch.setattr(torch.cuda, "Stream", LateStream)
    monkeypatch.setattr(torch.cuda, "Event", event)
    monkeypatch.setattr(torch.cuda, "stream", use)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: found.current[-1])
    monkeypatch.setattr(torch.Tensor, "copy_", late_copy)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: found.recorded.append((self, stream)))
    monkeypatch.setattr(torch, "empty", empty_here)
    return found


def double(gpu: Gpu, values: Tensor) -> Tensor:
    """Compute on the late GPU."""
    result = torch.full(values.shape, float("nan"))
    gpu.computing.do(lambda: torch.mul(values, 2, out=result))
    return result


@pytest.mark.parametrize("n_waiting", [0, 1, 5])
def test_nothing_is_read_or_overwritten_before_its_copy_is_done(gpu: Gpu, n_waiting: int) -> None:
    copies = DeviceCopies(CUDA)
    random = np.random.default_rng(0)
    batches = [random.standard_normal((size, 3), np.float32) for size in (8, 8, 8, 8, 3, 8, 8, 16, 8, 8, 8, 8)]
    waiting: deque[tuple[np.ndarray, Any]] = deque()
    for batch in [*batches, *[None] * n_waiting]:
        if batch is not None:
            there = copies.to_device(np.split(batch.copy(), [1, 3]), len(batch))
            assert there.shape == batch.shape
            waiting.append((batch, copies.to_host(double(gpu, there))))
        if batch is None or len(waiting) > n_waiting:
            sent, arriving = waiting.popleft()
            with arriving as array:
                np.testing.assert_array_equal(array, 2 * sent)
    assert not waiting
    assert gpu.blocking == {True}  # whoever waits sleeps
    used = [stream for _, stream in gpu.recorded]
    assert used[::2] == [gpu.computing] * len(batches)
    assert len(set(used[1::2])) == 1
    assert used[1] is not gpu.computing


def test_buffers_are_used_again(gpu: Gpu) -> None:
    copies = DeviceCopies(CUDA)
    for _ in range(20):
        there = copies.to_device([np.ones((8, 3), np.float32)], 8)
        first, second = (copies.to_host(double(gpu, there)) for _ in range(2))
        with first, second:
            pass
    assert gpu.n_pinned == 2 + 2


class Louder:
    """Adds 1 dB for a target that is called by that name, else nothing."""

    def __init__(self, most: int = 99) -> None:
        self._most = most
        self.sizes: list[int] = []

    def begin(self, log_mel: Tensor) -> Tensor:
        if len(log_mel) > self._most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        self.sizes.append(len(log_mel))
        return log_mel

    def convert(self, begun: Tensor, target: str) -> Tensor:
        return begun + (target == "louder")

    def describe(self) -> dict[str, str]:
        return {}


class Counts:
    def advance(self, target: str, n_segments: int) -> None: ...


def convert_on(
    torch_device: torch.device, root: Path, output: Path, louder: Louder | None = None
) -> dict[str, np.ndarray]:
    """Stream twelve segments of three recordings in batches of 5; return the levels of either target."""
    pieces = []
    for index in range(3):
        path = write_audio(root / f"{index}.wav", noise(4, seed=index))
        header = read_header(path)
        file = PlannedFile(path.name, "a", str(index), "", 0, header.sample_rate_hz, 1, header.frames, 4, {})
        pieces.append(Piece(file, 0, 4, 4 * index))
    attributes = {"run_id": "0", "target_id": "0", "shard_index": 0, "source": "x", "target": "x", "description": "{}"}
    paths = {target: output / f"{target}.h5" for target in ("as it is", "louder")}
    job = ShardJob(pieces, paths, dict.fromkeys(paths, attributes), [], "louder")
    settings = StreamSettings(batch_size=5, workers=2, dtype="float32", reader_timeout_s=60)
    stream([job], root, SegmentSettings(), settings, louder or Louder(), torch_device, Counts())
    found = {}
    for target, path in paths.items():
        with h5py.File(path) as shard:
            found[target] = shard["log_mel"][:]
    return found


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_the_cpu_gives(tmp_path: Path) -> None:
    here = convert_on(torch.device("cpu"), tmp_path, tmp_path / "cpu")
    there = convert_on(CUDA, tmp_path, tmp_path / "gpu")
    for target, levels in here.items():
        assert levels.shape == (12, 80, 80)
        np.testing.assert_allclose(there[target], levels, rtol=0, atol=1e-2)


def test_the_stream_takes_the_same_way_on_a_gpu(gpu: Gpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The copies alone are late here: torch computes on the CPU at once, so each must be done when it is begun."""
    monkeypatch.setattr(LateStream, "do", lambda _, work: work())
    there = convert_on(CUDA, tmp_path, tmp_path / "gpu")
    monkeypatch.undo()
    here = convert_on(torch.device("cpu"), tmp_path, tmp_path / "cpu")
    for target, levels in here.items():
        assert levels.shape == (12, 80, 80)
        np.testing.assert_allclose(there[target], levels, rtol=0, atol=1e-4)
    np.testing.assert_allclose(here["louder"], here["as it is"] + 1, rtol=0, atol=1e-4)
    assert gpu.n_pinned > 0


@pytest.mark.parametrize(("most", "sizes"), [(9, [5, 5, 5]), (4, [3, 3, 3, 3, 3]), (1, [1] * 12)])
def test_batches_on_a_gpu_are_of_one_size(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(LateStream, "do", lambda _, work: work())
    louder = Louder(most)
    there = convert_on(CUDA, tmp_path, tmp_path / "gpu", louder)
    assert louder.sizes == sizes  # of twelve segments, in batches of at most 5
    monkeypatch.undo()
    on_cpu = Louder()
    here = convert_on(torch.device("cpu"), tmp_path, tmp_path / "cpu", on_cpu)
    assert on_cpu.sizes == [5, 5, 2]
    for target, levels in here.items():
        np.testing.assert_allclose(there[target], levels, rtol=0, atol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_parts_become_a_batch_with_zeros_behind_them(gpu: Gpu, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(LateStream, "do", lambda _, work: work())
    copies = DeviceCopies(torch.device(device))
    parts = [np.full((rows, 2), rows, np.float32) for rows in (3, 1)]
    expected = [[3, 3], [3, 3], [3, 3], [1, 1], [0, 0], [0, 0]]
    for size in (4, 6, 4):
        assert copies.to_device(parts, size).tolist() == expected[:size]


def test_on_the_cpu_results_are_handed_through() -> None:
    values = torch.arange(6, dtype=torch.float32)
    with DeviceCopies(torch.device("cpu")).to_host(values) as array:
        assert np.shares_memory(array, values.numpy())


def test_a_device_without_streams_gets_plain_copies() -> None:
    copies = DeviceCopies(torch.device("meta"))  # in the place of one that is not here
    assert copies.to_device([np.zeros((2, 3), np.float32)], 2).device.type == "meta"
    with copies.to_host(torch.ones(2, dtype=torch.float16)) as values:
        assert values.tolist() == [1, 1]
