"""Noise floors of devices whose records have none, taken from what these devices recorded."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umc_cli import atomic_write
from umc_cli.audio.manifest import Clip
from umc_cli.audio.modification import modified_ns
from umc_cli.audio.segment_settings import ChannelSegmentSettings, SegmentSettings
from umc_cli.conversion.kept_knowledge import NOT_KEPT, KeptKnowledge
from umc_cli.conversion.level_tables import recordings_fingerprint
from umc_cli.errors import InputError, SettingsError
from umc_cli.json_text import JsonFormat
from umc_cli.response.device import N_BANDS, Device, band_values
from umc_cli.response.noise_floor import is_too_loud, to_response_bands
from umc_cli.shards.plan import hash_of
from umc_cli.splits import CONVERTER, TRAIN

FLOORS_NAME = "recorded_floors.json"
FORMAT = JsonFormat("umc-recorded-floors", 1, "file of noise floors", "remove it", "remove it")
_FLOOR, _ORIGIN = "noise_floor_db", "origin"

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
    devices: Mapping[str, Device],
    clips: Sequence[Clip],
    source: str,
    segments: SegmentSettings | None = None,
    kept: KeptKnowledge = NOT_KEPT,
) -> RecordedFloors:
    """Give every record without a noise floor the one that the device's recordings tell; the others stay as they are.

    The floor is what `umc measure-ir --blind` takes: the 2nd percentile of the frames, up to 4 dB low. `clips`: of any
    devices. `segments`: how those of the source are cut; of the others, every channel counts. A floor that was `kept`
    is not measured again, if the recordings are the same.
    """
    completed, origins, unknown = dict(devices), {}, {}
    entries = _read_entries(kept.file(FLOORS_NAME))
    for name in sorted(devices):
        if devices[name].noise_floor_db is not None:
            continue
        own, cut = _taken(clips, name), _cut(name, source, segments)
        entry = entries.get(name)
        if entry and (kept.counts(name) or _about(own, cut).items() <= entry.items()):
            floor, origin = tuple(map(float, entry[_FLOOR])), entry[_ORIGIN]
        else:
            try:
                floor_db, origin = _floor_of(own, cut)
            except InputError as error:
                unknown[name] = error.message
                continue
            floor = band_values(to_response_bands(floor_db))
        origins[name] = origin
        note = f"{devices[name].note} The noise floor is the {origin}.".strip()
        completed[name] = devices[name].model_copy(update={"noise_floor_db": floor, "note": note})
    return RecordedFloors(completed, origins, unknown)


def floor_entries(
    devices: Mapping[str, Device],
    origins: Mapping[str, str],
    clips: Sequence[Clip],
    source: str,
    segments: SegmentSettings | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the floors that recordings told (`origins`: of which devices), with what tells those recordings."""
    return {
        name: _about(_taken(clips, name), _cut(name, source, segments))
        | {_FLOOR: list(devices[name].noise_floor_db or ()), _ORIGIN: origin}
        for name, origin in origins.items()
    }


def keep_floors(kept: KeptKnowledge, entries: Mapping[str, dict[str, Any]]) -> None:
    """Keep the floors of a run, so that the next start need not measure them.

    What is kept of a run that is updated stays, with what its recordings were.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    path = kept.file(FLOORS_NAME)
    before = _read_entries(path)
    after = before | {name: entry for name, entry in entries.items() if name not in before or not kept.counts(name)}
    if path and after != before:
        content = FORMAT.header | {"devices": dict(sorted(after.items()))}
        atomic_write.write_text(path, json.dumps(content, indent=1) + "\n")


def _taken(clips: Sequence[Clip], device: str) -> list[Clip]:
    return [clip for clip in clips if clip.device == device and clip.role in _SPLITS]


def _cut(device: str, source: str, segments: SegmentSettings | None) -> SegmentSettings:
    channel = segments.read_channel if segments and device == source else None
    return ChannelSegmentSettings(short_clips="pad", remainder="pad", channel=channel)


def _about(clips: Sequence[Clip], cut: SegmentSettings) -> dict[str, Any]:
    """Return what tells recordings from others, and from themselves when they were changed."""
    times = hash_of([modified_ns(clip.path) for clip in clips])
    return {"recordings_sha256": recordings_fingerprint(clips, cut), "times_sha256": times}


def _read_entries(path: Path | None) -> dict[str, dict[str, Any]]:
    """Return the floors that are kept; none if there is no file, or it is broken or of another version."""
    try:
        devices = FORMAT.read(path).get("devices") if path else None
    except SettingsError:
        return {}
    entries = devices.items() if isinstance(devices, dict) else ()
    return {device: entry for device, entry in entries if isinstance(entry, dict) and _is_floor(entry)}


def _is_floor(entry: Mapping[str, Any]) -> bool:
    floor, origin = entry.get(_FLOOR), entry.get(_ORIGIN)
    return (
        isinstance(origin, str)
        and isinstance(floor, list)
        and len(floor) == N_BANDS
        and all(isinstance(level, int | float) and math.isfinite(level) for level in floor)
    )


def _floor_of(own: Sequence[Clip], cut: SegmentSettings) -> tuple[NDArray[np.float64], str]:
    """Return the floor [80] in dB re full scale, and what it is, in words."""
    # They load torch and scipy, which most conversions do without.
    from umc_cli.evaluation.recorded_segments import SegmentReader
    from umc_cli.response.blind_response import recorded_floor_db

    if not own:
        raise InputError(f"it has no recordings in split {' or '.join(_SPLITS)}")
    read = SegmentReader(cut, _MOST_SEGMENTS).read(own)
    floor_db = recorded_floor_db(list(read.log_mel))
    if is_too_loud(floor_db):
        raise InputError("its recordings hold no quiet moments")
    return floor_db, f"quietest 2 % of {len(read)} segments of {len(set(read.files))} of its recordings for training"
