"""Noise floors of devices whose records have none, taken from what these devices recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import ChannelSegmentSettings, SegmentSettings
from umc_cli.errors import InputError
from umc_cli.response.device import Device, band_values
from umc_cli.response.noise_floor import is_too_loud, to_response_bands
from umc_cli.splits import CONVERTER, TRAIN

_SPLITS = (TRAIN, CONVERTER)
"""Whose recordings count: what is tested on teaches nothing."""
_MOST_SEGMENTS = 1_000
"""Of one device: a quarter of an hour, read in some seconds."""


@dataclass(frozen=True)
class RecordedFloors:
    """Records as they are with the noise floors that recordings tell."""

    devices: Mapping[str, Device]
    """By id: all that were given."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """By the id of a device whose floor was taken from recordings: from which."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    """By the id of a device whose floor stays unknown: why its recordings do not tell."""


def add_recorded_floors(
    devices: Mapping[str, Device], clips: Sequence[Clip], source: str, segments: SegmentSettings | None = None
) -> RecordedFloors:
    """Give every record without a noise floor the one that the device's recordings tell; the others stay as they are.

    The floor is what `umc measure-ir --blind` takes: the 2nd percentile of the frames, up to 4 dB low. `clips`: of any
    devices. `segments`: how those of the source are cut; of the others, every channel counts.
    """
    completed, origins, unknown = dict(devices), {}, {}
    for name in sorted(devices):
        if devices[name].noise_floor_db is not None:
            continue
        channel = segments.read_channel if segments and name == source else None
        try:
            floor_db, origin = _floor_of([clip for clip in clips if clip.device == name], channel)
        except InputError as error:
            unknown[name] = error.message
            continue
        origins[name] = origin
        note = f"{devices[name].note} The noise floor is the {origin}.".strip()
        update = {"noise_floor_db": band_values(to_response_bands(floor_db)), "note": note}
        completed[name] = devices[name].model_copy(update=update)
    return RecordedFloors(completed, origins, unknown)


def _floor_of(clips: Sequence[Clip], channel: int | None) -> tuple[NDArray[np.float64], str]:
    """Return the floor [80] in dB re full scale, and what it is, in words."""
    # They load torch and scipy, which most conversions do without.
    from umc_cli.evaluation.recorded_segments import SegmentReader
    from umc_cli.response.blind_response import recorded_floor_db

    own = [clip for clip in clips if clip.role in _SPLITS]
    if not own:
        raise InputError(f"it has no recordings in split {' or '.join(_SPLITS)}")
    cut = ChannelSegmentSettings(short_clips="pad", remainder="pad", channel=channel)
    read = SegmentReader(cut, _MOST_SEGMENTS).read(own)
    floor_db = recorded_floor_db(list(read.log_mel))
    if is_too_loud(floor_db):
        raise InputError("its recordings hold no quiet moments")
    return floor_db, f"quietest 2 % of {len(read)} segments of {len(set(read.files))} of its recordings for training"
