"""What says which audio files of a run are complete: one index for each shard of the plan, `audio-NNNNN.json`.

An index is written after its files, so that a file which an index lists is whole.
"""

import csv
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from umc_cli import atomic_write
from umc_cli.audio.manifest import FailedInput
from umc_cli.errors import SettingsError
from umc_cli.json_text import JsonFormat
from umc_cli.shards.audio_settings import AudioSettings
from umc_cli.shards.updates import complete_updates, run_folders, superseded_by
from umc_cli.wrong_settings import first_fault

_AGAIN = "run `umc convert` again"
FORMAT = JsonFormat("umc-audio-index", 1, "index of audio files", _AGAIN, f"remove it and {_AGAIN}")
RUN_FORMAT = JsonFormat("umc-audio-run", 1, "record of audio settings", _AGAIN, f"remove it and {_AGAIN}")
RUN_NAME = "audio.json"
INDEX_GLOB = "audio-[0-9][0-9][0-9][0-9][0-9].json"
MANIFEST_NAME = "manifest.csv"
_MANIFEST_COLUMNS = ("path", "device", "label", "split", "recording", "source_path")


@dataclass(frozen=True)
class AudioFile:
    """A complete audio file."""

    path: str
    """Below the target's folder."""
    sha256: str
    source_path: str
    label: str
    recording: str
    split: str
    sample_rate_hz: int
    channels: int
    frames: int
    peak: float
    """Highest sample before it was written, full scale 1."""
    n_clipped: int
    """Samples that exceed full scale."""
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AudioIndex:
    """What became of the recordings of one shard of the plan."""

    run_id: str
    target_id: str
    target: str
    index: int
    settings: AudioSettings
    files: tuple[AudioFile, ...]
    failed: tuple[FailedInput, ...]

    def is_of(self, other: "AudioIndex") -> bool:
        """Tell whether another index speaks of the same run, target, place in the plan, and settings."""
        return replace(self, files=(), failed=()) == replace(other, files=(), failed=())


_INDEX = TypeAdapter(AudioIndex)
_SETTINGS = TypeAdapter(AudioSettings)


def index_name(index: int) -> str:
    """Return the name of the index that belongs to shard `index`."""
    return f"audio-{index:05}.json"


def write_index(path: Path, index: AudioIndex) -> None:
    """Write an index, all or nothing."""
    atomic_write.write_text(path, _text(FORMAT.header | asdict(index)))


def read_index(path: Path) -> AudioIndex:
    """Return an index.

    Raises:
        SettingsError: it is missing, broken or of another version.
    """
    content = FORMAT.read(path)
    index = _validated(path, _INDEX, {name: value for name, value in content.items() if name not in FORMAT.header})
    for file in index.files:
        if PurePosixPath(file.path).is_absolute() or ".." in PurePosixPath(file.path).parts:
            raise SettingsError(f"{path} lists a file that does not lie below its folder: {file.path}", FORMAT.again)
    return index


def complete_index(path: Path, wanted: AudioIndex) -> AudioIndex | None:
    """Return the index at `path` if it is the wanted one but for files and failed inputs, and its files are there."""
    if not path.exists():
        return None
    try:
        index = read_index(path)
    except SettingsError:
        return None
    there = all((path.parent / file.path).is_file() for file in index.files)
    return index if index.is_of(wanted) and there else None


def gain_of_run(root: Path, run_id: str, settings: AudioSettings, gain_db: float | None) -> tuple[float, bool]:
    """Return the gain in dB of the audio files of a run, and whether `audio.json` holds it already.

    `gain_db`: None takes the one that the run has, else 0.

    Raises:
        SettingsError: the folder holds audio files of other settings.
    """
    path = root / RUN_NAME
    gain, before = gain_db or 0.0, None
    if path.exists():
        content = RUN_FORMAT.read(path)
        before = _validated(path, _SETTINGS, content.get("settings"))
        if gain_db is None and content.get("run_id") == run_id:
            gain = before.gain_db
    now = replace(settings, gain_db=gain)
    if before is not None and (content.get("run_id"), before) != (run_id, now):
        changed = [name for name, value in asdict(before).items() if asdict(now)[name] != value]
        raise SettingsError(
            f"{root} holds audio files of another run or other settings ({', '.join(changed) or 'another run'})",
            "choose another --output, or give --overwrite to remove them",
        )
    return gain, before is not None


