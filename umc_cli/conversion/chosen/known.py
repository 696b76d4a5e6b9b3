"""What a workspace knows of its devices, and what a converter lacks. Judged here and nowhere else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from umc_cli.audio.manifest import CONVERSION_SPLIT, Recordings
from umc_cli.checkpoint import read_checkpoint
from umc_cli.config import Workspace
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Need
from umc_cli.conversion.refiner_checkpoint import KIND as REFINER_KIND
from umc_cli.conversion.refiner_checkpoint import SHIPPED_REFINER
from umc_cli.response.device import Device, is_device_id


@dataclass(frozen=True)
class Known:
    """What can be known of devices before anything is computed."""

    devices: Mapping[str, Device]
    """Records, by id."""
    recorded: frozenset[str]
    """Devices with recordings that converters may learn from."""
    checkpoint: Path
    """Of a generator; need not exist."""
    refiner: Path = SHIPPED_REFINER
    """Checkpoint of a refiner."""

    def gaps(self, converter: str, source: str, targets: Iterable[str]) -> dict[str, str]:
        """Return what is missing for each target that a converter cannot serve."""
        needs = sorted(CONVERTERS[converter].needs)
        gaps = {
            target: next(filter(None, (self._gap(need, device) for need in needs for device in (source, target))), None)
            for target in targets
        }
        return {target: gap for target, gap in gaps.items() if gap}

    def _gap(self, need: Need, device: str) -> str | None:
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


@dataclass(frozen=True)
class Weights:
    """The checkpoints that converters would use."""

    generator: Path
    refiner: Path
    takers: tuple[str, ...]
    """Converters that the weights which were asked for are for, best first; none if no weights were asked for."""


def find_weights(workspace: Workspace, checkpoint: Path | None) -> Weights:
    """Return the checkpoint `asked` for, and the workspace's (else the package's) for the rest.

    Raises:
        SettingsError: `asked` cannot be read.
    """
    generator = workspace.checkpoints / "generator.safetensors"
    own_refiner = workspace.checkpoints / "refiner.safetensors"
    refiner = own_refiner if own_refiner.is_file() else SHIPPED_REFINER
    if checkpoint is None:
        return Weights(generator, refiner, ())
    if read_checkpoint(checkpoint).metadata.get("kind") == REFINER_KIND:
        return Weights(generator, checkpoint, ("refiner_quantile", "refiner"))
    return Weights(checkpoint, refiner, ("film_gan",))


def recorded_devices(recordings: Recordings) -> frozenset[str]:
    """Return the devices whose recordings converters may learn from."""
    return frozenset(
        clip.device for clip in recordings.clips if clip.split == CONVERSION_SPLIT and is_device_id(clip.device)
    )
