"""What a list of targets means: `all`, device ids, `synth:N` or `synth:FILE`. Read here and nowhere else."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from umc_cli.config import ALL, Workspace, means_all
from umc_cli.errors import SettingsError
from umc_cli.response.device import Device, DeviceRegistry, check_device_id, unknown_device
from umc_cli.response.invented_devices import invent_targets, is_invented, unmeasured


@dataclass(frozen=True)
class Targets:
    """The devices that were asked for."""

    ids: tuple[str, ...]
    """In the order in which they were named; in alphabetical order where all are meant."""
    is_all: bool
    """Nobody named them: those that cannot be served are left out."""
    invented: dict[str, Device] = field(default_factory=dict)
    """Records that no file holds, by id: of the devices that do not exist, and of a source that was not measured."""


def names_invented(names: Iterable[str]) -> bool:
    """Tell whether invented devices are among the names."""
    return any(map(is_invented, names))


def read_targets(
    names: Sequence[str], source: str, everything: Iterable[str], known: Collection[str] | None = None
) -> Targets:
    """Return the devices that `names` mean.

    `everything`: what `all` means, the source left out. `known`: the devices that may be named; None: those in
    `everything`.

    Raises:
        SettingsError: no target is named, one is unknown, or one is the source itself.
    """
    if not names:
        raise SettingsError("no target is named", "use --targets all, or comma-separated device ids")
    everything = tuple(dict.fromkeys(everything))
    if means_all(names):
        return Targets(tuple(sorted(set(everything) - {source})), is_all=True)
    allowed = set(everything if known is None else known)
    for name in names:
        if name == source:
            raise SettingsError(
                f"target {name!r} is the source itself",
                "leave it out of --targets; umc convert --with-source keeps its recordings as they are",
            )
        if check_device_id(name) not in allowed:
            if name.lower() in ALL:
                raise SettingsError(
                    f"target {name!r} stands for no device", "write --targets all, and nothing beside it"
                )
            raise unknown_device(name, allowed - {source})
    return Targets(tuple(dict.fromkeys(names)), is_all=False)


def read_targets_or_invent(
    names: Sequence[str], source: str, recorded: Collection[str], registry: DeviceRegistry, workspace: Workspace
) -> Targets:
    """Return the devices that `names` mean, invented ones among them: `synth:N` and `synth:FILE`.

    `recorded`: devices with recordings.

    Raises:
        SettingsError: see `read_targets` and `response.invented_devices.invent_targets`.
    """
    invented = invent_targets(names, source, registry, workspace)
    expanded = list(
        chain.from_iterable([device.id for device in invented[name]] if name in invented else [name] for name in names)
    )
    records = {device.id: device for devices in invented.values() for device in devices}
    known = {*registry.ids(), *recorded, *records}
    read = read_targets(expanded, source, registry.others(source, recorded), known)
    stand_in = {source: unmeasured(source)} if invented and source not in registry else {}
    return Targets(read.ids, read.is_all, records | stand_in)
