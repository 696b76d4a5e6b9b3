"""Adaptation of a refiner to devices that recorded the same sounds side by side: the truth, without simulation.

A few hundred steps from trained weights, on random segments of all ordered pairs of devices, half of each batch from
either start, so that one set of weights serves both directions, all pairs and both refiners.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.config import Settings
from umc_cli.conversion.band_interpolation import noise_floor_db, to_log_mel_bands
from umc_cli.conversion.converter_training.pretraining import (
    RefinerBatch,
    log_spectral_loss,
    pretraining_step,
    start_from_eq_noise,
    start_from_quantile,
)
from umc_cli.conversion.converter_training.pretraining_settings import PretrainingSettings
from umc_cli.conversion.level_quantiles import QUANTILE_SHARES
from umc_cli.conversion.quantile_mapping import quantiles_by_band
from umc_cli.conversion.refiner_network import KnownPair, Refiner, refined
from umc_cli.response.device import Device

_WARM_UP_STEPS = 5
_MEASURED_AT_ONCE = 16
_MOST_MEASURED = 64
"""Held-out segments of an ordered pair, spread over all."""
_EMPTY_DB = 5.0
"""Bands whose levels all lie within this of the floor, on any device, are empty: recordings at 16 kHz end at 8 kHz."""

MEASURED = ("none", "eq_noise", "quantile", "refiner", "refiner_quantile")


class AdaptationSettings(Settings):
    """How a refiner is adapted."""

    steps: Annotated[int, Field(ge=1, le=100_000)] = 240
    batch_size: Annotated[int, Field(ge=2, multiple_of=2)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    seed: Annotated[int, Field(ge=0)] = 0
    bf16: bool = False
    """Multiply in half precision: faster on processors that have it."""


@dataclass(frozen=True)
class Together:
    """Segments that devices recorded at once, in step: D devices, N segments."""

    devices: tuple[str, ...]
    log_mel: Tensor
    """[D, N, 80, 80] float16, dB."""
    is_there: NDArray[np.bool_]
    """[D, N]: not every device need hold every segment."""
    is_held_out: NDArray[np.bool_]
    """[N]: to measure on; nothing is learned from these."""

    def rows(self, devices: Sequence[int], held_out: bool) -> NDArray[np.int64]:
        """Return the segments that all these devices hold."""
        return np.flatnonzero(self.is_there[list(devices)].all(axis=0) & (self.is_held_out == held_out))

    def levels(self, device: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return segments of one device. Shape: [n, 80, 80], dB."""
        return np.asarray(self.log_mel[device, torch.from_numpy(rows)].float().numpy())


@dataclass(frozen=True)
class DeviceKnowledge:
    """What converters know of the D devices."""

    level_db: Tensor
    """[D, 80, 1]: response and level together; the difference of two is the gain between them."""
    floor_db: Tensor
    """[D, 80, 1]."""
    quantiles_db: Tensor
    """[D, 80, 20]."""


def known_of(records: Sequence[Device], tables_db: Sequence[NDArray[np.float32]]) -> DeviceKnowledge:
    """Return what records and level tables ([20, 80] each) tell, as the converters take it."""
    cpu = torch.device("cpu")
    responses = [to_log_mel_bands(one.frequency_response_db, cpu) + (one.sensitivity_dbfs or 0.0) for one in records]
    floors = [noise_floor_db(one, cpu) for one in records]
    quantiles = [quantiles_by_band(table, cpu) for table in tables_db]
    return DeviceKnowledge(torch.stack(responses), torch.stack(floors), torch.stack(quantiles))


