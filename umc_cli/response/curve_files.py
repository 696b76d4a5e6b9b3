"""Measured curves as programs and makers write them: CSV, .frd, .cal, .omm, .mic, REW text, Android's microphone XML.

Whatever the format, the values are dB over Hz. Device records serve as curves too.
"""

import csv
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umc_cli.errors import InputError, did_you_mean
from umc_cli.response.device import read_device
from umc_cli.response.frequency_response import Curve, parse_curve

_LINEAR_BELOW = 2.0
"""Gains lie between 0 and 2; dB values that all do, without a sign and not all 0, are suspicious."""
_MOST_DB = 300.0
_SEPARATORS = re.compile(r"[\s,;]+")
_COLUMNS = re.compile(r"[\s;]+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
"""A column by itself, as in `20,5;-3,1`, where something else separates."""
_QUOTED_DECIMAL_COMMA = re.compile(r'"\s*[+-]?\d+,\d+\s*"')
_LINEAR_WORDS = re.compile(r"\b(linear|gain|ratio|pascal|volt)s?\b", re.IGNORECASE)


@dataclass(frozen=True)
class CurveFile:
    """A measured curve and what its file says beside it."""

    curve: Curve
    sensitivity_dbfs: float | None = None
    """Level of 94 dB SPL at 1 kHz in dB re full scale."""
    least_spl_db: float | None = None
    """Quietest sound pressure level that the maker states."""
    microphone: str = ""
    """Which microphone of the file it is."""


def read_curve_file(path: Path, microphone: str | None = None) -> CurveFile:
    """Read a measured curve; the suffix, one of `CURVE_READERS`, names the format.

    `microphone`: which one of an Android XML file that holds several.

    Raises:
        InputError: the file cannot be read, is in no known format, its frequencies do not rise, or its values are
            linear rather than dB.
        SettingsError: a device record that is broken.
    """
    reader = CURVE_READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is not a curve", f"use one of: {', '.join(CURVE_READERS)}")
    return reader(path, microphone)


def _read_csv(path: Path, microphone: str | None) -> CurveFile:
    text = _text(path)
    try:
        columns = next(csv.reader(text.splitlines()[:1], skipinitialspace=True), [])
    except csv.Error:
        columns = []
    if {"frequency_hz", "response_db"} <= set(columns):
        curve = parse_curve(path, text)
        _check_decibels(path, curve)
        return CurveFile(curve)
    return _read_columns(path, microphone)


def _read_columns(path: Path, _: str | None) -> CurveFile:
    """Read two columns of numbers, Hz and dB, whatever stands between them; further columns (phase) are left out.

    Lines that do not begin with a number are headers and comments.
    """
    rows: list[tuple[int, str]] = []
    frequencies: list[float] = []
    levels: list[float] = []
    header = (0, "")
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if _QUOTED_DECIMAL_COMMA.search(line):
            raise _decimal_comma(path, number, line)
        bare = line.replace('"', "").strip()
        fields = [field for field in _SEPARATORS.split(bare) if field]
        frequency = _number(fields[0]) if fields else None
        if frequency is None:
            header = (number, line) if not rows and fields else header
            continue
        columns = _COLUMNS.split(bare)
        if len(columns) > 1 and any(_DECIMAL_COMMA.fullmatch(column) for column in columns):
            raise _decimal_comma(path, number, line)
        rows.append((number, bare))
        level = _number(fields[1]) if len(fields) > 1 else None
        if level is None or not np.isfinite([frequency, level]).all():
            raise InputError(
                f"curve {path} line {number} is not two numbers: {line.strip()[:60]!r}", "write Hz and dB, or remove it"
            )
        if frequencies and frequency <= frequencies[-1]:
            _check_separating_commas(path, rows)
            what = "repeats" if frequency == frequencies[-1] else "is not above"
            raise InputError(
                f"curve {path} line {number}: {frequency:g} Hz {what} {frequencies[-1]:g} Hz before it",
                "sort it and remove duplicates",
            )
        frequencies.append(frequency)
        levels.append(level)
    _check_separating_commas(path, rows)
    # What is linear is never negative: a word in the header then means something else.
    if levels and min(levels) >= 0 and _LINEAR_WORDS.search(header[1]) and "db" not in header[1].lower():
        raise InputError(
            f"curve {path} line {header[0]} says that its values are linear: {header[1].strip()[:60]!r}",
            "export it in dB: 20 log10 of the ratio; if it is in dB, remove that line",
        )
    if frequencies and frequencies[0] == 0:  # the mean, which no response over log frequency has
        del frequencies[0], levels[0]
    curve = _curve(path, frequencies, levels)
    _check_decibels(path, curve)
    return CurveFile(curve)


def _decimal_comma(path: Path, number: int, line: str) -> InputError:
    return InputError(
        f"curve {path} line {number} writes decimals with a comma: {line.strip()[:60]!r}",
        "export it with decimal points",
    )


def _check_separating_commas(path: Path, rows: Sequence[tuple[int, str]]) -> None:
    """Refuse numbers with decimal commas between separating commas, such as `100,0,-3,5`: 100.0 Hz and -3.5 dB.

    Whole numbers alone, each second one without a sign, are taken for that if lines hold four or differ in how many
    they hold, or if what would be the level never changes while the next column does.
    """
    split = [[field.strip() for field in line.split(",")] for _, line in rows]
    if not split or any(not re.fullmatch(r"[+-]?\d+", field) for fields in split for field in fields):
        return
    if any(len(fields) < 3 or not fields[1].isdecimal() for fields in split):
        return
    counts = {len(fields) for fields in split}
    never_changes = len({fields[1] for fields in split}) == 1 < len({fields[2] for fields in split})
    if counts != {3} or never_changes:
        raise _decimal_comma(path, *rows[0])


def _read_android_xml(path: Path, microphone: str | None) -> CurveFile:
    """Read one `<microphone>` of an Android `audio_platform_info` file."""
    try:
        root = ElementTree.fromstring(_bytes(path))
    except ElementTree.ParseError as error:
        raise InputError(f"curve {path} is not XML: {error}", "download it again") from error
    found = [element for element in root.iter("microphone") if element.get("frequencies") and element.get("responses")]
    if not found:
        raise InputError(f"{path} holds no microphone with a response", "take another of the phone's XML files")
    names = list(dict.fromkeys(element.get("device_id", "") for element in found))
    if microphone is None and len(found) > 1:
        raise InputError(f"{path} holds {len(found)} microphones", f"name one: --microphone {' | '.join(names)}")
    name = microphone or names[0]
    chosen = [element for element in found if element.get("device_id", "") == name]
    if not chosen:
        raise InputError(f"{path} holds no microphone {name!r}", did_you_mean(name, names, "microphones"))
    if len(chosen) > 1:
        places = "; ".join(_said_of(element) for element in chosen)
        raise InputError(
            f"{path} holds {len(chosen)} microphones {name!r}: {places}",
            "copy the file and keep only the right microphone in it",
        )
    element = chosen[0]
    frequencies, levels = (_numbers(path, name, element.get(key, "")) for key in ("frequencies", "responses"))
    if len(frequencies) != len(levels):
        raise InputError(
            f"{path}: {name} has {len(frequencies)} frequencies, {len(levels)} responses", "download it again"
        )
    stated = [_number(element.get(key, "")) for key in ("sensitivity", "min_spl")]
    sensitivity, least_spl = (value if value is not None and np.isfinite(value) else None for value in stated)
    curve = _curve(path, frequencies, levels)
    _check_decibels(path, curve)
    return CurveFile(curve, sensitivity, least_spl, name)


def _said_of(element: ElementTree.Element) -> str:
    """Tell microphones of one id apart: by their attributes other than the curve's, and by where the curve begins."""
    attributes = [f"{key} {element.get(key)}" for key in ("address", "type", "location", "group", "index_in_the_group")]
    present = [each for each in attributes if not each.endswith(" None")]
    return ", ".join([*present, f"responses {' '.join(element.get('responses', '').split()[:3])} ..."])


def _numbers(path: Path, microphone: str, text: str) -> list[float]:
    wrong = next((each for each in text.split() if _number(each) is None), None)
    if wrong is not None:
        raise InputError(f"{path}: {microphone} is not a list of numbers: {wrong!r}", "download it again")
    return [float(each) for each in text.split()]


def _read_record(path: Path, _: str | None) -> CurveFile:
    device = read_device(path)
    low, high = device.trusted_range_hz
    bands = np.array([device.band_centres_hz, device.frequency_response_db])
    inside = bands[:, (bands[0] >= low) & (bands[0] <= high)]
    return CurveFile(_curve(path, list(inside[0]), list(inside[1])), device.sensitivity_dbfs)


CURVE_READERS: dict[str, Callable[[Path, str | None], CurveFile]] = {
    ".csv": _read_csv,
    ".frd": _read_columns,
    ".cal": _read_columns,
    ".omm": _read_columns,
    ".mic": _read_columns,
    ".txt": _read_columns,
    ".xml": _read_android_xml,
    ".json": _read_record,
}
"""By suffix. `.txt`: REW's export; `.cal`, `.omm` and `.mic`: calibration files of measurement microphones."""


def _curve(path: Path, frequencies: list[float], levels: list[float]) -> Curve:
    if len(frequencies) < 2:
        raise InputError(f"curve {path} has fewer than two points", "write two columns: Hz and dB")
    if not np.isfinite([*frequencies, *levels]).all():
        raise InputError(f"curve {path} holds a value that is not finite", "remove it, with its frequency")
    frequency_hz = np.array(frequencies, np.float64)
    if frequency_hz[0] <= 0 or not np.all(np.diff(frequency_hz) > 0):
        raise InputError(
            f"the frequencies of curve {path} do not rise from above 0 Hz", "sort it and remove duplicates"
        )
    return Curve(frequency_hz, np.array(levels, np.float64))


def _check_decibels(path: Path, curve: Curve) -> None:
    values = curve.response_db
    if np.abs(values).max() > _MOST_DB:
        raise InputError(
            f"curve {path} holds {values[np.argmax(np.abs(values))]:g}, which is not a level in dB",
            "export it in dB, frequency first",
        )
    if values.min() >= 0 and values.max() <= _LINEAR_BELOW and values.max() > 0:
        raise InputError(
            f"curve {path}: all values lie between {values.min():g} and {values.max():g}, like linear gains, not dB",
            "convert them to dB with 20 log10; if they are dB, subtract the value at 1 kHz from all",
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text(path: Path) -> str:
    content = _bytes(path)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what Windows calls Unicode
        return content.decode("utf-16", errors="replace")
    if content[1::2].count(0) > len(content) / 4:
        return content.decode("utf-16-le", errors="replace")
    if content[::2].count(0) > len(content) / 4:
        return content.decode("utf-16-be", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:  # REW on Windows
        return content.decode("latin-1")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read curve {path}: {error.strerror}", "check the path") from error
