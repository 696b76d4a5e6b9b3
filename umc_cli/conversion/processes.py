"""Several processes of this machine make the shards of a run; the one that was started does all the rest.

As with a cluster (`conversion.cluster`): one process chooses, plans, holds the folder's lock, counts and reports. Each
of the others keeps a converter and asks for the next shard when it is about to read its recordings, so that none
waits for another, and none drains between shards.

    parent --job--> process   (a job, or None where there is none for now)
    parent <--message-- process   (an ask for a job, converted segments, or what went wrong)
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from umc_cli.atomic_write import remove_partial_files
from umc_cli.conversion.shard_actor import Order
from umc_cli.conversion.shard_job import Progress, ShardJob
from umc_cli.conversion.waveforms.jobs import AudioJob, make_audio
from umc_cli.errors import EnvironmentFault, SettingsError, UmcError
from umc_cli.runtime import cpu_count, explain_machine_faults

_Job = ShardJob | AudioJob

ALL_GPUS = "cuda:all"
_BETWEEN_REPORTS_S = 0.2
_LONGEST_END_S = 10.0
"""A process that is told to end is killed after that."""


@dataclass(frozen=True)
class _Ask:
    """Asks for a job."""

    is_idle: bool
    """Nothing is under way: all jobs so far are done."""


def devices_of(compute_device: str, n_processes: int | None, n_gpus: int) -> list[str]:
    """Return the device of each process. `cuda:all`: the GPUs in turn, by default one process each.

    Raises:
        SettingsError: there is no GPU, or more GPUs than processes.
    """
    if compute_device != ALL_GPUS:
        return [compute_device] * (n_processes or 1)
    if not n_gpus:
        raise SettingsError(
            f"compute device {ALL_GPUS!r} is not available (0 CUDA devices)",
            "use --compute-device cpu, or check the driver with nvidia-smi",
        )
    if n_processes is not None and n_processes < n_gpus:
        raise SettingsError(
            f"--processes {n_processes} leaves some of {n_gpus} GPUs without one", f"give {n_gpus} or more, or none"
        )
    return [f"cuda:{number % n_gpus}" for number in range(n_processes or n_gpus)]


@contextmanager
def open_processes(order: Order, devices: Sequence[str], workers: int | None) -> Iterator["_Crew"]:
    """Yield processes, one for each of `devices`, that make shards; they start when the first is to be made.

    `workers`: readers of each; None shares the processors out.
    """
    share = max(1, cpu_count() // len(devices))
    orders = [
        replace(
            order,
            conversion=order.conversion.computed_by(share, device),
            stream=replace(order.stream, workers=workers or share),
        )
        for device in devices
    ]
    crew = _Crew(orders)
    try:
        yield crew
    finally:
        if crew.dismiss():
            remove_partial_files(order.root, to_any_depth=True)


@dataclass
class _Member:
    """A process and what it is doing."""

    number: int
    process: BaseProcess
    connection: Connection
    is_idle: bool = False
    waits: bool = False
    """It asked for a job and has no answer."""
    jobs: list[_Job] = field(default_factory=list)
    """Given to it, and not done when it asked last."""


class _Crew:
    """The processes."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._orders = orders
        self._members: list[_Member] = []

    def make(self, jobs: Iterable[ShardJob] | Iterable[AudioJob], progress: Progress) -> None:
        """Have all jobs done. None is taken before a process asks for it.

        Raises:
            UmcError: what a process raised; see `conversion.streaming.stream`.
            EnvironmentFault: a process was ended by something else.
        """
        ahead: Iterator[_Job] = iter(jobs)
        first = list(islice(ahead, len(self._orders)))
        if not first:
            return
        self._start(len(first))
        ahead, is_over = chain(first, ahead), False
        while not is_over or not all(member.is_idle for member in self._members):
            for member in self._members:
                if member.waits and not is_over:
                    job = next(ahead, None)
                    is_over = job is None
                    if job is not None:
                        self._tell(member, job)
                        member.jobs = [*_unfinished(member.jobs), job]
                if member.waits and is_over and not member.is_idle:
                    self._tell(member, None)  # it ends what it has begun, and asks once more
            if not is_over or not all(member.is_idle for member in self._members):
                self._listen(progress)

    def dismiss(self) -> bool:
        """End the processes, and return whether one was at work: it leaves partial files."""
        was_at_work = not all(member.is_idle for member in self._members)
        for member in self._members:
            member.connection.close()
            if was_at_work:
                member.process.terminate()
        until = time.monotonic() + _LONGEST_END_S
        for member in self._members:
            member.process.join(max(0, until - time.monotonic()))
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
        self._members = []
        return was_at_work

    def _start(self, count: int) -> None:
        """Start processes until there are `count`."""
        context = multiprocessing.get_context("spawn")  # forked, a child would share what CUDA and OpenVINO hold
        for number in range(len(self._members) + 1, count + 1):
            order = self._orders[number - 1]
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, order), name=f"umc-{number}", daemon=True)
            with _without_interrupts():
                process.start()
            theirs.close()
            self._members.append(_Member(number, process, ours))

    def _tell(self, member: _Member, job: _Job | None) -> None:
        member.waits = False
        if job is not None:
            member.is_idle = False
        try:
            member.connection.send(job)
        except OSError:
            raise self._lost(member) from None

    def _listen(self, progress: Progress) -> None:
        """Wait for messages and take them in."""
        by_connection = {member.connection: member for member in self._members}
        for connection in wait([*by_connection]):
            member = by_connection[connection]  # type: ignore[index]
            try:
                message = member.connection.recv()
            except (EOFError, OSError):
                raise self._lost(member) from None
            if isinstance(message, BaseException):
                raise message
            if isinstance(message, _Ask):
                member.waits, member.is_idle = True, message.is_idle
                if message.is_idle:
                    member.jobs = []
                continue
            for target, n_segments in message.items():
                progress.advance(target, n_segments)

    def _lost(self, member: _Member) -> EnvironmentFault:
        member.process.join(_LONGEST_END_S)
        code = member.process.exitcode
        how = f"with code {code}"
        if code is not None and code < 0:
            how = f"by {signal.Signals(-code).name}" if -code in [*signal.Signals] else f"by signal {-code}"
        names = [next(iter(job.paths.values())).name for job in _unfinished(member.jobs)]
        what = f" while it made {', '.join(names)}" if names else ""
        return EnvironmentFault(
            f"process {member.number} of {len(self._members)} (pid {member.process.pid}) was ended {how}{what}",
            "memory may be short: give fewer --processes; finished shards are kept, and the same command resumes",
        )


