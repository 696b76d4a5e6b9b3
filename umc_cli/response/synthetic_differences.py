"""Invented differences as a file (docs/file-formats.md), and the devices that they make of a source."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from umc_cli import atomic_write
from umc_cli.errors import SettingsError
from umc_cli.json_text import JsonFormat, parse_json
from umc_cli.response.device import N_BANDS, Device
from umc_cli.response.frequency_response import REFERENCE_HZ, band_centres_hz

_MAKE_AGAIN = "make it again with `umc synth-fr`"
FORMAT: Final = JsonFormat("umc-differences", 1, "file of differences", _MAKE_AGAIN, _MAKE_AGAIN)

_SAME_BAND_HZ = 0.2


@dataclass(frozen=True)
class SyntheticDifferences:
    """Differences of invented devices (targets) from any source."""

    fr_difference_db: NDArray[np.float32]
    """[n, 128], dB, target minus source."""
    noise_floor_db: NDArray[np.float32]
    """[n, 128], log-mel level of the targets' own noise, dB re full scale."""
    sensitivity_difference_db: NDArray[np.float32]
    """[n], dB, target minus source."""
    about: Mapping[str, Any]
    """How they were made: `method`, `settings`, `seed` and others; plain JSON values."""

    def __len__(self) -> int:
        return len(self.fr_difference_db)


def write_differences(path: Path, drawn: SyntheticDifferences) -> None:
    """Write a set to one safetensors file, all or nothing. Equal sets give equal bytes.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    header = {
        **FORMAT.header,
        "band_centres_hz": band_centres_hz().round(1).tolist(),
        "about": dict(drawn.about),
    }
    content = save(
        {
            "fr_difference_db": drawn.fr_difference_db,
            "noise_floor_db": drawn.noise_floor_db,
            "sensitivity_difference_db": drawn.sensitivity_difference_db,
        },
        metadata={FORMAT.name: json.dumps(header, allow_nan=False, sort_keys=True)},
    )
    with atomic_write.atomic_path(path) as partial:
        partial.write_bytes(content)


def read_differences(path: Path) -> SyntheticDifferences:
    """Read a set.

    Raises:
        SettingsError: the file is missing, broken, of another format or version, or over other mel bands.
    """
    try:
        if not path.is_file():
            raise SettingsError(f"there is no file of differences {path}", "make one with `umc synth-fr --output FILE`")
        with safe_open(path, framework="numpy") as file:
            header = _header(path, (file.metadata() or {}).get(FORMAT.name))
            arrays = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no mapping
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror or error}", "check its permissions") from error
    except SafetensorError as error:
        raise SettingsError(f"{path} is truncated, corrupt or not a safetensors file: {error}", _MAKE_AGAIN) from error
    n = len(arrays.get("fr_difference_db", ()))
    shapes = {"fr_difference_db": (n, N_BANDS), "noise_floor_db": (n, N_BANDS), "sensitivity_difference_db": (n,)}
    if n < 1 or {name: array.shape for name, array in arrays.items()} != shapes:
        raise SettingsError(f"{path} does not hold the arrays {', '.join(shapes)} of equal length", _MAKE_AGAIN)
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise SettingsError(f"{path}: {name} must hold finite float32 values", _MAKE_AGAIN)
    return SyntheticDifferences(**arrays, about=header["about"])


def _header(path: Path, text: str | None) -> dict[str, Any]:
    try:
        header = parse_json(text or "null")
    except ValueError:
        header = None
    header = FORMAT.check(header, path)
    if not isinstance(header.get("about"), dict) or not _are_our_bands(header.get("band_centres_hz")):
        raise SettingsError(f"{path} has a broken header, or is over other mel bands", _MAKE_AGAIN)
    return header


def _are_our_bands(centres_hz: Any) -> bool:
    is_list = isinstance(centres_hz, list | tuple) and len(centres_hz) == N_BANDS
    if not is_list or not all(isinstance(value, int | float) for value in centres_hz):
        return False
    return np.allclose(centres_hz, band_centres_hz(), rtol=0, atol=_SAME_BAND_HZ)


def invented_device(source: Device, drawn: SyntheticDifferences, index: int) -> Device:
    """Return the record of the device that differs from `source` as row `index` says.

    A record's response is 0 dB at 1 kHz, so what the difference has there goes into the sensitivity. Where the
    source's is unknown, so is the invented one, and no level difference arises.

    Raises:
        SettingsError: the source's record is over other mel bands.
    """
    if not _are_our_bands(source.band_centres_hz):
        raise SettingsError(
            f"the record of {source.id} is over other mel bands than invented differences", "make the record again"
        )
    difference_db = drawn.fr_difference_db[index].astype(np.float64)
    at_reference_db = float(np.interp(REFERENCE_HZ, band_centres_hz(), difference_db))
    response_db = source.frequency_response_db + difference_db - at_reference_db
    sensitivity_dbfs = None
    if source.sensitivity_dbfs is not None:
        louder_db = float(drawn.sensitivity_difference_db[index]) + at_reference_db
        sensitivity_dbfs = round(source.sensitivity_dbfs + louder_db, 2)
    return Device(
        id=f"synth-{index:03d}",
        name=f"Invented device {index}",
        method="simulated",
        note=f"difference {index} of method {drawn.about.get('method')}, seed {drawn.about.get('seed')}",
        sample_rate_hz=source.sample_rate_hz,
        sensitivity_dbfs=sensitivity_dbfs,
        trusted_range_hz=source.trusted_range_hz,
        band_centres_hz=source.band_centres_hz,
        frequency_response_db=tuple(response_db.round(2).tolist()),
        noise_floor_db=tuple(drawn.noise_floor_db[index].astype(np.float64).round(2).tolist()),
    )
