"""What makes shards on a node of a cluster: the order that it gets, and the actor that carries it out. Knows no Ray.

Loads torch when an actor is made.
"""

import socket
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.weights_in_words import made_with_in_words
from umc_cli.conversion.shard_job import ShardJob, StreamSettings
from umc_cli.conversion.waveforms.jobs import AudioJob, make_audio
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.runtime import explain_machine_faults, versions
from umc_cli.shards.run_folder import LOCK_NAME


@dataclass(frozen=True)
class Order:
    """All but the jobs that actors need to know. Plain data: it travels to other machines."""

    root: Path
    """Output folder."""
    inputs: Path
    """What relative paths of the plan start from."""
    segments: SegmentSettings
    stream: StreamSettings
    conversion: Conversion


def for_actors(order: Order, cpus: int, on_gpu: bool) -> Order:
    """Return the order as it reads on other machines, for actors with so many processors, and a GPU or none."""
    conversion = order.conversion.computed_by(cpus, "cuda" if on_gpu else "cpu").for_other_machines()
    return replace(order, root=order.root.absolute(), conversion=conversion, stream=replace(order.stream, workers=cpus))


SHARDS_AT_ONCE = 2
"""In an actor: one is converted; of the other, recordings are read or rows written."""


class ShardActor:
    """Runs on a node of the cluster: keeps the converter and makes shards, each in a thread that calls `make`."""

    def __init__(self, order: Order) -> None:
        import torch

        torch.set_num_threads(1)  # as in a run without a cluster; only a generator's engine takes more
        self._order = replace(order, conversion=order.conversion.on_this_machine())
        self._turn = threading.Lock()
        """To convert."""

    @explain_machine_faults("lower --batch-size")
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
                f"{node} has {made_with_in_words(versions())}, this machine {made_with_in_words(their_versions)}",
                "install the same versions on all nodes",
            )
        _ = self._order.conversion.built
        own = self._order.conversion.made_with
        if made_with is not None and own != made_with:
            raise SettingsError(
                f"{node} would convert with {made_with_in_words(own)}, others with {made_with_in_words(made_with)}",
                "choose settings that all nodes support, for example --engine torch --precision fp32",
            )
        return own

    @explain_machine_faults("lower --batch-size")
    def make(self, job: ShardJob | AudioJob) -> dict[str, int]:
        """Make a shard, or the audio files of one, and return how many segments each target got.

        Raises:
            UmcError: see `conversion.streaming.stream`.
        """
        order, counts = self._order, _Counts()
        if isinstance(job, AudioJob):
            with self._turn:
                make_audio(
                    job, order.inputs, order.conversion, order.stream.workers, order.stream.reader_timeout_s, counts
                )
            return dict(counts.segments)
        from umc_cli.conversion.streaming import stream

        converter, device = order.conversion.built, order.conversion.torch_device
        stream([job], order.inputs, order.segments, order.stream, converter, device, counts, self._turn)
        return dict(counts.segments)


class _Counts:
    def __init__(self) -> None:
        self.segments: Counter[str] = Counter()

    def advance(self, target: str, n_segments: int) -> None:
        """Count converted segments of one target."""
        self.segments[target] += n_segments
