"""Which converter can serve which targets, with what is known of the devices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from umc_cli.audio.manifest import CONVERSION_SPLIT
from umc_cli.checkpoint import read_checkpoint
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Need
from umc_cli.conversion.refiner_checkpoint import KIND as REFINER_KIND
from umc_cli.conversion.refiner_checkpoint import SHIPPED_REFINER
from umc_cli.errors import SettingsError
from umc_cli.response.device import Device

DEFAULT_ORDER = ("refiner_quantile", "quantile", "refiner", "eq_noise", "eq")
"""What `auto` prefers, best first (measured: docs/decisions.md)."""


@dataclass(frozen=True)
class Known:
    """What the workspace knows."""

    devices: Mapping[str, Device]
    recorded: frozenset[str]
    """Devices with recordings in the split `train-mc`."""
    checkpoint: Path
    """Of a generator."""
    refiner: Path = SHIPPED_REFINER
    """Checkpoint of a refiner."""

    def lacks(self, need: Need, device: str) -> str | None:
        """Name what is missing for `need`, if anything."""
        record = self.devices.get(device)
        if need is Need.CHECKPOINT:
            return None if self.checkpoint.is_file() else f"a checkpoint at {self.checkpoint}"
        if need is Need.REFINER:
            return None if self.refiner.is_file() else f"a refiner at {self.refiner}"
        if need is Need.RECORDINGS:
            return None if device in self.recorded else f"recordings of {device} in split {CONVERSION_SPLIT}"
        if record is None:
            return f"a device record of {device}"
        if need is Need.NOISE_FLOOR and record.noise_floor_db is None:
            return f"a noise floor in the record of {device}"
        return None


def find_checkpoints(folder: Path, given: Path | None) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the checkpoints as `Known` names them, and the converters that `given` is for, best first.

    `folder`: the workspace's, which is asked for what `given` is not.

    Raises:
        SettingsError: `given` cannot be read.
    """
    checkpoints = {"checkpoint": folder / "generator.safetensors"}
    if (folder / "refiner.safetensors").is_file():
        checkpoints["refiner"] = folder / "refiner.safetensors"
    if given is None:
        return checkpoints, ()
    is_refiner = read_checkpoint(given).metadata.get("kind") == REFINER_KIND
    checkpoints["refiner" if is_refiner else "checkpoint"] = given
    return checkpoints, ("refiner_quantile", "refiner") if is_refiner else ("film_gan",)


@dataclass(frozen=True)
class Choice:
    """The converter, its targets, and why."""

    converter: str
    targets: tuple[str, ...]
    reason: str
    left_out: Mapping[str, str]
    """Targets that `all` would mean but that this converter cannot serve, and what is missing."""


def choose(
    names: tuple[str, ...], source: str, targets: tuple[str, ...] | None, candidates: Iterable[str], known: Known
) -> Choice:
    """Choose the converter and the targets.

    `names`: keys of CONVERTERS, best first; the one that serves most targets is taken, the better one of equals.
    `targets`: None means all candidates that the converter can serve.

    Raises:
        SettingsError: something is missing; the message says what, and the hint which converters would work.
    """
    wanted = tuple(targets if targets is not None else sorted(set(candidates) - {source}))
    if not wanted:
        raise SettingsError(f"there is no device beside {source} to convert to", "add devices, see `umc devices`")
    missing = {name: _missing(name, source, wanted, known) for name in CONVERTERS}
    served = {name: [target for target in wanted if target not in missing[name]] for name in CONVERTERS}
    best = max(names, key=lambda name: (len(served[name]), -names.index(name)))
    if not served[best] or (targets is not None and missing[best]):
        raise SettingsError(_what_is_missing(names, missing), _what_would_work(wanted, missing))
    return Choice(
        converter=best,
        targets=tuple(served[best]),
        reason=_reason(best, names, len(wanted), served),
        left_out=missing[best],
    )


def _missing(name: str, source: str, wanted: Iterable[str], known: Known) -> dict[str, str]:
    """Say for every target that `name` cannot serve what is missing."""
    needs = sorted(CONVERTERS[name].needs)

    def first_gap(devices: tuple[str, ...]) -> str | None:
        gaps = (known.lacks(need, device) for need in needs for device in devices)
        return next((gap for gap in gaps if gap), None)

    gaps = {target: first_gap((source, target)) for target in wanted}
    return {target: gap for target, gap in gaps.items() if gap}


def _reason(best: str, names: tuple[str, ...], n_wanted: int, served: Mapping[str, list[str]]) -> str:
    if len(names) == 1:
        return "asked for"
    better = names[: names.index(best)]

    def count(name: str) -> str:
        return f"{len(served[name])} of {n_wanted} targets"

    parts = [f"{name} could serve {count(name)}" for name in better]
    return "; ".join([f"the best that serves {count(best)}", *parts])


def _what_is_missing(names: Iterable[str], missing: Mapping[str, Mapping[str, str]]) -> str:
    parts = []
    for name in names:
        gaps = sorted(set(missing[name].values()))
        more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
        parts.append(f"converter {name} lacks {', '.join(gaps[:3])}{more}")
    return "; ".join(parts)


def _what_would_work(wanted: tuple[str, ...], missing: Mapping[str, Mapping[str, str]]) -> str:
    working = [name for name, gaps in missing.items() if not gaps]
    if working:
        return f"these would work: {', '.join(working)} (--converter {working[0]})"
    partly = [
        f"{name} for {len(wanted) - len(gaps)} of {len(wanted)} targets"
        for name, gaps in missing.items()
        if len(gaps) < len(wanted)
    ]
    if partly:
        return f"would work: {'; '.join(partly)}"
    return "no converter would work: add records to devices/ or recordings to data/"
