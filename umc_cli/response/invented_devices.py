"""The targets `synth:N` and `synth:FILE` of `umc convert`: devices that do not exist."""

import re
from collections.abc import Collection
from pathlib import Path

from umc_cli.config import Workspace
from umc_cli.errors import SettingsError
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.response.flat_device import flat_device
from umc_cli.response.learned_responses import draw_from, responses_to_learn_from
from umc_cli.response.synthesis import DEFAULT_METHOD
from umc_cli.response.synthesis.drawing import method_settings
from umc_cli.response.synthesis_settings import FROM_DEVICES, LevelSettings
from umc_cli.response.synthetic_differences import SyntheticDifferences, invented_device, read_differences

_PREFIX = "synth:"
SEED = 0
"""Of `synth:N`; for another one, make a file."""


def unmeasured(device_id: str) -> Device:
    """Return what stands for a source that was never measured, next to invented targets: only differences count."""
    return flat_device(device_id, "Never measured: stands for a flat device, from which invented ones differ.")


def is_invented(target: str) -> bool:
    """Tell whether a target stands for invented devices."""
    return target.startswith(_PREFIX)


def invent_targets(
    targets: Collection[str], source: str, registry: DeviceRegistry, workspace: Workspace
) -> dict[str, tuple[Device, ...]]:
    """Return the devices that every target beginning with `synth:` stands for.

    They differ from the source as the differences say, so its own response need not be known: where it has no record,
    `unmeasured` stands for it.

    `synth:N` draws N differences by the default method, learned from the workspace's devices, with seed 0: the same
    ones each time, and `synth:5` begins with the devices of `synth:3`. `synth:FILE` reads them.

    Raises:
        SettingsError: it is neither a number from 1 nor a file, two sets are named, the source has no record and real
            targets are named too, an id is taken, or there are too few devices to learn from.
    """
    named = list(dict.fromkeys(target for target in targets if is_invented(target)))
    if not named:
        return {}
    if len(named) > 1:
        raise SettingsError(f"{' and '.join(named)} would give devices of the same names", "name one of them")
    if source not in registry and any(not is_invented(target) for target in targets):
        raise SettingsError(
            f"{source} has no record: next to {named[0]!r}, no real target can be named",
            f"name {named[0]} alone, or measure {source}",
        )
    drawn = _differences(named[0], workspace)
    record = registry.get(source) if source in registry else unmeasured(source)
    devices = tuple(invented_device(record, drawn, index) for index in range(len(drawn)))
    taken = next((device.id for device in devices if device.id in registry), None)
    if taken:
        raise SettingsError(f"a device record {taken!r} already exists", "rename it: invented devices use such ids")
    return {named[0]: devices}


def _differences(target: str, workspace: Workspace) -> SyntheticDifferences:
    wanted = target.removeprefix(_PREFIX)
    if re.fullmatch("[0-9]{1,9}", wanted) and int(wanted) > 0:
        responses = responses_to_learn_from(workspace, FROM_DEVICES)
        return draw_from(
            responses, DEFAULT_METHOD, method_settings(DEFAULT_METHOD, {}), LevelSettings(), int(wanted), SEED
        )
    try:
        is_file = Path(wanted).is_file()
    except OSError:  # the name is too long, or the folder is closed
        is_file = False
    if not is_file:
        raise SettingsError(
            f"target {target!r} is neither a number of devices from 1 nor a file of differences",
            "for example --targets synth:20, or synth:FILE with a file that `umc synth-fr --output FILE` wrote",
        )
    return read_differences(Path(wanted))
