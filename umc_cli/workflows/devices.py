"""`umc devices`: what the workspace and the package know of devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umc_cli.config import Workspace
from umc_cli.errors import SettingsError
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.response.difference import fr_difference_db, level_difference_db, shared_trusted_range_hz


@dataclass(frozen=True)
class DevicesReport:
    """The devices that are known."""

    registry: str
    """Folder of the workspace's own records."""
    own: list[str]
    """Ids of the devices with a record there; the others are the library's."""
    replaced: list[str]
    """Those of `own` that the library knows too: the workspace's record is used."""
    devices: list[Device]


def list_devices(workspace: Workspace) -> DevicesReport:
    """Return all devices: the workspace's, and those of the package's library.

    Raises:
        SettingsError: a record is broken.
    """
    registry = DeviceRegistry(workspace.devices)
    return DevicesReport(str(workspace.devices), registry.own_ids(), registry.replaced_ids(), list(registry))


def show_device(workspace: Workspace, device_id: str) -> Device:
    """Return one device.

    Raises:
        SettingsError: the id is unknown or its record broken.
    """
    return DeviceRegistry(workspace.devices).get(device_id)


@dataclass(frozen=True)
class ComparedDevice:
    """How a device differs from the first one."""

    device: str
    fr_difference_db: tuple[float, ...]
    """This device minus the first, over 128 mel bands."""
    level_difference_db: float | None
    """How much louder it records the same sound; None where a sensitivity is unknown."""
    rms_db: float
    """Of the difference of shape, its mean left out, over the bands that both records trust."""
    largest_db: float
    """Of the same, the largest magnitude."""
    trusted_range_hz: tuple[float, float]
    """That both records trust."""


@dataclass(frozen=True)
class CompareReport:
    """Several devices next to the first of them."""

    devices: list[Device]
    compared: list[ComparedDevice]


def compare_devices(workspace: Workspace, device_ids: Sequence[str], figure: Path | None) -> CompareReport:
    """Compare devices with the first one named, and draw them if `figure` names a file.

    Raises:
        SettingsError: an id is unknown or there are fewer than two, records are over different bands, or the figure
            has an unknown suffix.
        EnvironmentFault: the figure cannot be written.
    """
    if len(device_ids) < 2:
        raise SettingsError("one device cannot be compared", "name two or more")
    registry = DeviceRegistry(workspace.devices)
    devices = [registry.get(device_id) for device_id in dict.fromkeys(device_ids)]
    if len(devices) < 2:
        raise SettingsError("a device cannot be compared with itself", "name two or more")
    report = CompareReport(devices, [_compared(devices[0], device) for device in devices[1:]])
    if figure is not None:
        from umc_cli.evaluation.report.figure_file import write_figure
        from umc_cli.evaluation.report.response_figure import DOTS_PER_INCH, Response, comparison_figure

        responses = [
            Response(device.id, device.band_centres_hz, device.frequency_response_db, device.trusted_range_hz)
            for device in devices
        ]
        differences = {f"{each.device} minus {devices[0].id}": each.fr_difference_db for each in report.compared}
        write_figure(figure, comparison_figure(responses, differences), DOTS_PER_INCH)
    return report


def _compared(first: Device, other: Device) -> ComparedDevice:
    difference_db = fr_difference_db(first, other)
    low, high = shared_trusted_range_hz(first, other)
    centres = np.array(first.band_centres_hz)
    shared = difference_db[(centres >= low) & (centres <= high)]
    if not len(shared):
        raise SettingsError(f"{first.id} and {other.id} have no trusted band in common", "measure one of them again")
    shape = shared - shared.mean()
    level = level_difference_db(first, other)
    return ComparedDevice(
        device=other.id,
        fr_difference_db=tuple(round(float(value), 2) + 0.0 for value in difference_db),
        level_difference_db=None if level is None else round(level, 2),
        rms_db=round(float(np.sqrt(np.mean(shape**2))), 2),
        largest_db=round(float(np.abs(shape).max()), 2),
        trusted_range_hz=(low, high),
    )
