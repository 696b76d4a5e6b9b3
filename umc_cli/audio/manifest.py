"""Which recordings there are: a manifest, folders `<device>/<label>/`, or a list of files."""

import csv
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from umc_cli.audio.files import AUDIO_SUFFIXES
from umc_cli.errors import SettingsError
from umc_cli.json_text import parse_json

SPLITS = {"train-mc": 0.4, "train-sec": 0.4, "val-sec": 0.2}
"""The splits (paper, section 4.1) and the share of recordings each gets where none are given."""

CONVERSION_SPLIT, CLASSIFIER_SPLIT, TEST_SPLIT = "train-mc", "train-sec", "val-sec"
"""What converters learn from, what classifiers learn from, and what neither does."""

MANIFEST_NAMES = ("manifest.csv", "manifest.tsv", "manifest.jsonl")
REQUIRED_COLUMNS = ("path", "device", "label")
_OWN_COLUMNS = (*REQUIRED_COLUMNS, "split", "recording")

_NO_TEXT = re.compile("[\\0\\ud800-\\udfff]")
"""Zero bytes and halves of characters."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording, as the manifest or its place in the folders describes it."""

    file: str
    """Its path, as text: a million `Path`s take 400 MiB more."""
    device: str
    label: str
    split: str
    """One of `SPLITS`; empty until `assign_splits`."""
    recording: str
    """Clips of the same acoustic event, on whichever device, share it; it never straddles a split."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further columns of the manifest."""

    @property
    def path(self) -> Path:
        """Return the path of the file."""
        return Path(self.file)


@dataclass(frozen=True)
class FailedInput:
    """An input that could not be used, and what to do about it."""

    path: str
    """As it was given; bytes that are not UTF-8 become escapes (`\\xff`)."""
    reason: str
    hint: str = ""

    def __post_init__(self) -> None:
        readable = self.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        object.__setattr__(self, "path", readable)


@dataclass(frozen=True)
class Recordings:
    """What was found, in a stable order, and what could not be used."""

    clips: tuple[Clip, ...]
    failed: tuple[FailedInput, ...]


def find_recordings(data: Path) -> Recordings:
    """Return all recordings of a data folder: those of its manifest, else those in `<device>/<label>/**`.

    Raises:
        SettingsError: the folder is missing, or its manifest cannot be read as a table.
    """
    if not data.is_dir():
        raise SettingsError(
            f"no data folder {data}",
            "put recordings into data/<device>/<label>/, name the folder in umc.toml, or list files as arguments",
        )
    manifest = next((data / name for name in MANIFEST_NAMES if (data / name).is_file()), None)
    return read_manifest(manifest) if manifest else scan_folders(data)


def read_manifest(path: Path) -> Recordings:
    """Read a CSV, TSV or JSONL manifest; paths in it are relative to its folder.

    A row that cannot be used (unknown split, bad device id, listed before) is returned as failed, the others as clips.

    Raises:
        SettingsError: the file is missing, not UTF-8, or lacks a required column.
    """
    clips: list[Clip] = []
    failed: list[FailedInput] = []
    lines_by_path: dict[str, int] = {}
    words: dict[str, str] = {}
    nothing: dict[str, str] = {}
    columns: tuple[str, ...] = ()
    folder = os.path.normpath(path.parent / "x")[:-1]
    for line, row in _manifest_rows(path):
        where = f"{path.name} line {line}"
        problem = _row_problem(row, columns)
        if problem:
            failed.append(FailedInput(_printable_path(row) or where, f"{where}: {problem[0]}", problem[1]))
            continue
        assert isinstance(row, dict)
        columns = tuple(row)
        name = row["path"]
        # Of a million rows, each with a `Path` or a call of `normpath`, these would take several seconds.
        file = folder + name if _is_plain(name) else os.path.normpath(os.path.join(folder, name))  # noqa: PTH118
        if file in lines_by_path:
            failed.append(
                FailedInput(
                    name,
                    f"{where}: listed before, in line {lines_by_path[file]}",
                    "remove one of the lines",
                )
            )
            continue
        lines_by_path[file] = line
        clips.append(
            Clip(
                file=file,
                # Rows share words, so that a million of them take little memory.
                device=words.setdefault(row["device"], row["device"]),
                label=words.setdefault(row["label"], row["label"]),
                split=words.setdefault(row.get("split", ""), row.get("split", "")),
                recording=row.get("recording") or _without_suffix(name),
                extra={key.replace("/", "_"): value for key, value in row.items() if key not in _OWN_COLUMNS}
                or nothing,
            )
        )
    del lines_by_path
    return Recordings(assign_splits(clips), tuple(failed))


