"""Runs whose shards Ray actors make, on a cluster of two nodes with a processor each."""

import os
import pickle
import secrets
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from tests.conversion.devices import device, ingredients
from tests.samples import SOURCE, TARGET, Run, damage_flac, noise, write_audio
from tests.test_resume import leftovers, shards
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion import cluster as ray_cluster
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.conversion.shard_actor import Order, ShardActor
from umc_cli.conversion.shard_job import ShardJob, StreamSettings
from umc_cli.conversion.transport import Transport
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.response.device import DeviceRegistry
from umc_cli.runtime import processor_count, versions
from umc_cli.shards.run_folder import locked
from umc_cli.workflows import convert as workflow

Umc = Callable[..., Run]

pytestmark = pytest.mark.xdist_group("ray")
watches_processes = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to find actors")

COMMAND = ("convert", "--source", SOURCE, "--targets", f"{TARGET},pixel3-back", "--converter", "eq_noise",
           "--shard-size", "2")  # fmt: skip
N_SHARDS = 2 * 5


class TwoNodes:
    """The cluster of these tests."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        options = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000}
        self._cluster = Cluster(initialize_head=True, head_node_args=options)
        self.add_node = partial(self._cluster.add_node, **options)
        self.add_node()
        self.address = self._cluster.address
        self.end = self._cluster.shutdown

    def lose_node(self) -> None:
        """Kill the processes of the node that is not the head, its actors too."""
        (node,) = self._cluster.worker_nodes
        actors = self._actors_of([node])
        self._cluster.remove_node(node, allow_graceful=False)
        for pid in actors:  # which would otherwise see a little later that their node is gone
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def actors(self) -> list[int]:
        """Return the ids of the processes that make shards, or prepare to."""
        return self._actors_of(self._cluster.list_all_nodes())

    def actors_that_read(self, paths: list[Path]) -> list[int]:
        """Return the ids of the processes that have one of the files open."""
        found = []
        for pid in self.actors():
            with suppress(FileNotFoundError, ProcessLookupError):
                if {link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()} & {*paths}:
                    found.append(pid)
        return found

    @staticmethod
    def _actors_of(nodes: list[Any]) -> list[int]:
        raylets = [str(info.process.pid) for node in nodes for info in node.all_processes["raylet"]]
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(FileNotFoundError, ProcessLookupError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if parent in raylets and (folder / "cmdline").read_bytes().startswith(b"ray::ShardActor"):
                    found.append(int(folder.name))
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    # Ray's processes load torch, too, a score of times: nearly without garbage collection.
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text("import gc\ngc.set_threshold(100_000, 50, 50)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
        # As Ray's processes listen on the network, others must not be able to use them.
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # not 15, which starves where other tests run
        nodes = TwoNodes()
        yield nodes
        nodes.end()


@pytest.fixture
def clips(workspace: Path) -> list[Path]:
    """The workspace's four clips and one that cannot be decoded, in the order of the plan: a shard each."""
    bad = write_audio(workspace / f"data/{SOURCE}/a/bad.flac", noise(seed=9))
    damage_flac(bad)
    return sorted((workspace / f"data/{SOURCE}").rglob("*.*"))


@pytest.fixture
def undisturbed(clips: list[Path], workspace: Path, umc: Umc) -> dict[str, str]:
    """The shards that a run in one process makes."""
    assert umc(*COMMAND, "--output", "undisturbed").exit_code == 1
    assert len(shards(workspace / "undisturbed")) == N_SHARDS
    return shards(workspace / "undisturbed")


