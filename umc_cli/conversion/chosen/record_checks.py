"""What a device record says, held against what the device recorded, and what a record leaves open."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel_settings import FLOOR_DB, LOG_MEL_SETTINGS
from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.audio.mel_scale import at_mel_bands
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, segment_starts
from umc_cli.audio.spectrograms import spectrograms_of
from umc_cli.audio.time_limit import TimedOutError, within
from umc_cli.config import Workspace
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients, Need
from umc_cli.conversion.level_quantiles import measure_level_quantiles
from umc_cli.errors import UmcError
from umc_cli.response.device import Device
from umc_cli.response.difference import level_difference_db

_MOST_BELOW = 1 / 3
_MARGIN_DB = 6.0
"""Of noise alone, 22 % of the levels lie further than this below its mean power."""
_MOST_RECORDINGS = 40

_SAMPLED_RECORDINGS = 8
_SAMPLED_SEGMENTS = 10
"""Recordings of a device that are looked at before a conversion, spread over all; and segments of each."""
_SAMPLING_S = 1.0
"""Time that looking may take, for all devices together."""


def share_below_floor(device: Device, levels_db: NDArray[np.float32]) -> float:
    """Return the share of levels that lie clearly below the record's noise floor, where no sound can lie.

    Shape: [n, 80], levels or equally likely quantiles of them, in dB. 0 where the record has no floor. Digital zeros
    do not count: short clips are padded with them.
    """
    if device.noise_floor_db is None:
        return 0.0
    floor_db = at_mel_bands(device.noise_floor_db, LOG_MEL_SETTINGS.n_mels).astype(np.float32)
    counts = levels_db > FLOOR_DB
    return float(np.mean((levels_db < floor_db - _MARGIN_DB)[counts])) if counts.any() else 0.0


def check_against_recordings(workspace: Workspace, device: Device) -> list[str]:
    """Warn of a new record whose noise floor the workspace's recordings of the device contradict."""
    if device.noise_floor_db is None or not workspace.data.is_dir():
        return []
    try:
        clips = [clip for clip in find_recordings(workspace.data, workspace.splits).clips if clip.device == device.id]
        step = -(-len(clips) // _MOST_RECORDINGS) or 1
        levels_db = measure_level_quantiles(clips[::step], SegmentSettings()).levels_db
    except UmcError:  # there are too few, or what is wrong with them is for the command that converts them to say
        return []
    return floor_warnings([device], {device.id: levels_db})


def check_ingredients(
    converter: str, ingredients: Ingredients, clips: Sequence[Clip] = (), segments: SegmentSettings | None = None
) -> list[str]:
    """Warn of what a conversion takes from records and should be known: unknown levels, noise floors that are wrong.

    `clips`: recordings of any devices. Some are looked at, for a second at most, where no table of levels is at hand.
    `segments`: how they are cut.
    """
    needs, records = CONVERTERS[converter].needs, ingredients.devices
    used = [records[name] for name in (ingredients.source, *ingredients.targets) if name in records]
    warnings = []
    if Need.RESPONSE in needs and Need.RECORDINGS not in needs:
        source = records[ingredients.source]
        unknown = [each for each in ingredients.targets if level_difference_db(source, records[each]) is None]
        if unknown and source.sensitivity_dbfs is None:
            warnings.append(
                f"the record of the source {source.id} holds no level (sensitivity_dbfs): spectra are converted in "
                "shape only and keep the source's level; umc measure-ir --tone measures it"
            )
        elif unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            warnings.append(
                f"no level (sensitivity_dbfs) in the record of {', '.join(unknown[:3])}{more}: spectra are converted "
                "in shape only and keep the source's level; umc measure-ir --tone measures it"
            )
    if Need.NOISE_FLOOR in needs:
        levels_db = ingredients.level_quantiles or _sampled_levels(used, clips, segments or SegmentSettings())
        warnings += floor_warnings(used, levels_db)
    return warnings


def _sampled_levels(
    devices: Collection[Device], clips: Sequence[Clip], settings: SegmentSettings
) -> dict[str, NDArray[np.float32]]:
    """Return levels [n, 80] in some recordings of each device that has a noise floor, as far as there is time."""
    of_device: dict[str, list[Clip]] = {each.id: [] for each in devices if each.noise_floor_db is not None}
    for clip in clips:
        if clip.device in of_device:
            of_device[clip.device].append(clip)
    levels_db: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    until = time.monotonic() + _SAMPLING_S

    def look() -> None:
        for device, clip in _in_turn(of_device):
            if time.monotonic() > until:
                return
            with suppress(UmcError):  # what cannot be read is for the conversion to say
                levels = _levels(clip, settings)
                levels_db[device].append(levels)

    with suppress(TimedOutError):  # a disk does not answer: the conversion says so
        within(_SAMPLING_S, look)
    return {device: np.concatenate(levels) for device, levels in list(levels_db.items())}


def _in_turn(of_device: Mapping[str, Sequence[Clip]]) -> Iterator[tuple[str, Clip]]:
    """Yield the first of the chosen recordings of every device, then the second of each, and so on."""
    steps = {device: -(-len(clips) // _SAMPLED_RECORDINGS) or 1 for device, clips in of_device.items()}
    chosen = {device: clips[:: steps[device]] for device, clips in of_device.items()}
    for number in range(_SAMPLED_RECORDINGS):
        for device, clips in chosen.items():
            if number < len(clips):
                yield device, clips[number]


def _levels(clip: Clip, settings: SegmentSettings) -> NDArray[np.float32]:
    header = read_header(clip.path)
    starts = segment_starts(header.n_samples, settings)[:_SAMPLED_SEGMENTS]
    if not starts:
        return np.empty((0, LOG_MEL_SETTINGS.n_mels), np.float32)
    waveforms, _ = read_segments(clip.path, header, starts, settings)
    return spectrograms_of(waveforms).transpose(0, 2, 1).reshape(-1, LOG_MEL_SETTINGS.n_mels)


def floor_warnings(devices: Iterable[Device], levels_db: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Warn of records whose noise floor is contradicted by levels in recordings, [n, 80] by device."""
    shares = {each.id: share_below_floor(each, levels_db[each.id]) for each in devices if each.id in levels_db}
    return [
        f"the noise floor in the record of {name} cannot be its own: {share:.0%} of the levels in its recordings lie "
        f"more than {_MARGIN_DB:g} dB below it; measure it again in a quiet room, with the recorder settings of the "
        "recordings"
        for name, share in shares.items()
        if share > _MOST_BELOW
    ]
