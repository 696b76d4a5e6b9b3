"""The device record (`devices/<id>.json`) and the registry of devices that a workspace knows."""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from umc_cli import atomic_write
from umc_cli.config import Settings
from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.json_text import JsonFormat
from umc_cli.wrong_settings import first_fault

N_BANDS = 128
"""Mel bands of a frequency response (paper, section 4.1)."""

FORMAT: Final = JsonFormat("umc-device", 1, "device record", "see `umc devices`", "make the record again")

_LIBRARY = Path(str(resources.files("umc_cli") / "assets" / "devices"))

FEWEST_TO_LEARN_FROM = 3
"""Records of its own that a workspace needs for methods to learn from these alone: what all methods can learn from."""

_ID_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")

Bands = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=N_BANDS, max_length=N_BANDS)
]
"""One finite value per mel band: 128 Slaney mel bands over 0-11,025 Hz."""

Method = Literal["impulse", "sweep", "imported curve", "blind", "side by side", "simulated"]


class SourceFile(Settings):
    """A file that a record was made from."""

    file: str
    sha256: str
    origin: str = ""
    """Where the file was published, for those who want to check."""


class Device(Settings):
    """What is known of a recording device. Lists run over 128 mel bands, from low to high."""

    format: Literal["umc-device"] = "umc-device"
    format_version: Literal[1] = 1
    id: str
    name: str
    method: Method
    sources: tuple[SourceFile, ...] = ()
    note: str = ""
    sample_rate_hz: int
    """Rate of the recordings behind the record; 0 for an imported curve."""
    repeats: int = 0
    """Number of recorded repeats that were averaged; 0 for an imported curve."""
    sensitivity_dbfs: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Level in dB re full scale (RMS of a full-scale sine: -3.01) of a recorded 1-kHz tone of 94 dB SPL."""
    trusted_range_hz: tuple[float, float]
    """Band centres in this range can be trusted; outside it the response is an extrapolation."""
    band_centres_hz: Bands
    frequency_response_db: Bands
    """Shape of the response in dB, 0 dB at 1 kHz; the level stands apart, in `sensitivity_dbfs`."""
    noise_floor_db: Bands | None = None
    """Log-mel level in dB re full scale of the device's own noise, as `audio.log_mel` shows it."""
    spread_db: Bands | None = None
    """Standard deviation over repeats, in dB."""
    snr_db: Bands | None = None
    """Signal-to-noise ratio of the measurement, in dB."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_device_id(self.id)
        if list(self.band_centres_hz) != sorted(set(self.band_centres_hz)):
            raise ValueError("band_centres_hz must rise")
        low, high = self.trusted_range_hz
        if not 0 <= low < high:
            raise ValueError("trusted_range_hz must be [low, high] with 0 <= low < high")
        return self


def is_device_id(name: str) -> bool:
    """Tell whether `name` can name a device; see `check_device_id`."""
    return _ID_PATTERN.fullmatch(name) is not None


def check_device_id(device_id: str) -> str:
    """Return `device_id` if it can name a file and a folder on every system.

    Raises:
        SettingsError: it holds anything but letters, digits, dot, dash and underscore (so no `../`), begins
            with other than a letter or digit, or ends with a dot.
    """
    if not is_device_id(device_id):
        raise SettingsError(
            f"{device_id!r} is not a device id",
            "use up to 64 letters, digits, dots, dashes and underscores; "
            "begin with a letter or digit, do not end with a dot",
        )
    return device_id


def read_device(path: Path) -> Device:
    """Read a device record.

    Raises:
        SettingsError: the file is missing, is not JSON, is of an unknown version, or breaks the schema.
    """
    content = FORMAT.read(path)
    try:
        device = Device.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"device record {path}: {first_fault(error)}", "see docs/file-formats.md") from error
    if device.id != path.stem:
        raise SettingsError(f"device record {path} is of device {device.id!r}", "name the file after the id")
    return device


def write_device(device: Device, folder: Path) -> Path:
    """Write `device` to `<folder>/<id>.json`, all or nothing, eight band values a line."""
    path = folder / f"{device.id}.json"
    atomic_write.write_text(path, format_record(device.model_dump(mode="json", exclude_none=True)))
    return path


def format_record(content: dict[str, Any]) -> str:
    """Return JSON that people can read and compare: long lists of numbers take eight values a line."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)

    def fold(match: re.Match[str]) -> str:
        values = [value.strip() for value in match[1].split(",")]
        rows = [", ".join(values[start : start + 8]) for start in range(0, len(values), 8)]
        return f"[{rows[0]}]" if len(rows) == 1 else "[\n    " + ",\n    ".join(rows) + "\n  ]"

    # A line break after the bracket tells a list from brackets inside a text, which cannot hold a raw one.
    return re.sub(r"\[\n\s*((?:-?[\d.eE+-]+,\s*)+-?[\d.eE+-]+)\s*\]", fold, text) + "\n"