def level_table_db(levels_db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the quantiles of every band's levels, to 0.01 dB. Shape: [n, 80, 80] -> [20, 80]."""
    by_band = levels_db.transpose(1, 0, 2).reshape(levels_db.shape[1], -1)
    return np.asarray(np.quantile(by_band, QUANTILE_SHARES, axis=1).round(2).astype(np.float32))


def adapt(
    start: Refiner,
    together: Together,
    known: DeviceKnowledge,
    settings: AdaptationSettings,
    stepped: Callable[[int, Mapping[str, float]], None] = lambda step, losses: None,
) -> Refiner:
    """Return a copy of `start`, fine-tuned to the segments that are not held out. `stepped` is called after each step.

    Raises:
        NonFiniteLossError: the training failed.
    """
    refiner = deepcopy(start).requires_grad_(True).train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(refiner.parameters(), settings.learning_rate)
    random = np.random.default_rng(settings.seed)
    of_step = PretrainingSettings(refiner=start.settings, batch_size=settings.batch_size, bf16=settings.bf16)
    rows = {
        pair: found
        for pair in permutations(range(len(together.devices)), 2)
        if len(found := together.rows(pair, held_out=False))
    }
    for index in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _rate(index, settings.steps)
        pairs = random.permutation(settings.batch_size) % len(rows)
        chosen = [list(rows)[number] for number in pairs]
        drawn = np.array([random.choice(rows[pair]) for pair in chosen])
        sources, targets = np.array(chosen).T
        losses = pretraining_step(refiner, optimiser, _batch(together, known, sources, targets, drawn), of_step, index)
        stepped(index + 1, losses)
    return refiner.eval().requires_grad_(False)


def measure(refiner: Refiner, together: Together, known: DeviceKnowledge) -> dict[tuple[str, str], dict[str, float]]:
    """Return for every ordered pair of devices the mean log-spectral distances in dB on the segments held out.

    By the names in `MEASURED`; over the bands that are not empty on any device.
    """
    refiner = refiner.to(memory_format=torch.channels_last)
    bands = torch.from_numpy(heard_bands(known))
    found = {}
    for source, target in permutations(range(len(together.devices)), 2):
        rows = together.rows((source, target), held_out=True)
        if not len(rows):
            continue
        rows = rows[:: -(-len(rows) // _MOST_MEASURED)]
        sums = dict.fromkeys(MEASURED, 0.0)
        for first in range(0, len(rows), _MEASURED_AT_ONCE):
            some = rows[first : first + _MEASURED_AT_ONCE]
            of = np.full(len(some), source), np.full(len(some), target)
            for name, value in _distances(refiner, _batch(together, known, *of, some), bands).items():
                sums[name] += value * len(some)
        names = together.devices[source], together.devices[target]
        found[names] = {name: round(total / len(rows), 3) for name, total in sums.items()}
    return found


def heard_bands(known: DeviceKnowledge) -> NDArray[np.bool_]:
    """Tell which bands are not empty on any device. Shape: [80]."""
    return np.asarray((known.quantiles_db[:, :, -1] > FLOOR_DB + _EMPTY_DB).all(dim=0).numpy())


@torch.inference_mode()
def _distances(refiner: Refiner, batch: RefinerBatch, bands: Tensor) -> dict[str, float]:
    levels = {"none": batch.source}
    for name, begin in (("eq_noise", start_from_eq_noise), ("quantile", start_from_quantile)):
        maps, levels[name] = begin(batch)
        converted = refined(levels[name], refiner(maps.contiguous(memory_format=torch.channels_last)))
        levels["refiner" if name == "eq_noise" else "refiner_quantile"] = converted.clamp_min(FLOOR_DB)
    truth = batch.target[:, bands]
    return {name: log_spectral_loss(level[:, bands], truth).item() for name, level in levels.items()}


def _batch(
    together: Together,
    known: DeviceKnowledge,
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> RefinerBatch:
    source, target, row = map(torch.from_numpy, (sources, targets, rows))
    return RefinerBatch(
        source=together.log_mel[source, row].float(),
        target=together.log_mel[target, row].float(),
        pair=KnownPair(
            known.level_db[target] - known.level_db[source],
            known.floor_db[source],
            known.floor_db[target],
        ),
        source_quantiles_db=known.quantiles_db[source],
        target_quantiles_db=known.quantiles_db[target],
    )


def _rate(index: int, steps: int) -> float:
    """Return the share of the learning rate: it rises over a few steps and falls along half a cosine."""
    return min(1.0, (index + 1) / _WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * index / steps))
