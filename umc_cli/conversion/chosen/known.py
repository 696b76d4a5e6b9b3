"""What a workspace knows of its devices, and what a converter lacks. Judged here and nowhere else."""

from collections import Counter, defaultdict
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from umc_cli.audio.files import read_header
from umc_cli.audio.manifest import Clip, FailedInput, Recordings, for_converters
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_sounding_segments
from umc_cli.checkpoint import read_checkpoint
from umc_cli.config import Workspace
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients, Need
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.level_quantiles import MIN_SEGMENTS
from umc_cli.conversion.refiner_settings import KIND as REFINER_KIND
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.errors import InputError
from umc_cli.response.device import is_device_id
from umc_cli.splits import FOR_CONVERTERS


def gaps(converter: str, ingredients: Ingredients, recorded: Collection[str] | None = None) -> dict[str, str]:
    """Return what is missing for each target that a converter cannot serve.

    `recorded`: devices whose levels are known, or can be measured; None: those with a level table.
    """
    recorded = ingredients.level_quantiles if recorded is None else recorded
    found = {target: first_gap(converter, ingredients, recorded, target) for target in ingredients.targets}
    return {target: _in_words(*gap, ingredients) for target, gap in found.items() if gap}


def first_gap(
    converter: str, ingredients: Ingredients, recorded: Container[str], target: str
) -> tuple[Need, str] | None:
    """Return the first need that is not met, and of which device; None where the converter can serve the target."""
    needs = sorted(CONVERTERS[converter].needs)
    gaps = (
        (need, each)
        for need in needs
        for each in (ingredients.source, target)
        if not _is_met(need, each, ingredients, recorded)
    )
    return next(gaps, None)


def _is_met(need: Need, device: str, ingredients: Ingredients, recorded: Container[str]) -> bool:
    record, checkpoint, refiner = ingredients.devices.get(device), ingredients.checkpoint, ingredients.refiner
    if need is Need.CHECKPOINT:
        return checkpoint is not None and checkpoint.is_file()
    if need is Need.REFINER:
        return refiner is not None and refiner.is_file()
    if need is Need.RECORDINGS:
        return device in recorded
    return record is not None and (need is Need.RESPONSE or record.noise_floor_db is not None)


def _in_words(need: Need, device: str, ingredients: Ingredients) -> str:
    if need is Need.CHECKPOINT:
        return f"a checkpoint at {ingredients.checkpoint}"
    if need is Need.REFINER:
        return f"a refiner at {ingredients.refiner}"
    if need is Need.RECORDINGS:
        return f"recordings of {device} in split {FOR_CONVERTERS}"
    if device not in ingredients.devices:
        return f"a device record of {device}"
    return f"a noise floor in the record of {device}"


@dataclass(frozen=True)
class Weights:
    """The checkpoints that converters would use."""

    generator: Path
    refiner: Path
    takers: tuple[str, ...]
    """Converters that the weights which were asked for are for, best first; none if no weights were asked for."""


def find_weights(workspace: Workspace, checkpoint: Path | None) -> Weights:
    """Return `checkpoint`, if it is given, and the workspace's (else the package's) for the rest.

    Raises:
        SettingsError: `checkpoint` cannot be read.
    """
    own_generator, own_refiner = (workspace.checkpoints / f"{kind}.safetensors" for kind in ("generator", "refiner"))
    generator = own_generator if own_generator.is_file() else SHIPPED_GENERATOR
    refiner = own_refiner if own_refiner.is_file() else SHIPPED_REFINER
    if checkpoint is None:
        return Weights(generator, refiner, ())
    if read_checkpoint(checkpoint).metadata.get("kind") == REFINER_KIND:
        return Weights(generator, checkpoint, ("refiner_transport", "refiner_quantile", "refiner"))
    return Weights(checkpoint, refiner, ("film_gan",))


def recorded_devices(recordings: Recordings) -> frozenset[str]:
    """Return the devices whose recordings converters may learn from."""
    return frozenset(clip.device for clip in for_converters(recordings.clips) if is_device_id(clip.device))


@dataclass(frozen=True)
class HeardTooLittle:
    """What recordings of a device give, if that is too little for a level table."""

    n_segments: int
    n_recordings: int
    unread: tuple[FailedInput, ...]
    """Recordings that cannot be read."""


def too_few_segments(
    devices: Collection[str], clips: Sequence[Clip], settings: SegmentSettings
) -> dict[str, HeardTooLittle]:
    """Return which of `devices` have recordings, but too few for a level table, and what these give.

    Of each device, recordings are read until there are enough segments.
    """
    counts: dict[str, int] = {}
    n_recordings: Counter[str] = Counter()
    unread: defaultdict[str, list[FailedInput]] = defaultdict(list)
    for clip in for_converters(clips):
        count = counts.setdefault(clip.device, 0)
        n_recordings[clip.device] += 1
        if clip.device not in devices or count >= MIN_SEGMENTS:
            continue
        try:
            header = read_header(clip.path)
            counts[clip.device] += len(read_sounding_segments(clip.path, header, MIN_SEGMENTS - count, settings)[0])
        except InputError as error:
            unread[clip.device].append(FailedInput(clip.file, error.message, error.hint))
    return {
        device: HeardTooLittle(count, n_recordings[device], tuple(unread[device]))
        for device, count in counts.items()
        if device in devices and count < MIN_SEGMENTS
    }
