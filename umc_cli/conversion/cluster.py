"""`umc convert --cluster`: Ray actors on one or many machines make the shards of a run.

The driver chooses, plans and counts as any run does, and hands the missing shards out. An actor builds the converter
once. While more shards wait than there are actors, each is given a second one, whose recordings it reads while it
converts the first: so it does not drain between shards. One that is lost costs its shards; another one makes each of
them alone.
"""

import logging
import math
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from umc_cli.atomic_write import remove_partial_files
from umc_cli.conversion.shard_actor import SHARDS_AT_ONCE, Order, ShardActor, for_actors
from umc_cli.conversion.shard_job import Progress, ShardJob
from umc_cli.conversion.waveforms.jobs import AudioJob
from umc_cli.errors import EnvironmentFault, SettingsError, UmcError
from umc_cli.runtime import cpu_count, versions

HERE = "auto"
"""Instead of an address: start Ray on this machine."""

_MOST_CPUS = 8
"""Of an actor: rule-based converters use few."""
_MOST_LOSSES = 3
"""Actors that one shard may take with it."""
_BEFORE = "before the first shard"
_LONGEST_CONNECT_S = 10.0
_LONGEST_WAIT_S = 300.0
"""For an actor, while no other one is at work."""
_BETWEEN_LOOKS_S = 5.0
_LONGEST_SILENCE_S = 20.0
"""Of the cluster's head."""
_LONGEST_END_S = 10.0
"""For actors at work that are told to end."""
_LONGEST_UNSEEN_S = 90.0
"""NFS may hide a new file for a minute."""

_Job = ShardJob | AudioJob
MakeShards = Callable[[Iterable[ShardJob] | Iterable[AudioJob], Progress], None]


@contextmanager
def open_cluster(
    address: str, order: Order, workers: int | None, compute_device: str, warnings: list[str]
) -> Iterator[tuple[dict[str, str], MakeShards]]:
    """Start Ray here (`auto`) or join the cluster at `address`; end the actors, and what was started, at the end.

    Yields what the actors' converter says of itself, and the function that makes the shards of jobs. `workers`: reader
    threads of an actor and the processors that it asks for; `warnings`: is told of actors that were lost.

    Raises:
        SettingsError: Ray is not installed, `address` or `compute_device` makes no sense, or actors would not compute
            alike.
        EnvironmentFault: no cluster answers, no actor can be had, one does not see the folders, or a shard loses its
            actor again and again.
    """
    if compute_device not in ("auto", "cpu", "cuda"):
        raise SettingsError(
            f"--compute-device {compute_device} cannot be chosen on a cluster",
            "use auto, cpu or cuda: Ray numbers GPUs",
        )
    # Ray prints what goes wrong in the cluster, at length; standard output is for the result.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        ray, head = _connect(address, workers)
        try:
            demand, size = _demand(
                [node["Resources"] for node in ray.nodes() if node["Alive"]], workers, compute_device
            )
            crew = _Crew(
                ray, head, for_actors(order, demand["num_cpus"], bool(demand["num_gpus"])), demand, size, warnings
            )
            try:
                yield crew.describe(), crew.make
            finally:
                crew.dismiss()
                remove_partial_files(order.root)
        finally:
            ray.shutdown()


