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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from umc_cli.atomic_write import remove_partial_files
from umc_cli.audio.segments import SegmentSettings
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Converter, Ingredients
from umc_cli.conversion.refiner_checkpoint import SHIPPED_REFINER
from umc_cli.conversion.streaming import Progress, ShardJob, StreamSettings, stream
from umc_cli.errors import EnvironmentFault, SettingsError, UmcError
from umc_cli.runtime import cpu_count, versions
from umc_cli.shards.run_folder import LOCK_NAME

HERE = "auto"
"""Instead of an address: start Ray on this machine."""

_MOST_CPUS = 8
"""Of an actor. Rule-based converters use few, and a generator's speed does not grow with all of them."""
_MOST_LOSSES = 3
"""Actors that one shard may take with it."""
_BEFORE = "before its first shard"
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

MakeShards = Callable[[Sequence[ShardJob], Progress], None]


@dataclass(frozen=True)
class Order:
    """All but the jobs that actors need to know. Plain data: it travels to other machines."""

    root: Path
    """Output folder."""
    inputs: Path
    """What relative paths of the plan start from."""
    segments: SegmentSettings
    stream: StreamSettings
    converter: str
    ingredients: Ingredients


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
            crew = _Crew(ray, head, _for_actors(order, demand), demand, size, warnings)
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
        raise EnvironmentFault(f"cannot {what}: {error}", "docs/clusters.md says what Ray asks for") from error
    return ray, head


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError(f"--cluster {address!r} is no address", "use auto, HOST:PORT or ray://HOST:PORT")
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


def _for_actors(order: Order, demand: Mapping[str, int]) -> Order:
    """Return the order as it reads on another machine."""
    given, cpus = order.ingredients, demand["num_cpus"]
    ingredients = replace(
        given,
        torch_device=torch.device("cuda" if demand["num_gpus"] else "cpu"),
        engine=given.engine.model_copy(update={"threads": cpus}),
        checkpoint=given.checkpoint and given.checkpoint.absolute(),
        # The package may be installed elsewhere there.
        refiner=None if given.refiner in (None, SHIPPED_REFINER) else given.refiner.absolute(),
    )
    return replace(
        order, root=order.root.absolute(), ingredients=ingredients, stream=replace(order.stream, workers=cpus)
    )


class ShardActor:
    """Runs on a node of the cluster: keeps the converter and makes one shard at a time."""

    def __init__(self, order: Order) -> None:
        self._order = order

    @cached_property
    def _converter(self) -> Converter:
        torch.set_num_threads(1)  # as in a run without a cluster; only a generator's engine takes more
        ingredients = self._order.ingredients
        return CONVERTERS[self._order.converter].build(
            replace(ingredients, refiner=ingredients.refiner or SHIPPED_REFINER)
        )

    def prepare(self, their_versions: Mapping[str, str], made_with: Mapping[str, str] | None) -> dict[str, str]:
        """Build the converter and return what it says of itself; `made_with`: what it said elsewhere.

        Raises:
            EnvironmentFault: this node has other versions than the driver's, or does not see the folders.
            SettingsError: the converter cannot be built, or would not compute as elsewhere.
        """
        node = f"node {socket.gethostname()}"
        for path in (self._order.inputs, self._order.root / LOCK_NAME):
            if not path.exists():
                raise EnvironmentFault(
                    f"{node} does not see {path}",
                    "put the workspace and the output on a folder that all nodes share, under the same path",
                )
        if versions() != their_versions:
            raise EnvironmentFault(
                f"{node} has {_listed(versions())}, this machine {_listed(their_versions)}",
                "install the same versions on all nodes",
            )
        own = self._converter.describe()
        if made_with is not None and own != made_with:
            raise SettingsError(
                f"{node} would convert with {_listed(own)}, others with {_listed(made_with)}",
                "choose what all can do, --engine torch --precision fp32 for example",
            )
        return own

    def make(self, job: ShardJob) -> dict[str, int]:
        """Make a shard and return how many segments each target got.

        Raises:
            UmcError: see `conversion.streaming.stream`.
        """
        order, counts = self._order, _Counts()
        device = order.ingredients.torch_device
        stream([job], order.inputs, order.segments, order.stream, self._converter, device, counts)
        return dict(counts.segments)


class _Counts:
    def __init__(self) -> None:
        self.segments: Counter[str] = Counter()

    def advance(self, target: str, n_segments: int) -> None:
        """Count converted segments of one target."""
        self.segments[target] += n_segments


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
        self._at_work: dict[Any, tuple[Any, ShardJob | None]] = {}
        """By the reference to the outcome: the actor, and its shard or None while it prepares."""
        self._losses: Counter[str] = Counter()

    def describe(self) -> dict[str, str]:
        """Hire a first actor and return what its converter says of itself."""
        self._hire()
        while self._made_with is None:
            self._await_one()
        return self._made_with

    def make(self, jobs: Sequence[ShardJob], progress: Progress) -> None:
        """Have the shards of all jobs made."""
        jobs = [replace(job, paths={name: path.absolute() for name, path in job.paths.items()}) for job in jobs]
        waiting = deque(jobs)
        for _ in range(min(self._size, len(jobs)) - 1):
            self._hire()
        while waiting or any(job for _, job in self._at_work.values()):
            while waiting and self._idle:
                actor, job = self._idle.pop(), waiting.popleft()
                self._at_work[actor.make.remote(job)] = (actor, job)
            made, counts = self._await_one()
            if made and counts is None:
                waiting.append(made)  # behind all others: if it is to blame, they are made first
            for target, n_segments in (counts or {}).items():
                progress.advance(target, n_segments)
        _wait_until_seen([path for job in jobs for path in job.paths.values()])

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

    def _await_one(self) -> tuple[ShardJob | None, dict[str, int] | None]:
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
            "wait until others leave it, add nodes (`ray status` shows them), or ask for less with --workers",
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
                    f"the head of the Ray cluster at {self._head[0]}:{self._head[1]} does not answer any more: {error}",
                    "start it again; what is finished is kept, and the same command goes on",
                ) from error

    def _count_loss(self, job: ShardJob | None, error: Exception) -> None:
        where = f"with {next(iter(job.paths.values())).name}" if job else _BEFORE
        self._losses[where] += 1
        if self._losses[where] < _MOST_LOSSES:
            self._warnings.append(f"a Ray actor was lost {where}; another one took over")
            return
        raise EnvironmentFault(
            f"{_MOST_LOSSES} Ray actors were lost {where}: {str(error).strip().splitlines()[-1]}",
            "memory may be short, or a recording of that shard (see run.json) may crash its decoder; what is finished "
            "is kept, and the same command goes on",
        ) from error


def _wait_until_seen(paths: Sequence[Path]) -> None:
    deadline = time.monotonic() + _LONGEST_UNSEEN_S
    for path in paths:
        while not path.exists():
            if time.monotonic() > deadline:
                raise EnvironmentFault(
                    f"{path} was written on another node but is not seen here",
                    "put the output on a folder that all nodes share, under the same path",
                )
            time.sleep(0.1)


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value[:12]}" for name, value in values.items()) or "nothing to choose"