@contextmanager
def pipes_in_place_of(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Let actors wait for these recordings for ever, from when the run is planned; yield what fixes the recordings."""

    def mend() -> None:
        for path in paths:
            path.with_suffix(".away").replace(path)

    def settle(*arguments: Any, **options: Any) -> Any:
        settled = original(*arguments, **options)
        for path in paths:
            path.rename(path.with_suffix(".away"))
            os.mkfifo(path)
            # With a writer, who opens a pipe has it open while it waits for what is never written.
            writers.callback(os.close, os.open(path, os.O_RDWR))
        return settled

    original = workflow.settle_generations
    with ExitStack() as writers, monkeypatch.context() as context:
        context.setattr(workflow, "settle_generations", settle)
        yield mend


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Run `act` in a thread beside the block; it must end well."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    assert not failures, failures


def wait_for(number: int, found: Callable[[], list[Any]]) -> list[Any]:
    deadline = time.monotonic() + 120
    while len(things := found()) != number:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return things


@watches_processes
def test_shards_of_a_killed_actor_and_of_a_lost_node_are_made_by_others(
    clips: list[Path],
    undisturbed: dict[str, str],
    cluster: TwoNodes,
    workspace: Path,
    umc: Umc,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = workspace / "converted"
    with pipes_in_place_of(clips[-2:], monkeypatch) as mend:

        def kill_both() -> None:
            at_work = wait_for(2, lambda: cluster.actors_that_read(clips[-2:]))
            assert len(list(root.glob("*/*.h5"))) == N_SHARDS - 4
            cluster.lose_node()
            (left,) = wait_for(1, lambda: cluster.actors_that_read(clips[-2:]))
            assert left in at_work
            os.kill(left, signal.SIGKILL)
            mend()  # before another one has started

        with meanwhile(kill_both):
            run = umc(*COMMAND, "--cluster", cluster.address, "--json")
    cluster.add_node()
    assert run.exit_code == 1
    assert [entry["path"] for entry in run.json["failed"]] == [f"data/{SOURCE}/a/bad.flac"]
    assert sorted(run.json["warnings"]) == [
        f"a Ray actor was lost with shard-0000{index}.h5; another one took over" for index in (3, 4)
    ]
    assert shards(root) == undisturbed
    for name in ("run.json", "failed.csv"):
        assert (root / name).read_bytes() == (workspace / "undisturbed" / name).read_bytes()
    assert not leftovers(root)


@watches_processes
def test_a_shard_that_kills_its_actors_ends_the_run_and_the_next_run_goes_on(
    clips: list[Path],
    undisturbed: dict[str, str],
    cluster: TwoNodes,
    workspace: Path,
    umc: Umc,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = workspace / "converted"
    command = (*COMMAND, "--cluster", cluster.address)
    with pipes_in_place_of(clips[1:2], monkeypatch) as mend:

        def kill_three_times() -> None:
            killed: set[int] = set()
            wait_for(N_SHARDS - 2, lambda: list(root.glob("*/*.h5")))
            for _ in range(3):
                (pid,) = wait_for(1, lambda: [*{*cluster.actors_that_read(clips[1:2])} - killed])
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

        with meanwhile(kill_three_times):
            run = umc(*command)
        assert run.exit_code == 3
        said = " ".join(run.stderr.split())
        assert "3 Ray actors were lost with shard-00001.h5: " in said
        assert "the same command resumes" in said
        assert run.stdout == ""
        assert len(shards(root)) == N_SHARDS - 2
        mend()
    resumed = umc(*command, "--json")
    assert (resumed.json["n_shards_kept"], resumed.json["n_shards_written"]) == (N_SHARDS - 2, 2)
    assert shards(root) == undisturbed


@watches_processes
def test_ctrl_c_ends_the_actors(
    clips: list[Path],
    cluster: TwoNodes,
    workspace: Path,
    umc: Umc,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        wait_for(1, lambda: cluster.actors_that_read(clips[:1]))
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    try:
        with pipes_in_place_of(clips[:1], monkeypatch), meanwhile(interrupt):
            run = umc(*COMMAND, "--cluster", cluster.address)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert run.exit_code == 130
    assert "Interrupted" in run.stderr
    assert "Traceback" not in run.stderr
    wait_for(0, cluster.actors)
    with locked(workspace / "converted"):
        pass


def test_actors_write_the_audio_files_that_one_process_writes(
    clips: list[Path], cluster: TwoNodes, workspace: Path, umc: Umc
) -> None:
    command = (*COMMAND, "--write", "flac")
    assert umc(*command, "--output", "undisturbed").exit_code == 1
    run = umc(*command, "--cluster", cluster.address, "--json")
    assert (run.exit_code, run.json["n_audio_written"]) == (1, 2 * (len(clips) - 1))

    def contents(name: str) -> dict[str, bytes]:
        root = workspace / name
        found = [*root.rglob("*.flac"), *root.glob("*/audio-*.json"), root / "manifest.csv"]
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    assert contents("converted") == contents("undisturbed")


def test_actors_keep_the_network_and_its_failures_come_through(
    cluster: TwoNodes, workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "refiner", "--engine", "torch",
               "--precision", "fp32", "--shard-size", "2")  # fmt: skip
    assert umc(*command, "--output", "undisturbed").exit_code == 0
    assert umc(*command, "--cluster", cluster.address).exit_code == 0
    assert shards(workspace / "converted") == shards(workspace / "undisturbed")

    with safetensors.safe_open(SHIPPED_REFINER, "pt") as file:
        metadata = file.metadata()
    weights = safetensors.torch.load_file(SHIPPED_REFINER)
    weights.popitem()
    safetensors.torch.save_file(weights, workspace / "broken.safetensors", metadata)
    run = umc(*command, "--checkpoint", "broken.safetensors", "--output", "o", "--cluster", cluster.address)
    assert run.exit_code == 2
    assert f"{workspace / 'broken.safetensors'}" in "".join(run.stderr.split())


def test_no_actor_in_time_is_a_fault(cluster: TwoNodes, umc: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_LONGEST_WAIT_S", 1.0)
    monkeypatch.setattr(ray_cluster, "_BETWEEN_LOOKS_S", 0.5)
    run = umc(*COMMAND, "--cluster", cluster.address, "--workers", "64")
    assert run.exit_code == 3
    told = " ".join(run.stderr.split())
    assert "the Ray cluster gave no actor (num_cpus 64) within 1 s" in told
    assert "nodes: 2, of which none has more than CPU 1, GPU 0" in told
    assert "no node is large enough: ask for less with --workers (now 64), or add such a node" in told


def test_auto_starts_ray_on_this_machine(
    undisturbed: dict[str, str], cluster: TwoNodes, workspace: Path, umc: Umc
) -> None:
    # More reader threads than processors: Ray must not wait for a larger machine.
    run = umc(*COMMAND, "--cluster", "auto", "--workers", str(processor_count() + 1), "--json", "--quiet")
    assert run.json["n_shards_written"] == N_SHARDS
    assert shards(workspace / "converted") == undisturbed


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (("--cluster", "auto", "--part", "1/2"), 2, "--part and --cluster both divide the run"),
        (("--cluster", "somewhere"), 2, "--cluster 'somewhere' is not an address"),
        (("--cluster", "auto", "--compute-device", "cuda:1"), 2, "--compute-device cuda:1 cannot be chosen"),
    ],
)
def test_what_makes_no_sense_is_refused(umc: Umc, options: tuple[str, ...], exit_code: int, message: str) -> None:
    run = umc(*COMMAND, *options)
    assert run.exit_code == exit_code
    assert message in " ".join(run.stderr.split())


def test_a_cluster_that_does_not_answer_is_a_fault(umc: Umc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    run = umc(*COMMAND, "--cluster", f"127.0.0.1:{port}")
    assert run.exit_code == 3
    assert f"cannot join a Ray cluster at 127.0.0.1:{port}" in " ".join(run.stderr.split())


def test_without_ray_the_extra_is_named(umc: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run = umc(*COMMAND, "--cluster", "auto")
    assert run.exit_code == 2
    assert "pip install 'umc-cli[ray]'" in run.stderr


CPU_NODE, GPU_NODE = {"CPU": 6.0, "memory": 1e9}, {"CPU": 64.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "demand", "size"),
    [
        ([CPU_NODE, {"CPU": 13.0}], None, "auto", (0, 6), 3),
        ([{"CPU": 64.0}, {"CPU": 0.0}, {}], None, "auto", (0, 8), 8),
        ([CPU_NODE, CPU_NODE], 2, "auto", (0, 2), 6),
        ([GPU_NODE, CPU_NODE], None, "auto", (1, 8), 4),
        ([GPU_NODE, {"CPU": 4.0, "GPU": 2.0}], None, "auto", (1, 2), 6),
        ([GPU_NODE], 32, "auto", (1, 32), 2),
        ([GPU_NODE, CPU_NODE], None, "cpu", (0, 6), 11),
        ([CPU_NODE], None, "cuda", (1, 8), 1),  # and waits for a node to come
        ([], None, "auto", (0, 8), 1),
    ],
)
def test_an_actor_takes_a_gpu_or_some_processors(
    nodes: list[dict[str, float]], workers: int | None, device: str, demand: tuple[int, int], size: int
) -> None:
    gpus, cpus = demand
    assert ray_cluster._demand(nodes, workers, device) == ({"num_gpus": gpus, "num_cpus": cpus}, size)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """An order that needs no recordings."""
    registry = DeviceRegistry(tmp_path / "none: the library")
    records = {name: registry.get(name) for name in (SOURCE, TARGET)}
    return Order(
        root=tmp_path,
        inputs=tmp_path,
        segments=SegmentSettings(),
        stream=StreamSettings(batch_size=1, workers=1, dtype="float16", reader_timeout_s=60),
        conversion=Conversion("eq", Ingredients(SOURCE, (TARGET,), records, torch.device("cpu"))),
    )


def test_actors_compute_with_arrays_that_cannot_be_written_to(recwarn: pytest.WarningsRecorder) -> None:
    rng = np.random.default_rng(1)
    shapes = {"origin": 6400, "components": (2, 6400), "lowest": 2, "highest": 2, "matrix": (2, 2), "shift": 6400}
    transport = Transport(
        **{name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, strength=1
    )
    given = replace(
        ingredients(device("a", 0.0, -90.0), device("b", 3.0, -80.0)),
        level_quantiles={name: np.sort(rng.normal(-50, 20, (64, 80)), axis=0).astype(np.float32) for name in "ab"},
        transports={"b": transport},
        refiner=SHIPPED_REFINER,
    )
    log_mel = rng.uniform(-90, -20, (2, 80, 80)).astype(np.float32)
    torch.set_warn_always(True)  # torch warns once in a process
    try:
        for converter in ("quantile", "refiner_quantile", "refiner_transport"):
            here = Conversion(converter, given)
            buffers: list[pickle.PickleBuffer] = []
            sent = pickle.dumps(here, 5, buffer_callback=buffers.append)
            there = pickle.loads(sent, buffers=[bytes(one) for one in buffers])  # as Ray's store gives them
            assert not there.ingredients.level_quantiles["a"].flags.writeable
            assert torch.equal(there(log_mel)["b"], here(log_mel)["b"])
    finally:
        torch.set_warn_always(False)
    assert [str(warning.message) for warning in recwarn if "not writable" in str(warning.message)] == []


def test_an_actor_that_is_not_like_the_others_refuses_to_work(order: Order, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"does not see .*lock"):
        ShardActor(order).prepare(versions(), None)
    with locked(tmp_path):
        pass
    actor = ShardActor(order)
    assert actor.prepare(versions(), None) == {}
    with pytest.raises(EnvironmentFault, match=r"has umc .*, this machine umc 0\.0"):
        actor.prepare(versions() | {"umc": "0.0"}, None)
    with pytest.raises(SettingsError, match=r"would convert with nothing to choose, others with precision bf16"):
        actor.prepare(versions(), {"precision": "bf16"})
    with pytest.raises(EnvironmentFault, match=r"does not see .*elsewhere"):
        ShardActor(replace(order, inputs=tmp_path / "elsewhere")).prepare(versions(), None)


@pytest.fixture
def crew(order: Order) -> ray_cluster._Crew:
    """A crew without actors, whose head was last heard of long ago."""
    crew = ray_cluster._Crew(MagicMock(), ("127.0.0.1", 0), order, {}, 1, [])
    crew._head_answered_at = -1e9
    return crew


class LostError(Exception):
    """As Ray's, for an actor."""


class PlayedRay:
    """Actors on paper: `ends` plays what happens whenever the driver waits."""

    def __init__(self, *ends: dict[str, Any]) -> None:
        class Never(Exception):  # noqa: N818
            pass

        self.exceptions = SimpleNamespace(RayTaskError=Never, RayActorError=LostError, RayError=Never)
        self._ends = list(ends)
        self._outcomes: dict[str, Any] = {}
        self.n_actors = 0
        self.given: list[str] = []

    def remote(self, _: Any) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._hire))

    def _hire(self, _: Any) -> Any:
        self.n_actors += 1
        name = f"{self.n_actors}"

        def make(job: ShardJob) -> str:
            self.given.append(f"{name} {next(iter(job.paths.values())).stem}")
            return self.given[-1]

        return SimpleNamespace(
            prepare=SimpleNamespace(remote=lambda *_: f"{name} prepares"), make=SimpleNamespace(remote=make)
        )

    def wait(self, references: list[str], num_returns: int = 1, timeout: float = 0) -> tuple[list[str], list[str]]:
        if not self._outcomes.keys() & {*references}:
            self._outcomes |= self._ends.pop(0)
        found = [one for one in reversed(references) if one in self._outcomes][:num_returns]
        return found, [one for one in references if one not in found]

    def get(self, reference: str) -> Any:
        outcome = self._outcomes.pop(reference)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def kill(self, actor: Any) -> None: ...


