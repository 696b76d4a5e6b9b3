"""What every way of measuring a device shares: settings, report, and how a record is put together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.channels import read_channel
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.record_checks import check_against_recordings
from umc_cli.errors import InputError, SettingsError
from umc_cli.evaluation.report.figure_file import check_figure_name, write_figure
from umc_cli.evaluation.report.response_figure import DOTS_PER_INCH, Response, response_figure
from umc_cli.response.device import (
    Device,
    DeviceRegistry,
    Method,
    band_values,
    check_device_id,
    read_device,
    write_device,
)
from umc_cli.response.frequency_response import band_centres_hz
from umc_cli.response.measured_response import LEAST_SNR_DB, trusted_range_hz
from umc_cli.response.source_files import source_file
from umc_cli.response.stimulus import STIMULI
from umc_cli.response.tone import sensitivity_dbfs
from umc_cli.settings.measure_ir import MeasureIrSettings
from umc_cli.workflows.report_base import Report

MOST_DISAGREEMENT_DB = 3.0
"""RMS over trusted bands, between two repeats or between two ways of measuring."""

READY_MADE = "response"
"""As stimulus: the files are impulse responses already."""


@dataclass(frozen=True)
class RejectedRepeat:
    """A repeat that was not used."""

    recording: str
    time_s: float
    reason: str


@dataclass(frozen=True)
class FailedGate:
    """Why a measurement is not good enough to be kept, and what to do."""

    reason: str
    hint: str


@dataclass
class MeasureIrReport(Report):
    """What was measured."""

    device: Device
    path: str
    """Of the record; written only if no gate failed."""
    written: bool = False
    arrivals_s: dict[str, list[float]] = field(default_factory=dict)
    """Recording to the times at which the repeats that were used arrive."""
    drift_ppm: dict[str, float] = field(default_factory=dict)
    """Recording to how much slower the player's clock ran."""
    disagreement_db: float = 0.0
    """RMS difference over trusted bands of the two repeats that differ most."""
    reference_noise_floor_db: tuple[float, ...] | None = None
    """Of a blind estimate: the reference device's floor in its recordings, 128 mel bands, dB re full scale."""
    paired_rms_db: float | None = None
    """Of a blind estimate: RMS over trusted bands between its shape and that from recordings of the same sounds; None
    where the devices share too few."""
    rejected: list[RejectedRepeat] = field(default_factory=list)
    failed_gates: list[FailedGate] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: measured and written; 1: a gate failed and nothing was written, or some recordings could not be read."""
        return 1 if self.failed_gates else super().exit_code


def check_output(workspace: Workspace, settings: MeasureIrSettings) -> None:
    """Refuse to measure a device that has a record, unless it may be replaced.

    Raises:
        SettingsError: there is a record, the id is not a file name, or the figure has an unknown suffix.
    """
    check_device_id(settings.device)
    if settings.figure is not None:
        check_figure_name(settings.figure)
    if (workspace.devices / f"{settings.device}.json").exists() and not settings.overwrite:
        raise SettingsError(f"device {settings.device!r} already has a record", "use --overwrite, or another --device")


def finish(report: MeasureIrReport, workspace: Workspace, figure: Path | None) -> None:
    """Draw the measurement if `figure` names a file; write the record unless a gate failed.

    Raises:
        SettingsError: the figure has an unknown suffix.
        EnvironmentFault: a file cannot be written.
    """
    if figure is not None:
        device = report.device
        write_figure(
            figure,
            response_figure(
                Response(
                    device.name,
                    device.band_centres_hz,
                    device.frequency_response_db,
                    device.trusted_range_hz,
                    device.spread_db,
                    device.noise_floor_db,
                    device.snr_db,
                )
            ),
            DOTS_PER_INCH,
        )
    if report.failed_gates:
        return
    if report.device.id in DeviceRegistry():
        report.warnings.append(
            f"the package's library has a device {report.device.id!r} too: in this workspace the new record replaces it"
        )
    report.warnings += check_against_recordings(workspace, report.device)
    write_device(report.device, workspace.devices)
    report.written = True


def rounded(values: NDArray[np.float64] | None) -> tuple[float, ...] | None:
    """Return band values as records hold them, if there are any."""
    return None if values is None else band_values(values)


def device_name(workspace: Workspace, settings: MeasureIrSettings) -> str:
    """Return the name that is asked for, else that of the record to be replaced, else the id."""
    path = workspace.devices / f"{settings.device}.json"
    if settings.name or not path.is_file():
        return settings.name or settings.device
    try:
        return read_device(path).name
    except SettingsError:  # a broken record is replaced like any other
        return settings.device


def device_record(
    workspace: Workspace,
    settings: MeasureIrSettings,
    method: Method,
    files: Sequence[Path],
    note: str,
    response_db: NDArray[np.float64],
    trusted: NDArray[np.bool_],
    rate_hz: int,
    repeats: int,
) -> Device:
    """Return a record without spread, signal to noise and noise floor, which not every way of measuring gives."""
    sensitivity = _sensitivity(settings)
    extra = [settings.calibration, settings.reference, settings.tone]
    if settings.stimulus not in (*STIMULI, READY_MADE) and method in ("impulse", "sweep"):
        named = Path(settings.stimulus)
        extra.append(named if named.is_file() else named.with_suffix(".json"))  # what was measured with
    return Device(
        id=settings.device,
        name=device_name(workspace, settings),
        method=method,
        sources=tuple(source_file(path) for path in (*files, *extra) if path is not None),
        note=note,
        sample_rate_hz=rate_hz,
        repeats=repeats,
        sensitivity_dbfs=sensitivity,
        trusted_range_hz=trusted_range_hz(trusted),
        band_centres_hz=tuple(float(centre) for centre in band_centres_hz().round(1)),
        frequency_response_db=rounded(response_db),
    )


def _sensitivity(settings: MeasureIrSettings) -> float | None:
    if settings.tone is None:
        return None
    recording, rate_hz = read_channel(settings.tone, settings.channel)
    try:
        return round(sensitivity_dbfs(recording, rate_hz), 2)
    except InputError as error:
        raise InputError(f"{settings.tone} {error.message}", error.hint) from error


def what_was_taken_out(settings: MeasureIrSettings) -> str:
    """Return a sentence for the note, or nothing."""
    named = [
        f"{what} {path.name}"
        for what, path in (("microphone", settings.calibration), ("loudspeaker", settings.reference))
        if path is not None
    ]
    return f"Taken out: {' and '.join(named)}. " if named else ""


def check_trusted(trusted: NDArray[np.bool_]) -> None:
    """Refuse a response without bands that can be trusted.

    Raises:
        InputError: there are fewer than two.
    """
    if trusted.sum() < 2:
        raise InputError(
            f"the response cannot be trusted around 1 kHz: noise is less than {LEAST_SNR_DB:g} dB below it, "
            "or stimulus and calibrations do not reach it",
            "record louder, closer, in a quieter room, with more repeats; see docs/measuring-a-phone.md",
        )
