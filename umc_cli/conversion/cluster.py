"""`umc convert --cluster`: Ray actors on one or many machines make the shards of a run.

The driver chooses, plans and counts as any run does, and hands the missing shards out, one at a time to each actor. An
actor builds the converter once. One that is lost costs the shard that it was making, which another one makes.
"""

import logging
import math
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from umc_cli.atomic_write import remove_partial_files
from umc_cli.conversion.shard_actor import Order, ShardActor, for_actors
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
        ray, head = _connect(address)
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


def _connect(address: str) -> tuple[Any, tuple[str, int]]:
    """Return Ray, connected, and where its head listens."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise SettingsError("--cluster needs Ray, which is not installed", "pip install 'umc-cli[ray]'") from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    head = None if address == HERE else _host_and_port(address.removeprefix("ray://"))
    try:
        if head is None:
            ray.init(address="local", num_cpus=cpu_count(), include_dashboard=False, **quiet)
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
        self._actor_class = ray.remote(ShardActor).options(**demand)
        self._made_with: dict[str, str] | None = None
        self._idle: list[Any] = []
        self._at_work: dict[Any, tuple[Any, _Job | None]] = {}
        """By the reference to the outcome: the actor, and its shard or None while it prepares."""
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
        waiting = deque(islice(ahead, self._size))
        lost: deque[_Job] = deque()  # behind all others: if they are to blame, the others are made first
        for _ in range(len(waiting) - len(self._idle)):
            self._hire()
        while waiting or lost or any(job for _, job in self._at_work.values()):
            while self._idle and (waiting or lost):
                actor, job = self._idle.pop(), (waiting or lost).popleft()
                job = replace(job, paths={name: path.absolute() for name, path in job.paths.items()})
                self._at_work[actor.make.remote(job)] = (actor, job)
                waiting.extend(islice(ahead, 1))
            ended, counts = self._await_one()
            if ended and counts is None:
                lost.append(ended)
            elif ended and counts is not None:
                self._look_for(ended.paths.values())
                for target, n_segments in counts.items():
                    progress.advance(target, n_segments)
        while self._unseen:
            time.sleep(_BETWEEN_LOOKS_S / 50)
            self._look_for(())

    def dismiss(self) -> None:
        """End the actors, if the head answers, else they end with their nodes. Those at work leave partial files."""
        with suppress(self._ray.exceptions.RayError, ConnectionError, EnvironmentFault):
            self._look_at_head(0)
            for actor in [*self._idle, *(actor for actor, _ in self._at_work.values())]:
                self._ray.kill(actor)
            self._ray.wait([*self._at_work], num_returns=len(self._at_work), timeout=_LONGEST_END_S)

    def _hire(self) -> None:
        actor = self._actor_class.remote(self._order)
        self._at_work[actor.prepare.remote(versions(), self._made_with)] = (actor, None)

    def _await_one(self) -> tuple[_Job | None, dict[str, int] | None]:
        """Wait until an actor has ended what it did; return its job, and the segments made if it was not lost."""
        ended = self._first_to_end()
        actor, job = self._at_work.pop(ended)
        try:
            outcome = self._ray.get(ended)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UmcError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayActorError as error:
            self._look_at_head(0)
            self._count_loss(job, error)
            self._ray.kill(actor)  # if it is only out of reach
            self._hire()
            return job, None
        except self._ray.exceptions.RayError as error:
            raise EnvironmentFault(f"Ray failed: {error}", "for details see its logs and docs/clusters.md") from error
        self._idle.append(actor)
        if job is None:
            self._made_with = outcome
            self._losses[_BEFORE] = 0
        return job, outcome if job else None

    def _first_to_end(self) -> Any:
        """Return the reference to the first outcome there is."""
        a_shard_is_made = any(job for _, job in self._at_work.values())
        deadline = time.monotonic() + (math.inf if a_shard_is_made else _LONGEST_WAIT_S)
        while time.monotonic() < deadline:
            self._look_at_head(_LONGEST_SILENCE_S)
            ended, _ = self._ray.wait([*self._at_work], timeout=_BETWEEN_LOOKS_S)
            if ended:
                return ended[0]
        wanted = ", ".join(f"{name} {count}" for name, count in self._demand.items() if count)
        raise EnvironmentFault(
            f"the Ray cluster gave no actor ({wanted}) within {_LONGEST_WAIT_S:.0f} s",
            "wait for free resources, add nodes (`ray status` shows them), or ask for less with --workers",
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