def settle_audio(root: Path, run_id: str, settings: AudioSettings, gain_db: float | None, overwrite: bool) -> float:
    """Make `audio.json` say how the audio files of the run are made, and return their gain in dB.

    Raises:
        SettingsError: see `gain_of_run`, if `overwrite` is not given.
    """
    if overwrite:
        remove_audio(root)
    gain, is_held = gain_of_run(root, run_id, settings, gain_db)
    if not is_held:
        set_gain(root, run_id, settings, gain)
    return gain


def set_gain(root: Path, run_id: str, settings: AudioSettings, gain_db: float) -> None:
    """Write down the gain of all audio files of a run."""
    content = RUN_FORMAT.header | {"run_id": run_id, "settings": asdict(replace(settings, gain_db=gain_db))}
    atomic_write.write_text(root / RUN_NAME, _text(content))


def remove_audio(root: Path) -> None:
    """Remove all audio files that indexes list, the indexes and the manifest."""
    with atomic_write.explain_os_errors(root):
        for path in index_paths(root):
            with suppress(SettingsError):  # a broken one names nothing
                for file in read_index(path).files:
                    (path.parent / file.path).unlink(missing_ok=True)
            path.unlink()
        for name in (MANIFEST_NAME, RUN_NAME):
            (root / name).unlink(missing_ok=True)


def index_paths(root: Path) -> list[Path]:
    """Return all indexes of a run, target by target, in the order of the plan."""
    return sorted(root.glob(f"*/{INDEX_GLOB}"))


def write_manifest(root: Path) -> None:
    """Write `<root>/manifest.csv`: every audio file of all targets, as `umc` reads data; one kind, if there are two.

    Of an updated run: those that count, wherever they lie.
    """
    columns: dict[str, None] = {}
    for _, _, file in live_files(root):
        columns |= dict.fromkeys(file.extra)
    names = [name for name in columns if name not in _MANIFEST_COLUMNS]
    with (
        atomic_write.atomic_path(root / MANIFEST_NAME) as partial,
        partial.open("w", encoding="utf-8", newline="", errors="surrogateescape") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_MANIFEST_COLUMNS, *names])
        for path, index, file in live_files(root):
            if file.path.endswith(f".{index.settings.kinds[0]}"):
                row = [path.relative_to(root).as_posix(), index.target, file.label, file.split, file.recording]
                writer.writerow([*row, file.source_path, *(file.extra.get(name, "") for name in names)])


def live_files(root: Path) -> Iterator[tuple[Path, AudioIndex, AudioFile]]:
    """Yield the audio files of a run and its updates that count: where each is, its index, and what that says of it.

    Raises:
        SettingsError: an index or the record of updates is broken.
    """
    updates = complete_updates(root)
    for folder, superseded in zip(run_folders(root), superseded_by(updates), strict=True):
        for path in index_paths(folder):
            index = read_index(path)
            for file in index.files:
                if file.source_path not in superseded:
                    yield path.parent / file.path, index, file


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_audio(path: Path) -> tuple[int, list[FailedInput]]:
    """Return how many files an index lists, and what is wrong with it and them."""
    try:
        index = read_index(path)
    except SettingsError as error:
        return 0, [FailedInput(str(path), error.message, error.hint)]
    damaged = []
    for file in index.files:
        place = path.parent / file.path
        if not place.is_file():
            damaged.append(FailedInput(str(place), "is missing", _AGAIN))
        elif sha256_of(place) != file.sha256:
            damaged.append(FailedInput(str(place), "is damaged: its checksum differs", f"remove it and {_AGAIN}"))
    return len(index.files), damaged


Content = TypeVar("Content")


def _validated(path: Path, adapter: TypeAdapter[Content], content: Any) -> Content:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise SettingsError(f"{path} cannot be used: {first_fault(error)}", FORMAT.again) from error


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
