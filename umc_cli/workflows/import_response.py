"""Device records from what others measured: curves and impulse responses."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from umc_cli.config import Workspace
from umc_cli.errors import SettingsError
from umc_cli.response.curve_files import CurveFile, read_curve_file
from umc_cli.response.device import N_BANDS, Device, DeviceRegistry
from umc_cli.response.frequency_response import (
    Curve,
    band_response_db,
    impulse_response_curve,
    white_noise_floor_db,
)
from umc_cli.response.impulse_response_files import read_impulse_response
from umc_cli.response.measured_response import covered_by, shape_db, trusted_bands, without
from umc_cli.settings.measure_ir import MeasureIrSettings
from umc_cli.workflows.measurement_record import MeasureIrReport, check_trusted, device_record, what_was_taken_out

_SAME_DB = 0.2
"""Two responses that differ by less in all bands, but for a constant, are one (records are rounded to 0.1 dB)."""
_FLAT_DB = 0.5

CALIBRATION_SPL_DB = 94.0
"""Sound pressure level (1 Pa) that a sensitivity is stated for."""


def import_curve(
    workspace: Workspace, settings: MeasureIrSettings, path: Path, taken_out: Sequence[Curve]
) -> MeasureIrReport:
    """Return the record of a device whose response others published as a curve.

    Raises:
        InputError: the file is no curve in dB over rising frequencies.
    """
    found = read_curve_file(path, settings.microphone)
    curve = without(found.curve, taken_out)
    trusted = trusted_bands(None, covered_by([curve, *taken_out]))
    check_trusted(trusted)
    name = f" of {found.microphone}" if found.microphone else ""
    note = f"Magnitude response{name}, constant beyond its ends. {what_was_taken_out(settings)}{_floor_note(found)}"
    device = device_record(workspace, settings, "imported curve", [path], note, band_response_db(curve), trusted, 0, 0)
    if device.sensitivity_dbfs is None:
        device = device.model_copy(update={"sensitivity_dbfs": found.sensitivity_dbfs})
    floor_dbfs = _floor_dbfs(found)
    if floor_dbfs is not None:
        floor = (round(white_noise_floor_db(floor_dbfs), 1),) * N_BANDS
        device = device.model_copy(update={"noise_floor_db": floor})
    report = MeasureIrReport(device, str(workspace.devices / f"{device.id}.json"))
    same = _same_in_library(device)
    if same:
        report.warnings.append(
            f"{path} equals {' and '.join(same)} in the package's library: where the phone is another one, its maker "
            "left the curve of a sample or of an older phone in the file"
        )
    return report


def _same_in_library(device: Device) -> list[str]:
    """Return the library's other devices whose response is this one; none for a flat response, which says nothing."""
    response_db = np.array(device.frequency_response_db)
    if np.ptp(response_db) < _FLAT_DB:
        return []
    return [
        other.id
        for other in DeviceRegistry()
        if other.id != device.id and np.ptp(response_db - np.array(other.frequency_response_db)) < _SAME_DB
    ]


def _floor_dbfs(found: CurveFile) -> float | None:
    if found.sensitivity_dbfs is None or found.least_spl_db is None:
        return None
    return found.sensitivity_dbfs + found.least_spl_db - CALIBRATION_SPL_DB


def _floor_note(found: CurveFile) -> str:
    floor_dbfs = _floor_dbfs(found)
    if floor_dbfs is None:
        return ""
    return (
        f"The noise floor is an assumption: white noise of {floor_dbfs:.1f} dBFS RMS, which the sensitivity makes "
        f"of the quietest level that the maker states ({found.least_spl_db:g} dB SPL)."
    )


def import_impulse_response(
    workspace: Workspace, settings: MeasureIrSettings, files: Sequence[Path], taken_out: Sequence[Curve]
) -> MeasureIrReport:
    """Return the record of a device from an impulse response that others measured.

    Raises:
        InputError: the file holds no impulse response, or more than one.
        SettingsError: there is more than one file.
    """
    if len(files) > 1:
        raise SettingsError("there is more than one impulse response", "import one at a time")
    response, rate_hz = read_impulse_response(files[0], settings.channel, settings.window_ms)
    curve = without(impulse_response_curve(response, rate_hz), taken_out)
    resolved_hz = rate_hz / len(response)
    trusted = trusted_bands(None, [(resolved_hz, rate_hz / 2), *covered_by(taken_out)])
    check_trusted(trusted)
    note = f"An impulse response that others measured. {what_was_taken_out(settings)}".strip()
    device = device_record(workspace, settings, "impulse", files, note, shape_db(curve), trusted, rate_hz, 1)
    return MeasureIrReport(device, str(workspace.devices / f"{device.id}.json"))
