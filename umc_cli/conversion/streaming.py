"""Recordings in, shards out: readers, log-mel, converter and writer joined by bounded queues.

    reader threads: decode, resample, cut, log-mel -> [queue] -> converter, per target -> [queues] -> writer threads

With a GPU the readers hand out waveforms and the log-mel is computed there. All queues are bounded, so memory does not
depend on the size of the data set. Pieces are consumed in the order of the plan and a batch never spans two shards, so
neither the number of readers nor an interruption changes a row.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.manifest import FailedInput
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments_within
from umc_cli.conversion.converters.contract import Converter
from umc_cli.conversion.device_copies import DeviceCopies
from umc_cli.conversion.shard_job import Progress, ShardJob, StreamSettings
from umc_cli.errors import EnvironmentFault, InputError, SettingsError
from umc_cli.runtime import is_out_of_memory
from umc_cli.shards.plan import Piece
from umc_cli.shards.schema import Dtype
from umc_cli.shards.writer import ShardRows, write_shard

_BATCHES_AHEAD = 16
"""Waveform batches that readers may be ahead of the converter."""
_RESULTS_AHEAD = 64
"""Converted batches (one target each) that may wait for the writers."""
_N_WRITERS = 2
"""HDF5 lets one thread in at a time, but checksums and files of one shard go on beside it."""

_Batch = Sequence[NDArray[np.float32]]
"""Segments as they were read, [n, ...] each: they become one array where the device takes them."""

_TORCH_DTYPES: dict[Dtype, torch.dtype] = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class _PieceRead:
    piece: Piece
    segments: NDArray[np.float32]  # [n, 80, 80] log-mel, or [n, 20480] waveforms for a GPU
    start_samples: NDArray[np.int64]  # [n]
    failed: FailedInput | None = None


def stream(
    jobs: Iterable[ShardJob],
    root: Path,
    segment_settings: SegmentSettings,
    settings: StreamSettings,
    converter: Converter,
    torch_device: torch.device,
    progress: Progress,
    turn: AbstractContextManager[object] | None = None,
) -> None:
    """Convert all segments of `jobs` and write their shards. `root`: what relative paths of the plan start from.

    Jobs are taken when their recordings are about to be read, so that any number of them takes no memory.

    `turn`: held while a shard is converted, not while its first recordings are read or its rows are written: with a
    lock, calls in several threads share a converter and a device without waiting for each other's files.

    A recording that cannot be read is listed in its shard and the others are converted.

    Raises:
        EnvironmentFault: a shard cannot be written, or memory does not hold one segment.
        SettingsError: the converter gave levels that are not finite; their shard is not written.
    """
    on_gpu = torch_device.type == "cuda"
    copies = DeviceCopies(torch_device)
    with (
        _Reader(root, segment_settings, settings, with_log_mel=not on_gpu) as reader,
        _Writers(copies) as writers,
    ):
        fitting = _Fitting(converter, settings, copies, writers, progress, with_log_mel=on_gpu)
        jobs, jobs_ahead = tee(jobs)
        pieces = reader.read(piece for job in jobs_ahead for piece in job.pieces)
        for job in jobs:
            rows = ShardRows(extra={name: [] for name in job.extra_columns})
            writers.begin(job, settings)
            reads = (next(pieces) for _ in job.pieces)
            batches = _batches(_noted(reads, rows, segment_settings.hop), settings.batch_size)
            first = [*islice(batches, 1)]
            with turn or nullcontext():
                for batch in chain(first, batches):
                    fitting.convert(batch, tuple(job.paths))
            writers.finish(rows)


class _Fitting:
    """Converts batches, in halves from the first one on that does not fit into memory.

    On a GPU all batches are of one size, the last of a shard with silence behind it: cuDNN plans each size anew, which
    takes longer than to convert a batch.
    """

    def __init__(
        self,
        converter: Converter,
        settings: StreamSettings,
        copies: DeviceCopies,
        writers: "_Writers",
        progress: Progress,
        *,
        with_log_mel: bool,
    ) -> None:
        self._converter = converter
        self._dtype = _TORCH_DTYPES[settings.dtype]
        self._copies = copies
        self._writers = writers
        self._progress = progress
        self._with_log_mel = with_log_mel
        self._most = settings.batch_size

    def convert(self, batch: _Batch, targets: Sequence[str]) -> None:
        """Convert a batch to all targets and hand the results to the writers, each target's in order.

        Raises:
            EnvironmentFault: not even one segment fits.
        """
        waiting = deque([(batch, targets)])
        while waiting:
            batch, wanted = waiting.popleft()
            count = _n_segments(batch)
            if count > self._most:
                waiting.extendleft([(part, wanted) for part in _batches(batch, self._most)][::-1])
                continue
            done = self._convert_what_fits(batch, wanted)
            if done < len(wanted):
                size = self._most if self._with_log_mel else count
                if size == 1:
                    raise EnvironmentFault(
                        f"there is not enough memory to convert one segment to {wanted[done]}",
                        "end other programs that use it, or give --compute-device cpu",
                    )
                self._most = (size + 1) // 2
                waiting.appendleft((batch, wanted[done:]))

    def _convert_what_fits(self, batch: _Batch, targets: Sequence[str]) -> int:
        """Return how many of the targets are done; less than all where memory does not suffice."""
        done, count = 0, _n_segments(batch)
        try:
            segments = self._copies.to_device(batch, self._most if self._with_log_mel else count)
            begun = self._converter.begin(log_mel(segments) if self._with_log_mel else segments)
            for target in targets:
                converted = self._converter.convert(begun, target)[:count].to(self._dtype)
                self._writers.append(target, converted)
                self._progress.advance(target, count)
                done += 1
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return done


class _Reader:
    """Reads pieces in worker threads, a bounded number of segments ahead, and hands them out in order.

    Decoding, resampling and FFTs release the interpreter lock, so threads are enough; each computes on one processor,
    which for small pieces is faster than sharing the work of one piece.
    """

    def __init__(
        self, root: Path, segment_settings: SegmentSettings, settings: StreamSettings, with_log_mel: bool
    ) -> None:
        self._root = root
        self._segment_settings = segment_settings
        self._timeout_s = settings.reader_timeout_s
        self._workers = settings.workers
        self._ahead = settings.batch_size * _BATCHES_AHEAD
        self._with_log_mel = with_log_mel
        self._pool = ThreadPoolExecutor(settings.workers, "umc-reader", torch.set_num_threads, (1,))

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, pieces: Iterator[Piece]) -> Iterator[_PieceRead]:
        """Yield every piece's segments."""
        waiting: deque[tuple[int, Future[_PieceRead]]] = deque()
        n_ahead = 0
        for piece in pieces:
            # Every reader may always have a piece, however long recordings are, and one more waits to be converted.
            while len(waiting) > self._workers and n_ahead + piece.n_segments > self._ahead:
                count, future = waiting.popleft()
                n_ahead -= count
                yield future.result()
            waiting.append((piece.n_segments, self._pool.submit(self._read_piece, piece)))
            n_ahead += piece.n_segments
        while waiting:
            yield waiting.popleft()[1].result()

    def _read_piece(self, piece: Piece) -> _PieceRead:
        path = self._root / piece.file.path
        try:
            starts = piece.starts(self._segment_settings)
            segments, start_samples = read_segments_within(
                self._timeout_s, path, piece.file.header, starts, self._segment_settings
            )
        except InputError as error:
            failed = FailedInput(piece.file.path, error.message, error.hint)
            return _PieceRead(piece, np.empty((0, 0), np.float32), np.empty(0, np.int64), failed)
        if self._with_log_mel:
            segments = log_mel(torch.from_numpy(segments)).numpy()
        return _PieceRead(piece, segments, start_samples)


