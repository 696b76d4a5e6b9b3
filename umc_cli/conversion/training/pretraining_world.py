"""Training material for the refiner: simulated worlds with what a converter knows of their devices, made ahead.

Worlds are made by other processes, in the order of their seeds, so that what is trained on does not depend on how fast
they come.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.conversion.band_interpolation import noise_floor_db, to_log_mel_bands
from umc_cli.conversion.level_quantiles import QUANTILE_SHARES
from umc_cli.errors import EnvironmentFault
from umc_cli.simulation.simulated_device import Waveform
from umc_cli.simulation.world import World, simulate_world

N_TABLES = 2
"""Level tables a device, from different parts of its recordings: a source's and a target's need not be of the same."""
_TABLE_SHARE = (0.3, 0.9)


@dataclass(frozen=True)
class TrainingWorld:
    """A world as the refiner's training takes it. D devices, N segments."""

    log_mel: Tensor
    """[D, N, 80, 80] float16, dB."""
    level_db: Tensor
    """[D, 80, 1]: response and sensitivity together; the difference of two is the gain between them."""
    floor_db: Tensor
    """[D, 80, 1]."""
    quantiles_db: Tensor
    """[N_TABLES, D, 80, 20]."""


@dataclass(frozen=True)
class WorldSettings:
    """Size of a world."""

    n_devices: int
    n_sounds: int


def make_training_world(
    sounds: Sequence[Waveform], responses_db: NDArray[np.float64], settings: WorldSettings, seed: int
) -> TrainingWorld:
    """Simulate a world and note what is known of it; equal seeds give equal worlds."""
    world = simulate_world(sounds, responses_db, settings.n_devices, settings.n_sounds, seed)
    cpu = torch.device("cpu")
    responses = torch.stack([to_log_mel_bands(device.frequency_response_db, cpu) for device in world.devices])
    sensitivities = torch.tensor([device.sensitivity_dbfs or 0.0 for device in world.devices])[:, None, None]
    return TrainingWorld(
        log_mel=world.log_mel,
        level_db=responses + sensitivities,
        floor_db=torch.stack([noise_floor_db(device, cpu) for device in world.devices]),
        quantiles_db=torch.stack([_tables(world, seed + number) for number in range(N_TABLES)]),
    )


def _tables(world: World, seed: int) -> Tensor:
    """Return level tables of all devices, from a random stretch of their recordings. Shape: [D, 80, 20], dB."""
    random = np.random.default_rng([seed, 1])
    n_segments = world.log_mel.shape[1]
    first, count = random.integers(n_segments), max(1, round(n_segments * random.uniform(*_TABLE_SHARE)))
    rows = (first + np.arange(count)) % n_segments
    levels = world.log_mel[:, rows].float().permute(0, 2, 1, 3).flatten(2).numpy()  # [D, 80, count * 80]
    quantiles = np.quantile(levels, QUANTILE_SHARES, axis=2).astype(np.float32)  # [20, D, 80]
    return torch.from_numpy(quantiles).permute(1, 2, 0).contiguous()


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
    ) -> None:
        self._seed = seed
        self._ahead = workers + 1
        self._waiting: dict[int, Future[list[NDArray[np.float32]]]] = {}
        # Not forked: a fork of a process that computes with threads may hang.
        self._pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _remember, (sounds, responses_db, settings)
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
                "a process that simulates devices ended before its work did",
                "where memory is short the system ends processes: go on with --resume and fewer --workers",
            ) from error


_material: tuple[Sequence[Waveform], NDArray[np.float64], WorldSettings]


def _remember(sounds: Sequence[Waveform], responses_db: NDArray[np.float64], settings: WorldSettings) -> None:
    """Begin a worker: Ctrl-C is for the process that trains, and no worker outlives that one."""
    global _material
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="umc-parent", daemon=True).start()
    torch.set_num_threads(1)
    _material = (sounds, responses_db, settings)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _make(seed: int) -> list[NDArray[np.float32]]:
    """Return the fields of a world; tensors would travel through shared memory, of which containers have little."""
    world = make_training_world(*_material, seed)
    return [getattr(world, field.name).numpy() for field in fields(TrainingWorld)]
