"""Which devices a training learns from, their records and their recordings that converters may learn from."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from umc_cli.audio.manifest import Clip, FailedInput, find_recordings, for_converters
from umc_cli.config import Workspace
from umc_cli.errors import SettingsError, guess
from umc_cli.response.device import Device, DeviceRegistry, is_device_id
from umc_cli.splits import FOR_CONVERTERS


@dataclass(frozen=True)
class TrainingDevices:
    """The devices in a fixed order: alphabetical, or that of a pair."""

    records: tuple[Device, ...]
    clips: dict[str, list[Clip]]
    """By device, in the order of `records`."""
    failed: tuple[FailedInput, ...]
    warnings: tuple[str, ...]


def find_training_devices(workspace: Workspace, named: Sequence[str], pair: str | None) -> TrainingDevices:
    """Return the devices that `pair` (`A:B`) or `named` names; without both, all that have recordings to train on.

    Raises:
        SettingsError: a device has no recordings or no record, there are fewer than two, or see `find_recordings`.
    """
    found = find_recordings(workspace.data, workspace.splits)
    clips: dict[str, list[Clip]] = defaultdict(list)
    for clip in for_converters(found.clips):
        clips[clip.device].append(clip)
    usable = sorted(device for device in clips if is_device_id(device))
    chosen = _split_pair(pair) if pair else list(dict.fromkeys(named)) or usable
    for device in chosen:
        if device not in usable:
            raise SettingsError(
                f"there are no recordings of {device!r} in split {FOR_CONVERTERS} in {workspace.data}",
                f"{guess(device, usable)}there are recordings of: {', '.join(usable) or 'no device'}",
            )
    if len(chosen) < 2:
        raise SettingsError(
            f"training needs recordings of at least two devices; found: {', '.join(chosen) or 'none'}",
            f"add recordings to {workspace.data}/<device>/<label>/ (split {FOR_CONVERTERS})",
        )
    registry = DeviceRegistry(workspace.devices)
    without = [device for device in chosen if device not in registry]
    if without:
        raise SettingsError(
            f"no frequency response is known for {', '.join(without)}",
            f"add {workspace.devices / without[0]}.json, or name the devices to train on with --devices",
        )
    return TrainingDevices(
        records=tuple(registry.get(device) for device in chosen),
        clips={device: clips[device] for device in chosen},
        failed=found.failed,
        warnings=(
            *found.warnings,
            *(
                f"recordings of {device!r} are left out: that is not a device id"
                for device in sorted(clips)
                if not is_device_id(device)
            ),
        ),
    )


def _split_pair(pair: str) -> list[str]:
    devices = pair.split(":")
    if len(devices) != 2 or not all(devices) or devices[0] == devices[1]:
        raise SettingsError(f"{pair!r} is not a pair of devices", "write two device ids with a colon between them: A:B")
    return devices