def _unfinished(jobs: Iterable[_Job]) -> list[_Job]:
    return [job for job in jobs if not all(path.exists() for path in job.paths.values())]


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from this process for a moment, and from those that start in it for ever: their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, order: Order) -> None:
    """Be one of the processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    threading.Thread(target=_end_with_parent, name="umc-parent", daemon=True).start()
    parent = _Parent(connection)
    try:
        _make_all(parent, order)
    except EOFError:  # the parent is done
        return
    except UmcError as error:
        parent.tell(error)
    except BaseException as error:
        try:
            parent.tell(error)
        except Exception:  # it cannot be pickled
            parent.tell(RuntimeError(f"{type(error).__name__}: {error}"))


@explain_machine_faults("lower --batch-size or give fewer --processes")
def _make_all(parent: "_Parent", order: Order) -> None:
    import torch

    from umc_cli.conversion.streaming import stream

    torch.set_num_threads(1)  # as in a run of one process; only a generator's engine takes more
    conversion, stream_settings = order.conversion, order.stream
    converter, device = conversion.built, conversion.torch_device
    while True:
        job = parent.next_job(is_idle=True)
        if isinstance(job, AudioJob):
            make_audio(job, order.inputs, conversion, stream_settings.workers, stream_settings.reader_timeout_s, parent)
        elif job is not None:
            jobs: Iterator[Any] = chain([job], iter(lambda: parent.next_job(is_idle=False), None))
            stream(jobs, order.inputs, order.segments, stream_settings, converter, device, parent)


class _Parent:
    """The parent as a process sees it; counts converted segments for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._told_at = 0.0

    def next_job(self, *, is_idle: bool) -> _Job | None:
        """Return the next job; None where there is none and nothing should be waited for.

        Raises:
            EOFError: the parent wants no more.
        """
        self._report()
        self.tell(_Ask(is_idle))
        job: _Job | None = self._connection.recv()
        return job

    def advance(self, target: str, n_segments: int) -> None:
        """Count converted segments of one target."""
        with self._lock:
            self._counts[target] = self._counts.get(target, 0) + n_segments
        if time.monotonic() - self._told_at > _BETWEEN_REPORTS_S:
            self._report()

    def tell(self, message: object) -> None:
        """Send a message.

        Raises:
            EOFError: the parent wants no more.
        """
        with self._lock:
            try:
                self._connection.send(message)
            except OSError as error:
                raise EOFError from error

    def _report(self) -> None:
        with self._lock:
            counts: Mapping[str, int] = self._counts
            self._counts = {}
        self._told_at = time.monotonic()
        if counts:
            self.tell(counts)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
