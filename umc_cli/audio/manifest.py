"""Which recordings there are: a manifest, folders `<device>/<label>/`, or a list of files."""

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from umc_cli.audio.files import AUDIO_SUFFIXES
from umc_cli.audio.manifest_table import REQUIRED_COLUMNS, Row, columns_problem, manifest_rows
from umc_cli.audio.names import FilesOnDisk, lookalikes, plain_name, plain_path
from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.splits import (
    CONVERTER,
    DEFAULT_RULES,
    KNOWN_NAMES,
    SPLIT_NAMES,
    TRAIN,
    SplitRules,
    left_out_of_map,
    role,
)

MANIFEST_NAMES = ("manifest.csv", "manifest.tsv", "manifest.jsonl")
_OWN_COLUMNS = (*REQUIRED_COLUMNS, "split", "recording")

_SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "lost+found", "__macosx", "$recycle.bin", "system volume information"}
)
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
"""What network storage and operating systems leave in folders, in lower case; names with a dot before them too."""

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
    """As the manifest calls it (one of `splits.KNOWN_NAMES`); empty until `assign_splits`."""
    recording: str
    """Clips of the same acoustic event, on whichever device, share it; it never straddles a split."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further columns of the manifest."""

    @property
    def path(self) -> Path:
        """Return the path of the file."""
        return Path(self.file)

    @property
    def role(self) -> str:
        """Return what the recording is for: one of `splits.SPLIT_NAMES`."""
        return role(self.split)


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
    warnings: tuple[str, ...] = ()
    """Of labels, devices and recordings that look alike."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """By suffix: files that are not audio by their name."""


def for_converters(clips: Iterable[Clip]) -> list[Clip]:
    """Return what converters may learn from: the split `train-converter`, or `train` if nothing is in that.

    `clips`: all of the workspace; which split it is does not depend on the device.
    """
    clips = [clip for clip in clips if clip.role in (CONVERTER, TRAIN)]
    own = [clip for clip in clips if clip.role == CONVERTER]
    return own or clips


def find_recordings(data: Path, rules: SplitRules = DEFAULT_RULES) -> Recordings:
    """Return all recordings of a data folder: those of its manifest, else those in `<device>/<label>/**`.

    Raises:
        SettingsError: the folder is missing, its manifest cannot be read as a table, a recording is in two splits, or
            the rules leave out a split of the manifest, or map none.
    """
    if not data.is_dir():
        raise SettingsError(
            f"no data folder {data}",
            "put recordings into data/<device>/<label>/, name the folder in umc.toml, or list files as arguments",
        )
    manifest = find_manifest(data)
    if manifest is None and rules.names:
        raise _map_without_manifest(data)
    return read_manifest(manifest, rules) if manifest else scan_folders(data, rules)


def recordings_if_any(data: Path, rules: SplitRules = DEFAULT_RULES) -> Recordings:
    """Return all recordings of a data folder that need not be there.

    Raises:
        SettingsError: see `find_recordings`.
    """
    if data.is_dir():
        return find_recordings(data, rules)
    if rules.names:
        raise _map_without_manifest(data)
    return Recordings((), ())


def _map_without_manifest(data: Path) -> SettingsError:
    return SettingsError(
        f"the split map has no effect: there is no manifest in {data}",
        f"leave it out (--split-map, or split_map in umc.toml), or add the manifest ({', '.join(MANIFEST_NAMES)})",
    )


def find_manifest(data: Path) -> Path | None:
    """Return the manifest of a data folder, if there is one."""
    return next((data / name for name in MANIFEST_NAMES if (data / name).is_file()), None)


def read_manifest(path: Path, rules: SplitRules = DEFAULT_RULES) -> Recordings:
    """Read a CSV, TSV or JSONL manifest; paths in it are relative to its folder.

    A row that cannot be used (unknown split, bad device id, listed before) is returned as failed, the others as clips.

    Raises:
        SettingsError: see `manifest_rows`; or the clips of one recording have two splits; or the map of split names
            leaves some out, or all of those that it names are missing.
    """
    clips: list[Clip] = []
    failed: list[FailedInput] = []
    lines_by_path: dict[str, int] = {}
    words: dict[str, str] = {}
    nothing: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    splits: set[str] = set()
    columns: tuple[str, ...] = ()
    on_disk = FilesOnDisk()
    folder = os.path.normpath(path.parent / "x")[:-1]
    for line, row in manifest_rows(path):
        where = f"{path.name} line {line}"
        if rules.names and isinstance(row, dict) and (split := plain_name(row.get("split", ""))):
            splits.add(split)
            row["split"] = rules.names.get(split, split)
            if row["split"] not in KNOWN_NAMES:
                left_out[split] += 1
                continue
        problem = row if isinstance(row, tuple) else _row_problem(row, columns)
        if problem:
            failed.append(FailedInput(_printable_path(row) or where, f"{where}: {problem[0]}", problem[1]))
            continue
        assert isinstance(row, dict)
        columns = tuple(row)
        name = _given_path(row["path"], folder)
        # Of a million rows, each with a `Path` or a call of `normpath`, these would take several seconds.
        file = folder + name if _is_plain(name) else os.path.normpath(os.path.join(folder, name))  # noqa: PTH118
        file = on_disk.spelled(file)
        if file in lines_by_path:
            failed.append(
                FailedInput(
                    name,
                    f"{where}: already listed in line {lines_by_path[file]}",
                    "remove one of the lines",
                )
            )
            continue
        lines_by_path[file] = line
        # Rows share words, so that a million of them take little memory.
        for column in ("device", "label", "split"):
            word = row.get(column, "")
            row[column] = words.get(word) or words.setdefault(word, plain_name(word))
        clips.append(
            Clip(
                file=file,
                device=row["device"],
                label=row["label"],
                split=row["split"],
                recording=plain_name(row.get("recording", "")) or recording_name(name),
                extra={key.replace("/", "_"): value for key, value in row.items() if key not in _OWN_COLUMNS}
                or nothing,
            )
        )
    del lines_by_path
    if left_out:
        raise left_out_of_map(left_out)
    if clips and rules.names and splits.isdisjoint(rules.names):
        raise SettingsError(
            f"the split map has no effect: no row of {path} has split {' or '.join(map(repr, rules.names))}",
            f"the rows have: {', '.join(sorted(splits)) or 'no split'}; correct the map, or leave it out",
        )
    shares_count = not rules.shares_are_of_call or not clips or any(not clip.split for clip in clips)
    found = _recordings(clips, failed, rules)
    if shares_count:
        return found
    warning = f"shares of the splits have no effect: {path.name} gives every recording a split"
    return replace(found, warnings=(*found.warnings, warning))


def scan_folders(data: Path, rules: SplitRules = DEFAULT_RULES) -> Recordings:
    """Find the audio files in `<data>/<device>/<label>/**`; symbolic links are followed, loops are not."""
    return _scan(data, (), rules)


def scan_labels(folder: Path, device: str) -> Recordings:
    """Find the audio files in `<folder>/<label>/**`, as `scan_folders` does: recordings of one device."""
    return _scan(folder, (device,), DEFAULT_RULES)


def _scan(folder: Path, above: tuple[str, ...], rules: SplitRules) -> Recordings:
    clips: list[Clip] = []
    failed: list[FailedInput] = []
    passed_over: Counter[str] = Counter()
    right_place = "".join(("<device>/", "<label>/")[len(above) :])
    for path in _walk(folder, set(), failed, passed_over):
        place = (*above, *path.relative_to(folder).parts)
        if len(place) < 3:
            failed.append(
                FailedInput(str(path), f"does not lie in {right_place}", "move it into a folder named after its label")
            )
        else:
            clips.append(clip_at(str(path), place))
    return replace(_recordings(clips, failed, rules), passed_over=dict(passed_over.most_common()))


def clip_at(file: str, place: Sequence[str]) -> Clip:
    """Return the recording at a place in the folders: device, label, and further parts of its path."""
    device, label, recording = plain_path(place[0]), plain_path(place[1]), recording_name("/".join(place[1:]))
    return Clip(file, device, label, "", recording)


def recording_name(path: str) -> str:
    """Return the name of the recording in a file: its path without suffix."""
    return plain_path(_without_suffix(path))


def assign_splits(clips: list[Clip], known: Iterable[Clip] = (), rules: SplitRules = DEFAULT_RULES) -> tuple[Clip, ...]:
    """Give every clip without a split one, in place: deterministic, grouped by recording, stratified by label.

    Within a label the recordings are ordered by a hash of their name, so neither the order of the files nor that of
    the manifest matters. Clips that have a split keep it, and so does every other clip of the same recording.

    `known`: clips that have a split and hand it on, but do not count.

    Raises:
        SettingsError: a recording is in two splits: what was learned from would be tested on,
            if only from another device.
    """
    split_by_recording = {clip.recording: clip.split for clip in known}
    for clip in clips:
        if clip.split and role(split_by_recording.setdefault(clip.recording, clip.split)) != clip.role:
            raise _leak(clip, clips)
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
            split_by_recording[recording] = rules.split_at((index + 0.5) / len(recordings))
    for index, clip in enumerate(clips):
        if not clip.split:
            clips[index] = replace(clip, split=split_by_recording[clip.recording])
    return tuple(clips)


def _recordings(clips: list[Clip], failed: Iterable[FailedInput], rules: SplitRules) -> Recordings:
    warnings = [
        *lookalikes("labels", {clip.label for clip in clips}),
        *lookalikes("devices", {clip.device for clip in clips}),
        *lookalikes("recordings", {clip.recording for clip in clips}),
    ]
    return Recordings(assign_splits(clips, rules=rules), tuple(failed), tuple(warnings))


def _leak(leaking: Clip, clips: Iterable[Clip]) -> SettingsError:
    first = next(clip for clip in clips if clip.recording == leaking.recording and clip.split)
    return SettingsError(
        f"recording {leaking.recording!r} is in two splits: {first.file} in {first.split}, "
        f"{leaking.file} in {leaking.split}",
        "give all clips of a recording the same split in the manifest",
    )


def _given_path(name: str, folder: str) -> str:
    """Return a manifest's path without blanks at its ends and as this system writes it, unless it exists as it is."""
    if (name != name.strip() or "\\" in name) and not os.path.lexists(os.path.join(folder, name)):  # noqa: PTH118
        name = name.strip()
        return name.replace("\\", "/") if os.sep == "/" else name
    return name


