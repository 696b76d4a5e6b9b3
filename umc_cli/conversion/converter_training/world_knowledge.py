"""What a user would know of the devices of a simulated world: exactly, or as estimates with their errors.

A converter is given a record (level over frequency, noise floor) and level tables. A record may have been measured, or
estimated from recordings, by the same functions that `umc measure-ir --blind` uses; a table may rest on many sounds or
few, of both devices the same or not. All of it is learned from one half of a world's sounds, and what is converted is
of the other half, as for users: tables of the very segments that are converted would earn more trust than they deserve.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.band_interpolation import noise_floor_db, to_log_mel_bands
from umc_cli.conversion.level_quantiles import QUANTILE_SHARES
from umc_cli.errors import InputError
from umc_cli.response.blind_response import LEAST_RECORDINGS, blind_difference, long_term_spectra
from umc_cli.response.device import Device
from umc_cli.simulation.world import World

_FEW_SOUNDS = 6
_OTHER_SHARE = 0.5
"""Of a half's sounds that one device was learned from where devices were learned from different ones."""
_MEASURED_RIPPLE_DB = 1.0
_MEASURED_LEVEL_DB = 1.5
_BLIND_LEVEL_DB = 0.7
_FLOOR_DB = 1.5
_LOW_FLOOR_SHARE = 0.3
_LOW_FLOOR_DB = (-7.0, -1.0)
"""Floors from recordings without a pause, or with too few frames of silence."""
_KNOTS = 8


@dataclass(frozen=True)
class Knowledge:
    """One way of knowing the D devices of a world."""

    level_db: Tensor
    """[D, 80, 1]: response and level together; the difference of two devices is the gain between them."""
    floor_db: Tensor
    """[D, 80, 1]."""
    quantiles_db: Tensor
    """[D, 80, 20]."""


def exact_knowledge(world: World, rows: Sequence[NDArray[np.int64]]) -> Knowledge:
    """Return the records without error, and tables of the segments `rows` (of each device)."""
    cpu = torch.device("cpu")
    responses = torch.stack([to_log_mel_bands(device.frequency_response_db, cpu) for device in world.devices])
    return Knowledge(
        level_db=responses + _sensitivities_db(world.devices),
        floor_db=torch.stack([noise_floor_db(device, cpu) for device in world.devices]),
        quantiles_db=_tables(world, rows),
    )


def ways_of_knowing(world: World, half: NDArray[np.int64], random: np.random.Generator) -> list[Knowledge]:
    """Return four ways of knowing the devices from the sounds `half`: measured with errors; blind from the same
    sounds; blind from other sounds for every device; blind from few sounds.
    """
    n_devices = len(world.devices)
    owners = world.sounds.numpy()
    everything = [half] * n_devices
    n_other = max(LEAST_RECORDINGS, round(_OTHER_SHARE * len(half)))
    other = [random.permutation(half)[:n_other] for _ in range(n_devices)]
    few = [random.permutation(half)[:_FEW_SOUNDS]] * n_devices
    known = [_measured(world, _rows(owners, everything), random)]
    for sounds in (everything, other, few):
        known.append(_blind(world, sounds, random))
    return [_with_floor_errors(one, random) for one in known]


def _measured(world: World, rows: Sequence[NDArray[np.int64]], random: np.random.Generator) -> Knowledge:
    exact = exact_knowledge(world, rows)
    n_devices, n_bands, _ = exact.level_db.shape
    knots = random.normal(0, random.uniform(0, 2 * _MEASURED_RIPPLE_DB), (n_devices, _KNOTS))
    places = np.linspace(0, _KNOTS - 1, n_bands)
    ripple = np.stack([np.interp(places, np.arange(_KNOTS), one) for one in knots])
    error = ripple + random.normal(0, _MEASURED_LEVEL_DB, (n_devices, 1))
    return Knowledge(exact.level_db + _column(error), exact.floor_db, exact.quantiles_db)


def _blind(world: World, sounds: Sequence[NDArray[np.int64]], random: np.random.Generator) -> Knowledge:
    """Return what the recordings of these sounds (of each device) tell, all devices relative to the first."""
    owners = world.sounds.numpy()
    rows = _rows(owners, sounds)
    exact = exact_knowledge(world, rows)
    try:
        spectra = [
            long_term_spectra([("", _frames(world.log_mel[index, owners == sound])) for sound in of_device])
            for index, of_device in enumerate(sounds)
        ]
        differences = np.stack([blind_difference(spectra[0], one).difference_db for one in spectra])
    except InputError:  # nothing of it rises above the noise
        return exact
    differences += random.normal(0, _BLIND_LEVEL_DB, (len(sounds), 1))
    floors = np.stack([np.maximum(one.noise_floor_db, FLOOR_DB) for one in spectra])
    return Knowledge(_column(differences), _column(floors), exact.quantiles_db)


def _with_floor_errors(known: Knowledge, random: np.random.Generator) -> Knowledge:
    n_devices = len(known.floor_db)
    error = random.normal(0, _FLOOR_DB, (n_devices, 1))
    is_low = random.random((n_devices, 1)) < _LOW_FLOOR_SHARE
    error += np.where(is_low, random.uniform(*_LOW_FLOOR_DB, (n_devices, 1)), 0)
    floor_db = (known.floor_db + _column(error)).clamp_min(FLOOR_DB)
    return Knowledge(known.level_db, floor_db, known.quantiles_db)


def _tables(world: World, rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """Return level tables. Shape: segments of each device -> [D, 80, 20], dB."""
    tables = []
    for index, of_device in enumerate(rows):
        levels = world.log_mel[index, of_device].float().permute(1, 0, 2).flatten(1).numpy()  # [80, n * 80]
        tables.append(np.quantile(levels, QUANTILE_SHARES, axis=1).astype(np.float32).T)
    return torch.from_numpy(np.stack(tables))


def _rows(owners: NDArray[np.int64], sounds: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(np.isin(owners, of_device)) for of_device in sounds]


def _frames(segments: Tensor) -> NDArray[np.float32]:
    """Shape: [n, 80, 80] -> [80, n * 80]."""
    return segments.float().permute(1, 0, 2).flatten(1).numpy()


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, :, None]


def _sensitivities_db(devices: Sequence[Device]) -> Tensor:
    return torch.tensor([device.sensitivity_dbfs or 0.0 for device in devices])[:, None, None]