def band_values(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return band values as records hold them: to 0.01 dB, without a negative zero."""
    return tuple(float(value) + 0.0 for value in np.round(values, 2))


class DeviceRegistry:
    """The devices that are known: the workspace's records lie over those of the package's library.

    Where both hold a record of one id, the workspace's wins.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Look into the workspace's `folder` of records first; None: the library alone."""
        self._folder = folder

    def ids(self) -> list[str]:
        """Return the ids in alphabetical order."""
        return sorted({*self.own_ids(), *_ids_in(_LIBRARY)})

    def own_ids(self) -> list[str]:
        """Return the ids of the workspace's own records, in alphabetical order."""
        return _ids_in(self._folder) if self._folder else []

    def replaced_ids(self) -> list[str]:
        """Return the ids of the library's records that the workspace's own replace, in alphabetical order."""
        return sorted(set(self.own_ids()) & set(_ids_in(_LIBRARY)))

    def others(self, source: str, recorded: Collection[str] = ()) -> list[str]:
        """Return the devices beside `source` that "all" means, in alphabetical order.

        They are the workspace's: those with a record of its own, and those in `recorded`, which have recordings. Where
        it has no record of its own, or no other device, they are the library's too.
        """
        own = self.own_ids()
        meant = {*own, *recorded} - {source}
        return sorted(meant if own and meant else {*meant, *self.ids()} - {source})

    def ids_to_learn_from(self) -> list[str]:
        """Return the devices that stand for devices at large, in alphabetical order.

        The workspace's own, if it has `FEWEST_TO_LEARN_FROM` records or more; else all that are known.
        """
        own = self.own_ids()
        return own if len(own) >= FEWEST_TO_LEARN_FROM else self.ids()

    def path(self, device_id: str) -> Path | None:
        """Return the file of a device's record; None where there is none."""
        if not is_device_id(device_id):
            return None
        folders = (self._folder, _LIBRARY) if self._folder else (_LIBRARY,)
        return next((path for folder in folders if (path := folder / f"{device_id}.json").is_file()), None)

    def __contains__(self, device_id: str) -> bool:
        return self.path(device_id) is not None

    def __iter__(self) -> Iterator[Device]:
        return (self.get(device_id) for device_id in self.ids())

    def get(self, device_id: str) -> Device:
        """Return one device.

        Raises:
            SettingsError: the id is not a file name, is unknown, or its record is broken.
        """
        path = self.path(check_device_id(device_id))
        if path is None:
            raise unknown_device(device_id, self.ids())
        return read_device(path)


def unknown_device(device_id: str, known: Iterable[str]) -> SettingsError:
    """Return the error for a device that is not among the `known` ones."""
    return SettingsError(f"unknown device {device_id!r}", did_you_mean(device_id, sorted(known), "devices"))


def _ids_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json") if is_device_id(path.stem))
