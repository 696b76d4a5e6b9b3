"""The level tables that the converter `quantile` rests on, kept beside `run.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from umc_cli import atomic_write
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.manifest import Clip, for_converters
from umc_cli.audio.modification import modified_ns
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import dump_settings
from umc_cli.conversion.kept_knowledge import KeptKnowledge
from umc_cli.conversion.level_quantiles import (
    N_QUANTILES,
    LevelQuantiles,
    ReadSegments,
    label_distance,
    measure_level_quantiles,
    read_segment_levels,
)
from umc_cli.errors import InputError, SettingsError
from umc_cli.json_text import JsonFormat
from umc_cli.shards.plan import hash_of

TABLES_NAME = "level_quantiles.json"
FORMAT = JsonFormat("umc-level-quantiles", 1, "file of level tables", "remove it", "remove it")

_FIELDS = {"recordings_sha256", "levels_db", "n_segments", "labels", "n_failed"}

_METHOD = 2
"""Of measuring: a table of another number is measured again. 1, which stands in no file: zeros at the ends of
recordings counted."""

_DIFFERENT_LABELS = 0.3
"""Total variation distance above which two sides' labels count as different."""


def load_level_tables(
    kept: KeptKnowledge,
    devices: Sequence[str],
    clips: Sequence[Clip],
    settings: SegmentSettings,
    warnings: list[str],
    read: ReadSegments = read_segment_levels,
) -> dict[str, LevelQuantiles]:
    """Return the level table of every device (the source first) and keep them in `level_quantiles.json`.

    A table is measured from the device's recordings that converters may learn from, or taken from the file if it was
    measured from the same ones (name, size, time) with the same settings. What a user should know is added to
    `warnings`. `read`: how segments are read.

    Raises:
        SettingsError: a device has too few readable recordings.
    """
    path = kept.file(TABLES_NAME)
    before = {device: entry for device, entry in _read_entries(path).items() if _is_table(entry)} if path else {}
    entries: dict[str, dict[str, Any]] = {}
    tables: dict[str, LevelQuantiles] = {}
    clips = for_converters(clips)
    for device in devices:
        own = sorted(
            (clip for clip in clips if clip.device == device),
            key=lambda clip: clip.file,
        )
        cut = settings if device == devices[0] else settings.segments  # a channel is one of the source's
        fingerprint = recordings_fingerprint(own, cut)
        times = hash_of([modified_ns(clip.path) for clip in own])
        entry = before.get(device)
        if entry and kept.counts(device):
            entries[device], tables[device] = entry, _table(entry)
            continue
        if (
            entry
            and entry.get("recordings_sha256") == fingerprint
            and entry.get("times_sha256", times) == times  # an earlier version wrote none
            and entry.get("method", 1) == _METHOD
        ):
            tables[device] = _table(entry)
        else:
            try:
                tables[device] = measure_level_quantiles(own, cut, read)
            except InputError as error:
                without = "" if device == devices[0] else f", or leave {device} out of --targets"
                raise SettingsError(f"level table of {device}: {error.message}", f"{error.hint}{without}") from error
        about = {"recordings_sha256": fingerprint, "times_sha256": times, "method": _METHOD}
        entries[device] = about | asdict(tables[device])
        entries[device]["levels_db"] = [[round(float(value), 2) for value in row] for row in tables[device].levels_db]
        if tables[device].n_failed:
            warnings.append(
                f"{tables[device].n_failed} recordings of {device} in split {own[0].role} cannot be read; "
                "its table is made from the others"
            )
    source = devices[0]
    for target in devices[1:]:
        distance = label_distance(tables[source], tables[target])
        if distance > _DIFFERENT_LABELS:
            warnings.append(
                f"{source} and {target} hold different labels (distance {distance:.2f} of 1): "
                "part of what `quantile` maps is content, not device"
            )
    # Rounded values are what the file holds, so a run that reads them gives the same rows as the one that wrote them.
    new = {
        device: entry
        for device, entry in entries.items()
        if device not in kept.of_run or device not in before or entry == before[device] | {"method": _METHOD}
    }
    if path and kept.is_written and before | new != before:
        atomic_write.write_text(path, _format(before | new))
    return {device: _table(entries[device]) for device in devices}


def read_level_tables(root: Path) -> dict[str, LevelQuantiles]:
    """Return the tables that `load_level_tables` left in `root`, by device; none where there is no such file.

    Raises:
        SettingsError: a table in the file is damaged.
    """
    entries = _read_entries(root / TABLES_NAME)
    for device, entry in entries.items():
        if not _is_table(entry):
            raise SettingsError(
                f"{root / TABLES_NAME} is damaged: no table of {device!r}",
                "remove it, then run the command that wrote it",
            )
    return {device: _table(entry) for device, entry in entries.items()}


def write_level_tables(root: Path, tables: Mapping[str, LevelQuantiles], recordings_sha256: str) -> Path:
    """Write tables to `<root>/level_quantiles.json`, and return its path. `recordings_sha256`: of what they rest on."""
    entries = {device: {"recordings_sha256": recordings_sha256} | asdict(table) for device, table in tables.items()}
    for entry in entries.values():
        entry["levels_db"] = [[round(float(value), 2) for value in row] for row in entry["levels_db"]]
    atomic_write.write_text(root / TABLES_NAME, _format(entries))
    return root / TABLES_NAME


def _table(entry: dict[str, Any]) -> LevelQuantiles:
    levels = np.array(entry["levels_db"], dtype=np.float32)
    return LevelQuantiles(levels, entry["n_segments"], entry["labels"], entry["n_failed"])


def recordings_fingerprint(clips: Sequence[Clip], settings: SegmentSettings) -> str:
    """Return a hash of what recordings are, by name, label and size, and of how they are cut."""
    sizes = [_size_bytes(clip.path) for clip in clips]
    return hash_of(
        [
            dump_settings(settings),
            [[repr(clip.recording), clip.label, size] for clip, size in zip(clips, sizes, strict=True)],
        ]
    )


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read_entries(path: Path) -> dict[str, Any]:
    """Return the tables in the file; none if it is missing, broken or of another version: they are measured again."""
    try:
        devices = FORMAT.read(path).get("devices")
    except SettingsError:
        return {}
    entries = devices.items() if isinstance(devices, dict) else ()
    return {device: entry for device, entry in entries if isinstance(entry, dict) and entry.keys() >= _FIELDS}


def _is_table(entry: dict[str, Any]) -> bool:
    try:
        levels = np.array(entry["levels_db"], dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return False
    counts, labels = (entry["n_segments"], entry["n_failed"]), entry["labels"]
    return (
        levels.shape == (N_QUANTILES, LOG_MEL_SETTINGS.n_mels)
        and bool(np.isfinite(levels).all())
        and isinstance(labels, dict)
        and all(isinstance(count, int) and count >= 0 for count in (*counts, *labels.values()))
    )


def _format(entries: dict[str, Any]) -> str:
    devices = []
    for device, entry in sorted(entries.items()):
        rows = ",\n        ".join(json.dumps(row) for row in entry["levels_db"])
        rest = json.dumps({key: value for key, value in entry.items() if key != "levels_db"}, ensure_ascii=False)
        devices.append(f'    {json.dumps(device)}: {rest[:-1]},\n      "levels_db": [\n        {rows}\n      ]}}')
    head = f'{{\n  "format": "{FORMAT.name}",\n  "format_version": {FORMAT.version},\n  "devices": {{\n'
    return head + ",\n".join(devices) + "\n  }\n}\n"