def scan_folders(data: Path) -> Recordings:
    """Find the audio files in `<data>/<device>/<label>/**`; symbolic links are followed, loops are not."""
    clips: list[Clip] = []
    failed: list[FailedInput] = []
    for path in _walk(data, set(), failed):
        place = path.relative_to(data).parts
        if len(place) < 3:
            failed.append(
                FailedInput(
                    str(path),
                    "does not lie in <device>/<label>/",
                    "move it into a folder named after its label",
                )
            )
        else:
            recording = _without_suffix("/".join(place[1:]))
            clips.append(Clip(str(path), device=place[0], label=place[1], split="", recording=recording))
    return Recordings(assign_splits(clips), tuple(failed))


def list_files(names: Iterable[str], device: str, data: Path) -> Recordings:
    """Return listed files as recordings of `device`.

    A file that the manifest of `data` knows, or that lies in `<data>/<device>/<label>/`, keeps what they say of it;
    any other one gets the name of its folder as label.
    """
    known = _manifest_clips(data)
    clips: list[Clip] = []
    failed: list[FailedInput] = []
    seen: set[str] = set()
    for name in names:
        file = os.path.abspath(name)
        clip = known.get(file) or _clip_by_place(Path(file), device, data)
        if file in seen:
            failed.append(FailedInput(name, "listed twice", "list every file once"))
        elif clip.device != device:
            failed.append(
                FailedInput(
                    name,
                    f"is a recording of {clip.device}, not of {device}",
                    f"use --source {clip.device} for it",
                )
            )
        else:
            clips.append(clip)
        seen.add(file)
    return Recordings(assign_splits(clips), tuple(failed))


