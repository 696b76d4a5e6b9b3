"""Devices whose differences are known."""

from collections.abc import Sequence

import torch

from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.response.device import Device
from umc_cli.response.frequency_response import band_centres_hz


def device(
    device_id: str,
    response_db: Sequence[float] | float = 0.0,
    noise_floor_db: float | None = None,
    sensitivity_dbfs: float | None = None,
) -> Device:
    """Return a device with a given response [128], or one that is flat at a given level."""
    response = (response_db,) * 128 if isinstance(response_db, float) else tuple(response_db)
    return Device(
        id=device_id,
        name=device_id,
        method="simulated",
        sample_rate_hz=22_050,
        sensitivity_dbfs=sensitivity_dbfs,
        trusted_range_hz=(0.0, 11_025.0),
        band_centres_hz=tuple(band_centres_hz()),
        frequency_response_db=response,
        noise_floor_db=None if noise_floor_db is None else (noise_floor_db,) * 128,
    )


def ingredients(source: Device, *targets: Device) -> Ingredients:
    """Return what a converter is given for these devices."""
    return Ingredients(
        source=source.id,
        targets=tuple(target.id for target in targets),
        devices={one.id: one for one in (source, *targets)},
        torch_device=torch.device("cpu"),
    )
