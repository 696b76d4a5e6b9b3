"""`umc measure-ir --blind`: a device measured from what it recorded, next to one that is known."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.channel_mix import mix_warnings
from umc_cli.audio.listed_files import list_files
from umc_cli.audio.manifest import Clip, FailedInput, find_recordings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import Workspace
from umc_cli.errors import InputError, SettingsError
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.response.blind_response import (
    LEAST_RECORDINGS,
    LongTermSpectra,
    blind_difference,
    long_term_spectra,
    paired_difference_db,
)
from umc_cli.response.device import Device, DeviceRegistry, SourceFile
from umc_cli.response.frequency_response import REFERENCE_HZ, band_centres_hz
from umc_cli.response.measured_response import trusted_bands, trusted_range_hz
from umc_cli.response.noise_floor import to_response_bands
from umc_cli.response.source_files import source_of_recordings
from umc_cli.settings.measure_ir import MeasureIrSettings
from umc_cli.workflows.measurement_record import (
    MOST_DISAGREEMENT_DB,
    MeasureIrReport,
    check_output,
    check_trusted,
    device_name,
    finish,
    rounded,
)

MOST_SEGMENTS = 2000
"""Of each device: half an hour."""


def measure_blind(workspace: Workspace, settings: MeasureIrSettings, files: Sequence[str]) -> MeasureIrReport:
    """Estimate a device's response from its recordings and those of a device whose record is known, and write it.

    `files`: recordings of the device; none means all that the workspace holds. Those of the reference device come
    from the workspace. Nothing is paired; where both hold the same labels, these are compared label by label. Where
    both hold the same recordings, the estimate is checked against that from pairs.

    Raises:
        SettingsError: the device has a record, the reference has none, or either has no recordings.
        InputError: there are too few recordings that rise above their noise.
        EnvironmentFault: the record cannot be written.
    """
    started = time.monotonic()
    check_output(workspace, settings)
    reference_device = settings.reference_device
    if reference_device is None:
        raise SettingsError("no reference device is named", "name it with --reference-device")
    if settings.device == reference_device:
        raise SettingsError("device and reference device are the same", "name a device whose response is known")
    reference = DeviceRegistry(workspace.devices).get(reference_device)
    recordings = find_recordings(workspace.data, workspace.splits)
    everything = recordings.clips
    listed = list_files(files, settings.device, workspace.data, recordings) if files else None
    own = listed.clips if listed else everything
    of_reference = _of(own=everything, device=reference_device, workspace=workspace)
    of_device = _of(own=own, device=settings.device, workspace=workspace)
    before, after = _read(of_reference), _read(of_device)
    found = blind_difference(before.spectra, after.spectra)
    difference_db = to_response_bands(found.difference_db)
    at_reference_db = float(np.interp(REFERENCE_HZ, band_centres_hz(), difference_db))
    snr_db = to_response_bands(found.snr_db)
    trusted = trusted_bands(snr_db, [reference.trusted_range_hz])
    check_trusted(trusted)
    level = reference.sensitivity_dbfs
    compared = f"{len(found.labels)} labels" if found.labels else "no label in common, so all together"
    device = Device(
        id=settings.device,
        name=device_name(workspace, settings),
        method="blind",
        sources=(after.files, before.files),
        note=f"Estimated next to {reference_device} from unpaired recordings ({compared}), in 80 bands.",
        sample_rate_hz=0,
        repeats=len(after.spectra.labels),
        sensitivity_dbfs=None if level is None else round(level + at_reference_db, 2),
        trusted_range_hz=trusted_range_hz(trusted),
        band_centres_hz=reference.band_centres_hz,
        frequency_response_db=rounded(np.array(reference.frequency_response_db) + difference_db - at_reference_db),
        noise_floor_db=rounded(to_response_bands(after.spectra.noise_floor_db)),
        spread_db=None if found.spread_db is None else rounded(to_response_bands(found.spread_db)),
        snr_db=rounded(snr_db),
    )
    report = MeasureIrReport(device, str(workspace.devices / f"{device.id}.json"))
    report.failed = [*recordings.failed, *(listed.failed if listed else ()), *before.failed, *after.failed]
    report.warnings += mix_warnings([clip.path for clip in clips] for clips in (of_reference, of_device))
    report.reference_noise_floor_db = rounded(to_response_bands(before.spectra.noise_floor_db))
    _check_with_pairs(report, before, after, found.difference_db, trusted)
    if not found.labels:
        report.warnings.append(
            "the devices have no label in common: if they recorded different sounds, the response is wrong by what "
            "these differ in"
        )
    finish(report, workspace, settings.figure)
    report.seconds = time.monotonic() - started
    return report


def _of(own: Sequence[Clip], device: str, workspace: Workspace) -> list[Clip]:
    clips = [clip for clip in own if clip.device == device]
    if not clips:
        raise SettingsError(f"no recordings of {device!r} in {workspace.data}", f"put them into data/{device}/<label>/")
    return clips


@dataclass(frozen=True)
class _Heard:
    """What one device recorded."""

    log_mel: Mapping[str, NDArray[np.float32]]
    """Recording to its spectrogram, [80, frames]."""
    spectra: LongTermSpectra
    files: SourceFile
    """One entry for all."""
    failed: list[FailedInput]
    several: Collection[str]
    """Recordings with several files, of which no other device's belongs to the whole."""


def _read(clips: Sequence[Clip]) -> _Heard:
    reader = SegmentReader(SegmentSettings(short_clips="pad", remainder="pad"), MOST_SEGMENTS)
    segments = reader.read(clips)
    frames: dict[str, list[NDArray[np.float32]]] = {}
    labels = dict(zip(segments.recordings, segments.labels, strict=True))
    for recording, levels_db in zip(segments.recordings, segments.log_mel, strict=True):
        frames.setdefault(recording, []).append(levels_db)
    whole = {name: np.concatenate(parts, axis=1) for name, parts in frames.items()}
    try:
        spectra = long_term_spectra([(labels[name], levels_db) for name, levels_db in whole.items()])
    except InputError as error:
        raise InputError(f"{clips[0].device}: {error.message}", error.hint) from error
    used = [clip for clip in clips if clip.recording in whole and clip.file not in reader.failed]
    files = source_of_recordings([clip.path for clip in used], used[0].device)
    return _Heard(whole, spectra, files, list(reader.failed.values()), segments.siblings.keys())


def _check_with_pairs(
    report: MeasureIrReport,
    before: _Heard,
    after: _Heard,
    difference_db: NDArray[np.float64],
    trusted: NDArray[np.bool_],
) -> None:
    """Where both devices recorded the same sounds, compare the estimate with that from pairs."""
    shared = sorted((set(before.log_mel) & set(after.log_mel)).difference(before.several, after.several))
    if len(shared) < LEAST_RECORDINGS:
        return
    try:
        paired_db = paired_difference_db([(before.log_mel[name], after.log_mel[name]) for name in shared])
    except InputError:  # too few of them hold sound
        return
    apart_db = to_response_bands(difference_db - paired_db)[trusted]
    report.paired_rms_db = round(float(np.nanstd(apart_db)), 2)
    if report.paired_rms_db > MOST_DISAGREEMENT_DB:
        report.warnings.append(
            f"the estimate differs by {report.paired_rms_db:.1f} dB (RMS) from that of {len(shared)} recordings of the "
            "same sounds: the other recordings of the two devices are of different sounds"
        )