def assign_splits(clips: list[Clip]) -> tuple[Clip, ...]:
    """Give every clip without a split one, in place: deterministic, grouped by recording, stratified by label.

    Within a label the recordings are ordered by a hash of their name, so neither the order of the files nor that of
    the manifest matters. Clips that have a split keep it, and so does every other clip of the same recording.
    """
    split_by_recording = {clip.recording: clip.split for clip in clips if clip.split}
    label_by_recording: dict[str, str] = {}
    for clip in clips:
        if clip.recording not in split_by_recording:
            label_by_recording[clip.recording] = min(clip.label, label_by_recording.get(clip.recording, clip.label))
    recordings_by_label = defaultdict(list)
    for recording, label in label_by_recording.items():
        recordings_by_label[label].append(recording)
    del label_by_recording
    for recordings in recordings_by_label.values():
        recordings.sort(key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        for index, recording in enumerate(recordings):
            split_by_recording[recording] = _split_at((index + 0.5) / len(recordings))
    for index, clip in enumerate(clips):
        if not clip.split:
            clips[index] = replace(clip, split=split_by_recording[clip.recording])
    return tuple(clips)


def _is_plain(name: str) -> bool:
    """Tell whether a path is relative and no part of it is empty or begins with a dot: there is nothing to tidy."""
    return "/." not in name and "//" not in name and name[:1] not in "./" and name[-1:] != "/" and os.sep == "/"


def _without_suffix(name: str) -> str:
    if _is_plain(name):
        stem, dot, suffix = name.rpartition(".")
        return stem if dot and suffix and "/" not in suffix else name
    path = PurePath(name)
    return (path.with_suffix("") if path.name else path).as_posix()


def _split_at(share: float) -> str:
    for split, size in SPLITS.items():
        if share < size:
            return split
        share -= size
    return split


def _manifest_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                for line, text in enumerate(file, start=1):
                    if text.strip():
                        yield line, _json_row(text)
                return
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", restkey="", strict=True)
            columns = reader.fieldnames or []
            missing = [column for column in REQUIRED_COLUMNS if column not in columns]
            if missing:
                raise SettingsError(
                    f"manifest {path} has no column {missing[0]!r}",
                    f"needed: {', '.join(REQUIRED_COLUMNS)}; understood: split, recording; "
                    f"found: {', '.join(columns) or 'none'}",
                )
            problem = _columns_problem(columns)
            if problem:
                raise SettingsError(f"manifest {path} has {problem}", "give every column a name of its own")
            for row in reader:
                yield reader.line_num, row
    except OSError as error:
        raise SettingsError(f"cannot read manifest {path}: {error.strerror}", "check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"manifest {path} cannot be read: {error}", "save it as UTF-8 text") from error


def _json_row(text: str) -> Any:
    try:
        row = parse_json(text)
    except ValueError:
        return None
    return {key: "" if value is None else str(value) for key, value in row.items()} if isinstance(row, dict) else None


def _printable_path(row: Any) -> str:
    name = row.get("path", "") if isinstance(row, dict) else ""
    return name if isinstance(name, str) and name.isprintable() else ""


def _columns_problem(columns: Sequence[str]) -> str | None:
    for column in columns:
        if columns.count(column) > 1:
            return f"a column {column!r} twice"
        if not column.strip(".") or not column.isprintable():
            return f"a column named {column!r}"
    return None


def _row_problem(row: Any, good_columns: tuple[str, ...]) -> tuple[str, str] | None:
    """Return what is wrong with a row and what to do. `good_columns`: those of an earlier row that was well."""
    if not isinstance(row, dict):
        return "is not a JSON object", "write one JSON object a line"
    if "" in row or None in row.values():
        return "has another number of fields than the header", "quote fields that hold the separator"
    if tuple(row) != good_columns and (problem := _columns_problem(list(row))):
        return f"has {problem}", "give every column a name of its own"
    for value in row.values():
        if _NO_TEXT.search(value):
            return "holds a zero byte or half a character", "save it as UTF-8 text"
    for column in REQUIRED_COLUMNS:
        if not row.get(column):
            return f"has no {column}", "fill it in"
    device = row["device"]
    if "/" in device or "\\" in device or device.startswith("."):
        return f"{device!r} is not a device id", "use letters, digits, dots, dashes and underscores"
    if row.get("split") and row["split"] not in SPLITS:
        return f"unknown split {row['split']!r}", f"use one of {', '.join(SPLITS)}, or leave it empty"
    return None


def _walk(folder: Path, ancestors: set[tuple[int, int]], failed: list[FailedInput]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        failed.append(FailedInput(str(folder), f"cannot be listed: {error.strerror}", "check its permissions"))
        return
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        failed.append(FailedInput(str(folder), "is a symbolic link to a folder that it lies in", "remove the link"))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        is_audio_name = path.suffix.lower() in AUDIO_SUFFIXES
        if _is_folder(entry) and not is_audio_name:
            yield from _walk(path, ancestors | {identity}, failed)
        elif is_audio_name:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _manifest_clips(data: Path) -> dict[str, Clip]:
    manifest = next((data / name for name in MANIFEST_NAMES if (data / name).is_file()), None)
    return {os.path.abspath(clip.file): clip for clip in read_manifest(manifest).clips} if manifest else {}


def _clip_by_place(path: Path, device: str, data: Path) -> Clip:
    if path.is_relative_to(data) and len(place := path.relative_to(data).parts) >= 3:
        return Clip(str(path), place[0], place[1], "", _without_suffix("/".join(place[1:])))
    return Clip(str(path), device, path.parent.name or "unlabelled", "", _without_suffix(str(path)))