def _connect(address: str, workers: int | None) -> tuple[Any, tuple[str, int]]:
    """Return Ray, connected, and where its head listens. Started here it has processors for an actor's `workers`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise SettingsError("--cluster needs Ray, which is not installed", "pip install 'umc-cli[ray]'") from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    head = None if address == HERE else _host_and_port(address.removeprefix("ray://"))
    try:
        if head is None:
            # Ray's own choice, 15, leaves the actors next to nothing where other programs keep the processors busy.
            os.environ.setdefault("RAY_worker_niceness", "0")
            ray.init(address="local", num_cpus=max(cpu_count(), workers or 1), include_dashboard=False, **quiet)
            return ray, _host_and_port(ray.get_runtime_context().gcs_address)
        # Ray itself would go on trying for minutes.
        socket.create_connection(head, timeout=_LONGEST_CONNECT_S).close()
        ray.init(address=address, **quiet)
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        what = "start Ray on this machine" if head is None else f"join a Ray cluster at {address}"
        raise EnvironmentFault(f"cannot {what}: {error}", "docs/clusters.md lists what Ray needs") from error
    return ray, head


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError(f"--cluster {address!r} is not an address", "use auto, HOST:PORT or ray://HOST:PORT")
    return host, int(port)


def _demand(
    nodes: Sequence[Mapping[str, float]], workers: int | None, compute_device: str
) -> tuple[dict[str, int], int]:
    """Return what an actor asks Ray for (`num_gpus`, `num_cpus`), and how many such actors fit on the nodes, if any.

    `nodes`: resources of each. One actor a GPU where there are any, else one for up to 8 processors of a node.
    """
    on_gpu = compute_device == "cuda" or (compute_device == "auto" and any(node.get("GPU", 0) >= 1 for node in nodes))
    if on_gpu:
        shares = [(node.get("CPU", 0) / node["GPU"], node) for node in nodes if node.get("GPU", 0) >= 1]
    else:
        shares = [(node["CPU"], node) for node in nodes if node.get("CPU", 0) >= 1]
    cpus = workers or max(1, min([_MOST_CPUS, *(int(share) for share, _ in shares)]))
    fits = [min(node.get("CPU", 0) // cpus, node["GPU"] if on_gpu else node["CPU"]) for _, node in shares]
    return {"num_gpus": int(on_gpu), "num_cpus": cpus}, max(1, int(sum(fits)))


@dataclass(eq=False)
class _Member:
    """An actor and what it is doing."""

    actor: Any
    at_work: dict[Any, _Job | None] = field(default_factory=dict)
    """By the reference to the outcome, oldest first: its shards, or None while it prepares."""
    takes_more: bool = False
    """Not while it prepares, nor beside a shard that lost an actor."""

    @property
    def jobs(self) -> list[_Job]:
        """Return its shards, oldest first: it makes the first one; the second may have only been read."""
        return [job for job in self.at_work.values() if job]


class _Crew:
    """The actors, and what each of them is doing."""

    def __init__(
        self, ray: Any, head: tuple[str, int], order: Order, demand: Mapping[str, int], size: int, warnings: list[str]
    ) -> None:
        self._ray = ray
        self._head = head
        self._head_answered_at = time.monotonic()
        self._order = order
        self._demand = demand
        self._size = size
        self._warnings = warnings
        self._actor_class = ray.remote(ShardActor).options(max_concurrency=SHARDS_AT_ONCE, **demand)
        self._made_with: dict[str, str] | None = None
        self._members: list[_Member] = []
        self._losses: Counter[str] = Counter()
        self._unseen: dict[Path, float] = {}
        """Shards that were made, and when."""

    def describe(self) -> dict[str, str]:
        """Hire a first actor and return what its converter says of itself."""
        self._hire()
        while self._made_with is None:
            self._await_one()
        return self._made_with

    def make(self, jobs: Iterable[ShardJob] | Iterable[AudioJob], progress: Progress) -> None:
        """Have the shards of all jobs made. Few jobs are taken ahead, so that any number of them takes no memory."""
        ahead: Iterator[_Job] = iter(jobs)
        waiting = deque(islice(ahead, self._size * SHARDS_AT_ONCE))
        lost: deque[_Job] = deque()  # behind all others: if they are to blame, the others are made first
        for _ in range(min(self._size, len(waiting)) - len(self._members)):
            self._hire()
        while waiting or lost or any(member.jobs for member in self._members):
            while waiting and (member := self._free_member(len(waiting))):
                self._give(member, waiting.popleft())
                waiting.extend(islice(ahead, 1))
            while lost and not waiting and (member := self._free_member(0)):
                self._give(member, lost.popleft(), alone=True)
            ended, counts = self._await_one()
            if counts is None:
                lost.extend(ended)
                continue
            self._look_for(path for job in ended for path in job.paths.values())
            for target, n_segments in counts.items():
                progress.advance(target, n_segments)
        while self._unseen:
            time.sleep(_BETWEEN_LOOKS_S / 50)
            self._look_for(())

    def dismiss(self) -> None:
        """End the actors, if the head answers, else they end with their nodes. Those at work leave partial files."""
        with suppress(self._ray.exceptions.RayError, ConnectionError, EnvironmentFault):
            self._look_at_head(0)
            for member in self._members:
                self._ray.kill(member.actor)
            under_way = self._under_way()
            self._ray.wait(under_way, num_returns=len(under_way), timeout=_LONGEST_END_S)

    def _hire(self) -> None:
        actor = self._actor_class.remote(self._order)
        self._members.append(_Member(actor, {actor.prepare.remote(versions(), self._made_with): None}))

    def _free_member(self, n_waiting: int) -> _Member | None:
        """Return one for the next of so many shards: an idle one, else one that is given a second shard."""
        idle = (member for member in self._members if not member.at_work)
        others = (member for member in self._members if member.takes_more and len(member.at_work) < SHARDS_AT_ONCE)
        return next(chain(idle, others if n_waiting > len(self._members) else ()), None)

    def _give(self, member: _Member, job: _Job, *, alone: bool = False) -> None:
        job = replace(job, paths={name: path.absolute() for name, path in job.paths.items()})
        member.at_work[member.actor.make.remote(job)] = job
        member.takes_more = isinstance(job, ShardJob) and not alone

    def _await_one(self) -> tuple[list[_Job], dict[str, int] | None]:
        """Wait until an actor has ended something; return its jobs that ended, and the segments made.

        None instead of segments: the actor was lost, with all its jobs.
        """
        ended = self._first_to_end()
        member = next(member for member in self._members if ended in member.at_work)
        try:
            outcome = self._ray.get(ended)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UmcError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayActorError as error:
            self._look_at_head(0)
            self._count_loss(member.jobs[0] if member.jobs else None, error)
            self._members.remove(member)
            self._ray.kill(member.actor)  # if it is only out of reach
            self._hire()
            return member.jobs, None
        except self._ray.exceptions.RayError as error:
            raise EnvironmentFault(f"Ray failed: {error}", "for details see its logs and docs/clusters.md") from error
        job = member.at_work.pop(ended)
        if job is None:
            self._made_with = outcome
            self._losses[_BEFORE] = 0
            return [], {}
        return [job], outcome

    def _under_way(self) -> list[Any]:
        """Return the references to all outcomes; of an actor the oldest comes first."""
        return [reference for member in self._members for reference in member.at_work]

    def _first_to_end(self) -> Any:
        """Return the reference to the first outcome there is."""
        a_shard_is_made = any(member.jobs for member in self._members)
        deadline = time.monotonic() + (math.inf if a_shard_is_made else _LONGEST_WAIT_S)
        while time.monotonic() < deadline:
            self._look_at_head(_LONGEST_SILENCE_S)
            under_way = self._under_way()
            if self._ray.wait(under_way, timeout=_BETWEEN_LOOKS_S)[0]:
                # The oldest: who made a shard and was lost with the next one was not lost with both.
                ended, _ = self._ray.wait(under_way, num_returns=len(under_way), timeout=0)
                return next(reference for reference in under_way if reference in ended)
        raise self._no_actor()

    def _no_actor(self) -> EnvironmentFault:
        """Return what is said when the cluster gave none in time."""
        wanted = ", ".join(f"{name} {count}" for name, count in self._demand.items() if count)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        n_cpus, n_gpus = self._demand["num_cpus"], self._demand["num_gpus"]
        fits = any(node.get("CPU", 0) >= n_cpus and node.get("GPU", 0) >= n_gpus for node in nodes)
        most = {name: max([0.0, *(node.get(name, 0.0) for node in nodes)]) for name in ("CPU", "GPU")}
        return EnvironmentFault(
            f"the Ray cluster gave no actor ({wanted}) within {_LONGEST_WAIT_S:.0f} s; "
            f"nodes: {len(nodes)}, of which none has more than CPU {most['CPU']:g}, GPU {most['GPU']:g}",
            "`ray status` shows what is in use; on a busy machine start Ray with RAY_worker_niceness=0, "
            "as Ray's processes wait for all others"
            if fits
            else f"no node is large enough: ask for less with --workers (now {n_cpus}), or add such a node",
        )

    def _look_at_head(self, patience_s: float) -> None:
        """Refuse to go on without the cluster's head: Ray would wait for a minute and then end this process.

        `patience_s`: how long it may be silent.
        """
        silent_s = time.monotonic() - self._head_answered_at
        if silent_s < min(patience_s, _BETWEEN_LOOKS_S):
            return
        try:
            socket.create_connection(self._head, timeout=_BETWEEN_LOOKS_S).close()
            self._head_answered_at = time.monotonic()
        except OSError as error:
            if silent_s >= patience_s:
                raise EnvironmentFault(
                    f"the head of the Ray cluster at {self._head[0]}:{self._head[1]} no longer answers: {error}",
                    "start it again; finished shards are kept, and the same command resumes",
                ) from error

    def _count_loss(self, job: _Job | None, error: Exception) -> None:
        where = f"with {next(iter(job.paths.values())).name}" if job else _BEFORE
        self._losses[where] += 1
        # A node that ends while all its actors prepare is one loss.
        most = _MOST_LOSSES if job or self._made_with is None else _MOST_LOSSES * self._size
        if self._losses[where] < most:
            self._warnings.append(f"a Ray actor was lost {where}; another one took over")
            return
        raise EnvironmentFault(
            f"{most} Ray actors were lost {where}: {str(error).strip().splitlines()[-1]}",
            (
                "a recording of that shard (see run.json) may crash its decoder"
                if job
                else "umc may be missing on a node, or have another version"
            )
            + ", or memory may be short; finished shards are kept, and the same command resumes",
        ) from error

    def _look_for(self, paths: Iterable[Path]) -> None:
        """Refuse to go on if shards, `paths` or earlier ones, were made but are not seen here after a while."""
        now = time.monotonic()
        self._unseen |= dict.fromkeys(paths, now)
        self._unseen = {path: since for path, since in self._unseen.items() if not path.exists()}
        for path, since in self._unseen.items():
            if now - since > _LONGEST_UNSEEN_S:
                raise EnvironmentFault(
                    f"{path} was written on another node but is not visible here",
                    "put the output on a folder that all nodes share, under the same path",
                )
