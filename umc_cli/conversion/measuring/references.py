"""What conversions are measured against: the recordings of a split, and what the records say of two devices."""

from collections.abc import Mapping, Sequence

import torch

from umc_cli.audio.manifest import Clip, for_converters
from umc_cli.conversion.band_interpolation import band_gain_db, to_log_mel_bands, trusted_log_mel_bands
from umc_cli.conversion.chosen.targets import read_targets
from umc_cli.conversion.level_quantiles import MIN_SEGMENTS
from umc_cli.errors import SettingsError, guess
from umc_cli.evaluation.conversion_measures import Reference, ResponseAskedFor, Segments
from umc_cli.evaluation.recorded_segments import SegmentReader, counterparts, unpaired_recordings
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.response.difference import level_difference_db

_CPU = torch.device("cpu")


def read_split(
    clips: Sequence[Clip],
    source: str,
    targets: Sequence[str],
    split: str,
    reader: SegmentReader,
    registry: DeviceRegistry,
    warnings: list[str],
) -> tuple[Segments, dict[str, Segments]]:
    """Return the source's segments in the split, and those of every target; `targets`: as the option names them.

    Raises:
        SettingsError: a target is unknown or the source itself, or the source or a named target has too few
            recordings there.
    """
    in_split = [clip for clip in clips if clip.role == split]
    recorded = sorted({clip.device for clip in in_split})
    hint = f"there are recordings in split {split} of: {', '.join(recorded) or 'no device'}"
    if any(clip.role == split for clip in for_converters(clips)):
        warnings.append(f"converters learn from split {split}: on it they look better than they are")
    if source not in recorded:
        raise SettingsError(f"no recordings of {source!r} in split {split}", guess(source, recorded) + hint)
    known = {*registry.ids(), *(clip.device for clip in clips)}
    wanted = read_targets(targets, source, recorded, known)
    if not wanted.ids:
        raise SettingsError(
            f"no other device than {source} has recordings in split {split}",
            f"record with another one, or simulate some: umc simulate --source {source}",
        )
    for target in wanted.ids:
        if target not in recorded:
            raise SettingsError(f"no recordings of {target!r} in split {split}", guess(target, recorded) + hint)

    given = reader.read([clip for clip in in_split if clip.device == source])
    real = {
        target: reader.read([clip for clip in in_split if clip.device == target], frozenset(given.recordings))
        for target in wanted.ids
    }
    for device, segments in ((source, given), *list(real.items())):
        if len(segments) >= MIN_SEGMENTS:
            continue
        message = f"only {len(segments)} segments of {device} in split {split}, at least {MIN_SEGMENTS} are needed"
        if device == source or not wanted.is_all or len(real) == 1:
            drops = reader.settings.short_clips == "drop"
            more = "; --short-clips pad counts short clips too" if drops else ""
            raise SettingsError(message, f"add recordings, or use another --split{more}")
        warnings.append(f"{device} is left out: {message}")
        del real[device]
    return given, real


def make_reference(
    source: str, target: str, given: Segments, real: Segments, devices: Mapping[str, Device], warnings: list[str]
) -> Reference:
    """Bring together what the target recorded of the source's segments, and what their records say."""
    pairs = counterparts(given, real)
    if unpaired := unpaired_recordings(given, real):
        warnings.append(
            f"{len(unpaired)} recordings, such as {unpaired[0]!r}, have several files on {source} or {target}, and no "
            "name tells which belong together: they are not compared (give equal parts the same file name)"
        )
    true = None
    if len(pairs) >= MIN_SEGMENTS:
        given = given.rows([row for row, _ in pairs])
        true = real.log_mel[[row for _, row in pairs]]
    else:
        warnings.append(
            f"{target} recorded {len(pairs)} of the {len(given)} segments of {source} too: "
            "the distance to its recordings is left out"
        )
    record = devices.get(target)
    floor_db = None
    if record is not None and record.noise_floor_db is not None:
        floor_db = to_log_mel_bands(record.noise_floor_db, _CPU).squeeze(1).numpy()
    response = _response_asked_for(devices[source], devices[target]) if {source, target} <= devices.keys() else None
    return Reference(source, target, given, true, real, floor_db, response)


def _response_asked_for(source: Device, target: Device) -> ResponseAskedFor:
    gain_db = band_gain_db(source, target, _CPU).squeeze(1).numpy()
    trusted = trusted_log_mel_bands(source, target)
    return ResponseAskedFor(gain_db, trusted, level_difference_db(source, target) is not None)
