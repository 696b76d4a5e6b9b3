"""`umc devices`: what the workspace and the package know of devices."""

from dataclasses import dataclass

from umc_cli.config import Workspace
from umc_cli.response.device import Device, DeviceRegistry


@dataclass(frozen=True)
class DevicesReport:
    """The registry's devices."""

    registry: str
    """Folder of the records."""
    is_library: bool
    """The workspace has no records of its own, so these are the package's."""
    devices: list[Device]


def list_devices(workspace: Workspace) -> DevicesReport:
    """Return all devices of the workspace's registry.

    Raises:
        SettingsError: a record is broken.
    """
    registry = DeviceRegistry(workspace.devices)
    return DevicesReport(str(registry.folder), registry.is_library, list(registry))


def show_device(workspace: Workspace, device_id: str) -> Device:
    """Return one device.

    Raises:
        SettingsError: the id is unknown or its record broken.
    """
    return DeviceRegistry(workspace.devices).get(device_id)
