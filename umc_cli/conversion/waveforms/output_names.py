"""Where a recording's audio file lies below the folder of a target: `<label>/<recording>`."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from umc_cli.audio.names import plain_name
from umc_cli.errors import SettingsError
from umc_cli.shards.plan import planned_path
from umc_cli.shards.planned_files import PlannedFile

_LONGEST_BYTES = 200
"""Of a folder's or file's name; most systems take 255, with suffix and the mark of an unfinished file."""


class OutputNames:
    """Knows the names of all recordings of a plan; no two are alike, whatever a file system thinks of case."""

    def __init__(self, files: Iterable[PlannedFile], data: Path, root: Path, source: str) -> None:
        """`data`: the folder of recordings; `root`: what paths of the plan start from; `source`: the device."""
        self._folder = PurePosixPath(planned_path(str(data), root)) / source
        seen: set[int] = set()
        self._renamed: dict[str, str] = {}
        for file in files:
            name = self._plain(file)
            if (key := hash(plain_name(name).casefold())) in seen:
                self._renamed[file.path] = name = f"{name}-{hashlib.sha256(file.path.encode()).hexdigest()[:8]}"
                key = hash(plain_name(name).casefold())
            seen.add(key)

    def of(self, file: PlannedFile) -> str:
        """Return the path of a recording's file, without suffix."""
        return self._renamed.get(file.path) or self._plain(file)

    def _plain(self, file: PlannedFile) -> str:
        path = PurePosixPath(file.path)
        if path.is_relative_to(self._folder):
            parts = path.relative_to(self._folder).parts
            if len(parts) > 1 and plain_name(parts[0]) == file.label:
                parts = parts[1:]
        else:
            parts = path.parts[-1:]
        return "/".join(_as_name(part) for part in (file.label, *parts[:-1], PurePosixPath(parts[-1]).stem))


def _as_name(part: str) -> str:
    """Return a part of a path that names a file or folder and nothing else."""
    name = part.replace("/", "_").replace("\\", "_").replace("\0", "_")
    if name.startswith("."):
        name = "_" + name[1:]
    content = name.encode(errors="surrogateescape")
    if len(content) <= _LONGEST_BYTES:
        return name or "_"
    return content[:_LONGEST_BYTES].decode(errors="ignore") + "-" + hashlib.sha256(content).hexdigest()[:8]


def refuse_to_overwrite(root: Path, data: Path) -> None:
    """Refuse an output folder whose audio files would lie among the recordings.

    Raises:
        SettingsError: it is the data folder, or lies in it.
    """
    if root.resolve().is_relative_to(data.resolve()):
        raise SettingsError(
            f"audio files in {root} would lie among the recordings in {data}, or over them",
            "choose another --output",
        )
