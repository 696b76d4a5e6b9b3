"""What a device record says, held against what the device recorded, and what a record leaves open."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.manifest import find_recordings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import Workspace
from umc_cli.conversion.band_interpolation import to_log_mel_bands
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


def share_below_floor(device: Device, levels_db: NDArray[np.float32]) -> float:
    """Return the share of levels that lie clearly below the record's noise floor, where no sound can lie.

    Shape: [n, 80], levels or equally likely quantiles of them, in dB. 0 where the record has no floor.
    """
    if device.noise_floor_db is None:
        return 0.0
    floor_db = to_log_mel_bands(device.noise_floor_db, torch.device("cpu")).squeeze(1).numpy()
    return float(np.mean(levels_db < floor_db - _MARGIN_DB))


def check_against_recordings(workspace: Workspace, device: Device) -> list[str]:
    """Warn of a new record whose noise floor the workspace's recordings of the device contradict."""
    if device.noise_floor_db is None or not workspace.data.is_dir():
        return []
    try:
        clips = [clip for clip in find_recordings(workspace.data).clips if clip.device == device.id]
        step = -(-len(clips) // _MOST_RECORDINGS) or 1
        levels_db = measure_level_quantiles(clips[::step], SegmentSettings()).levels_db
    except UmcError:  # there are too few, or what is wrong with them is for the command that converts them to say
        return []
    return _floor_warnings([device], {device.id: levels_db})


def check_ingredients(converter: str, ingredients: Ingredients) -> list[str]:
    """Warn of what a conversion takes from records and should be known: unknown levels, noise floors that are wrong."""
    needs, records = CONVERTERS[converter].needs, ingredients.devices
    used = [records[name] for name in (ingredients.source, *ingredients.targets) if name in records]
    warnings = []
    if Need.RESPONSE in needs and Need.RECORDINGS not in needs:
        source = records[ingredients.source]
        unknown = [each for each in ingredients.targets if level_difference_db(source, records[each]) is None]
        if unknown and source.sensitivity_dbfs is None:
            warnings.append(
                f"the record of the source {source.id} holds no level (sensitivity_dbfs): spectra are converted in "
                "shape, and keep the source's level; umc measure-ir --tone measures it"
            )
        elif unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            warnings.append(
                f"no level (sensitivity_dbfs) in the record of {', '.join(unknown[:3])}{more}: spectra are converted "
                "in shape, and keep the source's level; umc measure-ir --tone measures it"
            )
    if Need.NOISE_FLOOR in needs:
        warnings += _floor_warnings(used, ingredients.level_quantiles)
    return warnings


def _floor_warnings(devices: Sequence[Device], levels_db: Mapping[str, NDArray[np.float32]]) -> list[str]:
    shares = {each.id: share_below_floor(each, levels_db[each.id]) for each in devices if each.id in levels_db}
    return [
        f"the noise floor in the record of {name} cannot be its own: {share:.0%} of the levels in its recordings lie "
        f"more than {_MARGIN_DB:g} dB below it; measure it again in a quiet room, with the recorder's settings of the "
        "recordings"
        for name, share in shares.items()
        if share > _MOST_BELOW
    ]