def play(
    order: Order, monkeypatch: pytest.MonkeyPatch, size: int, *ends: dict[str, Any]
) -> tuple[list[str], list[str], int]:
    """Have shards 0 to 5 made; return what was given to whom, the warnings, and the segments that were counted."""
    played, warnings, counted = PlayedRay(*ends), [], Counter()
    monkeypatch.setattr(ray_cluster._Crew, "_look_at_head", lambda *_: None)
    monkeypatch.setattr(ray_cluster._Crew, "_look_for", lambda self, paths: [*paths] and None)
    crew = ray_cluster._Crew(played, ("", 0), order, {}, size, warnings)
    crew.describe()
    jobs = [ShardJob([], {TARGET: Path(f"{number}.h5")}, {}, [], "eq") for number in range(6)]
    crew.make(jobs, SimpleNamespace(advance=lambda target, count: counted.update({target: count})))
    return played.given, warnings, counted[TARGET]


MADE = {TARGET: 10}


def test_an_actor_gets_a_second_shard_while_more_wait_than_there_are_actors(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, warnings, count = play(
        order, monkeypatch, 2,
        {"1 prepares": {}}, {"2 prepares": {}}, {"1 0": MADE}, {"2 2": MADE}, {"1 1": MADE}, {"1 4": MADE},
        {"2 3": MADE}, {"1 5": MADE},
    )  # fmt: skip
    assert given == ["1 0", "1 1", "2 2", "2 3", "1 4", "1 5"]
    assert (warnings, count) == ([], 60)


def test_the_shards_of_a_lost_actor_are_made_alone_and_the_one_that_it_made_is_named(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = LostError("gone")
    given, warnings, count = play(
        order, monkeypatch, 1,
        {"1 prepares": {}}, {"1 0": MADE, "1 1": lost, "1 2": lost}, {"2 prepares": {}},
        {"2 3": MADE}, {"2 4": MADE}, {"2 5": MADE}, {"2 1": MADE}, {"2 2": lost}, {"3 prepares": {}}, {"3 2": MADE},
    )  # fmt: skip
    assert given == ["1 0", "1 1", "1 2", "2 3", "2 4", "2 5", "2 1", "2 2", "3 2"]
    assert warnings == [f"a Ray actor was lost with {index}.h5; another one took over" for index in (1, 2)]
    assert count == 60


def test_a_run_does_not_go_on_without_the_head(crew: ray_cluster._Crew) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        crew._head = server.getsockname()
        crew._look_at_head(20)
    crew._look_at_head(20)  # it has just answered
    crew._head_answered_at = -1e9
    with pytest.raises(EnvironmentFault, match=r"head of the Ray cluster at .* no longer answers"):
        crew._look_at_head(20)


def test_a_shard_that_is_not_seen_here_is_a_fault(
    crew: ray_cluster._Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, unseen = tmp_path / "seen.h5", tmp_path / "unseen.h5"
    seen.touch()
    crew._look_for([seen, unseen])
    crew._look_for([])
    monkeypatch.setattr(ray_cluster, "_LONGEST_UNSEEN_S", -1.0)
    with pytest.raises(EnvironmentFault, match=r"unseen\.h5 was written on another node but is not visible here"):
        crew._look_for([])
    unseen.touch()
    crew._look_for([])