def _is_plain(name: str) -> bool:
    """Tell whether a path is relative and no part of it is empty or begins with a dot: there is nothing to tidy."""
    return "/." not in name and "//" not in name and name[:1] not in "./" and name[-1:] != "/" and os.sep == "/"


def _without_suffix(name: str) -> str:
    if _is_plain(name):
        stem, dot, suffix = name.rpartition(".")
        return stem if dot and suffix and "/" not in suffix else name
    path = PurePath(name)
    return (path.with_suffix("") if path.name else path).as_posix()


def _printable_path(row: Row) -> str:
    name = row.get("path", "") if isinstance(row, dict) else ""
    return name if name.isprintable() else ""


def _row_problem(row: dict[str, str], good_columns: tuple[str, ...]) -> tuple[str, str] | None:
    """Return what is wrong with a row and what to do. `good_columns`: those of an earlier row that was well."""
    if tuple(row) != good_columns and (problem := columns_problem(list(row))):
        return f"has {problem}", "give every column a name of its own"
    for value in row.values():
        if _NO_TEXT.search(value):
            return "contains a zero byte or an incomplete character", "save it as UTF-8 text"
    for column in REQUIRED_COLUMNS:
        if not row.get(column, "").strip():
            return f"has no {column}", "fill it in"
    device = row["device"].strip()
    if "/" in device or "\\" in device or device.startswith("."):
        return f"{device!r} is not a device id", "use letters, digits, dots, dashes and underscores"
    split = row.get("split", "").strip()
    if split and split not in KNOWN_NAMES:
        hint = f"{did_you_mean(split, SPLIT_NAMES, 'splits')}; an empty one is assigned; other names: --split-map"
        return f"unknown split {split!r}", hint
    return None


def _walk(
    folder: Path, ancestors: set[tuple[int, int]], failed: list[FailedInput], passed_over: Counter[str]
) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        failed.append(FailedInput(str(folder), f"cannot be listed: {error.strerror}", "check its permissions"))
        return
    identity = (status.st_dev, status.st_ino)
    if identity in ancestors:
        failed.append(FailedInput(str(folder), "is a symbolic link to a folder that contains it", "remove the link"))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        is_audio_name = path.suffix.lower() in AUDIO_SUFFIXES
        if _is_folder(entry) and not is_audio_name:
            if entry.name.lower() not in _SYSTEM_FOLDERS:
                yield from _walk(path, ancestors | {identity}, failed, passed_over)
        elif is_audio_name:
            yield path
        elif entry.name.lower() not in _SYSTEM_FILES:
            passed_over[path.suffix.lower()] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False
