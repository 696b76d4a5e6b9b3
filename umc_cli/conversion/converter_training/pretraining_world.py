"""Training material for the refiner: simulated worlds with what a converter knows of their devices, made ahead.

Worlds are made by other processes, in the order of their seeds, so that what is trained on does not depend on how fast
they come.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.conversion.converter_training.world_knowledge import Knowledge, exact_knowledge, ways_of_knowing
from umc_cli.errors import EnvironmentFault
from umc_cli.simulation.simulated_device import Waveform
from umc_cli.simulation.world import World, simulate_wide_world, simulate_world

_N_EXACT = 2
"""Level tables a device of the near family: a source's and a target's need not be of the same recordings."""
_TABLE_SHARE = (0.3, 0.9)
EITHER_HALF = 2
_READ_IN_STEPS = ("log_mel", "level_db", "floor_db", "quantiles_db")


@dataclass(frozen=True)
class TrainingWorld:
    """A world as the refiner's training takes it: D devices, N segments, and K ways of knowing the devices."""

    log_mel: Tensor
    """[D, N, 80, 80] float16, dB."""
    half: Tensor
    """[N] int64: 0 or 1, the half of the sounds that a segment is of."""
    learned_from: Tensor
    """[K] int64: the half that a way of knowing was learned from, to be used for segments of the other one; 2: both."""
    level_db: Tensor
    """[K, D, 80, 1]: response and sensitivity together; the difference of two is the gain between them."""
    floor_db: Tensor
    """[K, D, 80, 1]."""
    quantiles_db: Tensor
    """[K, D, 80, 20]."""

    def on(self, torch_device: torch.device) -> "TrainingWorld":
        """Return the world with its segments and what is known of the devices there; what chooses rows stays here."""
        there = {name: getattr(self, name).to(torch_device) for name in _READ_IN_STEPS}
        return replace(self, **there)

    def rows_for(self, way: int) -> Tensor:
        """Return the segments that this way of knowing was not learned from."""
        learned_from = self.learned_from[way]
        return torch.nonzero((self.half != learned_from) | (learned_from == EITHER_HALF)).flatten()


@dataclass(frozen=True)
class WorldSettings:
    """Size and family of a world."""

    n_devices: int
    n_sounds: int
    family: Literal["near", "wide"] = "near"


def make_training_world(
    sounds: Sequence[Waveform],
    responses_db: NDArray[np.float64],
    settings: WorldSettings,
    seed: int,
    groups: Sequence[str] | None = None,
) -> TrainingWorld:
    """Simulate a world and note what is known of it; equal seeds give equal worlds.

    `groups`: see `simulate_wide_world`; default: all sounds are of one.
    """
    n_devices, n_sounds = settings.n_devices, settings.n_sounds
    if settings.family == "near":
        world = simulate_world(sounds, responses_db, n_devices, n_sounds, seed)
        half = torch.zeros(world.log_mel.shape[1], dtype=torch.int64)
        return _training_world(world, half, {EITHER_HALF: _exactly(world, seed)})
    world = simulate_wide_world(sounds, groups or [""] * len(sounds), responses_db, n_devices, n_sounds, seed)
    random = np.random.default_rng([seed, 1])
    order = random.permutation(int(world.sounds.max()) + 1)
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    half = torch.from_numpy(np.isin(world.sounds.numpy(), halves[1]).astype(np.int64))
    return _training_world(world, half, {index: ways_of_knowing(world, halves[index], random) for index in (0, 1)})


def _training_world(world: World, half: Tensor, ways: Mapping[int, Sequence[Knowledge]]) -> TrainingWorld:
    known = [one for of_half in ways.values() for one in of_half]
    return TrainingWorld(
        log_mel=world.log_mel,
        half=half,
        learned_from=torch.tensor([index for index, of_half in ways.items() for _ in of_half]),
        level_db=torch.stack([one.level_db for one in known]),
        floor_db=torch.stack([one.floor_db for one in known]),
        quantiles_db=torch.stack([one.quantiles_db for one in known]),
    )


def _exactly(world: World, seed: int) -> list[Knowledge]:
    """Return the records as they are, with level tables from random stretches of the recordings."""
    n_segments = world.log_mel.shape[1]
    known = []
    for number in range(_N_EXACT):
        random = np.random.default_rng([seed + number, 1])
        first, count = random.integers(n_segments), max(1, round(n_segments * random.uniform(*_TABLE_SHARE)))
        rows = (first + np.arange(count)) % n_segments
        known.append(exact_knowledge(world, [rows] * len(world.devices)))
    return known


class WorldSource:
    """Hands out the worlds of seeds first, first + 1, ...; some are made ahead by other processes."""

    def __init__(
        self,
        sounds: Sequence[Waveform],
        responses_db: NDArray[np.float64],
        settings: WorldSettings,
        *,
        seed: int,
        workers: int,
        groups: Sequence[str] | None = None,
    ) -> None:
        self._seed = seed
        self._ahead = workers + 1
        self._waiting: dict[int, Future[list[NDArray[Any]]]] = {}
        # Not forked: a fork of a process that computes with threads may hang.
        self._pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _remember, (sounds, responses_db, settings, groups)
        )

    def __enter__(self) -> "WorldSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def get(self, number: int) -> TrainingWorld:
        """Return world `number`, counted from 0; the next ones are begun.

        Raises:
            EnvironmentFault: a process that makes worlds was ended from outside.
        """
        try:
            for wanted in range(number, number + self._ahead):
                if wanted not in self._waiting:
                    self._waiting[wanted] = self._pool.submit(_make, self._seed + wanted)
            return TrainingWorld(*map(torch.from_numpy, self._waiting.pop(number).result()))
        except BrokenProcessPool as error:
            raise EnvironmentFault(
                "a process that simulates devices ended before it was done",
                "the system ends processes when memory runs out: resume with --resume and fewer --workers",
            ) from error


_material: tuple[Sequence[Waveform], NDArray[np.float64], WorldSettings, Sequence[str] | None]


def _remember(
    sounds: Sequence[Waveform],
    responses_db: NDArray[np.float64],
    settings: WorldSettings,
    groups: Sequence[str] | None,
) -> None:
    """Begin a worker: Ctrl-C is for the process that trains, and no worker outlives that one."""
    global _material
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="umc-parent", daemon=True).start()
    torch.set_num_threads(1)
    _material = (sounds, responses_db, settings, groups)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _make(seed: int) -> list[NDArray[Any]]:
    """Return the fields of a world; tensors would travel through shared memory, of which containers have little."""
    sounds, responses_db, settings, groups = _material
    world = make_training_world(sounds, responses_db, settings, seed, groups)
    return [getattr(world, field.name).numpy() for field in fields(TrainingWorld)]