class _Writers:
    """Writer threads that share the targets; every shard is written by one of them, in order."""

    def __init__(self, copies: DeviceCopies) -> None:
        self._copies = copies
        self._writers = [_Writer(_RESULTS_AHEAD // _N_WRITERS) for _ in range(_N_WRITERS)]
        self._of_target: dict[str, _Writer] = {}

    def __enter__(self) -> "_Writers":
        for writer in self._writers:
            writer.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            for writer in self._writers:
                writer.forget_waiting()
        errors = [error for writer in self._writers if (error := writer.end())]
        if kind is None and errors:
            raise errors[0]

    def begin(self, job: ShardJob, settings: StreamSettings) -> None:
        """Open the job's shards."""
        for target in job.paths:
            self._of_target.setdefault(target, self._writers[len(self._of_target) % _N_WRITERS])
        for writer in self._writers:
            own = {target: path for target, path in job.paths.items() if self._of_target[target] is writer}
            writer.put((own, job, settings))

    def append(self, target: str, log_mel_db: Tensor) -> None:
        """Append a batch [B, 80, 80] to the shard of `target`."""
        self._of_target[target].put((target, self._copies.to_host(log_mel_db)))

    def finish(self, rows: ShardRows) -> None:
        """Complete the job's shards."""
        for writer in self._writers:
            writer.put(rows)


class _Writer:
    """Owns the open shards of some targets, in a thread; hands its first failure to whoever puts the next item."""

    def __init__(self, most_waiting: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(most_waiting)
        self._error: BaseException | None = None
        self._forgets = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umc-writer", daemon=True)
        self.start = self._thread.start

    def forget_waiting(self) -> None:
        """Drop what waits: the shards that are open will not be completed."""
        self._forgets.set()  # before: a shard must not be completed with rows that come after others which are gone
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()

    def end(self) -> BaseException | None:
        """Wait until all that was put is written, and return the first failure."""
        self.put(None)
        self._thread.join()
        return self._error

    def put(self, item: Any) -> None:
        """Hand over one item: shards to open, a batch, the rows that complete the shards, or None for the end."""
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.2)
                return
        if self._error and item is not None:
            raise self._error

    def _take(self) -> Any:
        item = self._queue.get()
        return None if self._forgets.is_set() else item

    def _run(self) -> None:
        try:
            while (item := self._take()) is not None:
                self._write_shards(*item)
        except _AbortedError:
            pass
        except BaseException as error:
            self._error = error

    def _write_shards(self, paths: Mapping[str, Path], job: ShardJob, settings: StreamSettings) -> None:
        with ExitStack() as open_shards:
            shards = {
                target: open_shards.enter_context(
                    write_shard(path, job.attributes[target], settings.dtype, settings.compression)
                )
                for target, path in paths.items()
            }
            while not isinstance(item := self._take(), ShardRows):
                if item is None:
                    raise _AbortedError
                target, arriving = item
                with arriving as log_mel_db:
                    if not _all_finite(log_mel_db):
                        raise SettingsError(
                            f"converter {job.converter} gave levels for {target} that are not finite: NaN, or too "
                            f"large for {log_mel_db.dtype}",
                            "use another --converter, or other weights; with --precision fp16, try fp32",
                        )
                    shards[target].append(log_mel_db)
            for shard in shards.values():
                shard.finish(item)


def _all_finite(values: NDArray[Any]) -> bool:
    """Tell whether no value is NaN or infinite. As bits: numpy's own test of float16 takes twenty times as long."""
    if values.dtype == np.float16:
        return bool((values.view(np.uint16) & np.uint16(0x7FFF)).max(initial=0) < 0x7C00)
    return bool((values.view(np.uint32) & np.uint32(0x7FFF_FFFF)).max(initial=0) < 0x7F80_0000)


class _AbortedError(Exception):
    """The run ends before the shard is complete; its partial files must go."""


def _noted(reads: Iterator[_PieceRead], rows: ShardRows, hop: int) -> Iterator[NDArray[np.float32]]:
    """Pass the segments on and note in `rows` what the shard has to say of them."""
    for read in reads:
        file = read.piece.file
        if read.failed:
            rows.failed.append(asdict(read.failed))
            continue
        count = len(read.start_samples)
        numbers = read.start_samples // hop - read.piece.first_segment + read.piece.first_index
        rows.label += [file.label] * count
        rows.recording += [file.recording] * count
        rows.split += [file.split] * count
        rows.source_path += [file.path] * count
        rows.segment_start += read.start_samples.tolist()
        rows.segment_index += numbers.tolist()
        for name, values in rows.extra.items():
            values += [file.extra.get(name, "")] * count
        yield read.segments


def _batches(parts: Iterable[NDArray[np.float32]], size: int) -> Iterator[_Batch]:
    """Regroup parts of any length into batches of `size` segments; only the last one may be smaller."""
    waiting: list[NDArray[np.float32]] = []
    count = 0
    for part in parts:
        while len(part):
            taken = part[: size - count]
            part = part[size - count :]
            waiting.append(taken)
            count += len(taken)
            if count == size:
                yield waiting
                waiting, count = [], 0
    if waiting:
        yield waiting


def _n_segments(batch: _Batch) -> int:
    return sum(map(len, batch))
