"""The recordings of a plan, one a line in a file: however many they are, they take no memory."""

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import TypeAdapter

from umc_cli.atomic_write import explain_os_errors
from umc_cli.audio.files import AudioHeader
from umc_cli.audio.modification import Mark

_BYTES_AT_ONCE = 1 << 16
"""Some 300 lines."""

_READABLE_JSON = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A recording as the plan knows it."""

    path: str
    """Relative to the workspace where it lies in it, else absolute; with forward slashes."""
    label: str
    recording: str
    split: str
    size_bytes: int
    sample_rate_hz: int
    channels: int
    frames: int
    n_segments: int
    extra: dict[str, str]

    @property
    def header(self) -> AudioHeader:
        """Return the audio header that the plan was made from."""
        return AudioHeader(self.sample_rate_hz, self.channels, self.frames)


_PLANNED_FILE = TypeAdapter(PlannedFile)


class PlannedFiles:
    """Planned files in their order, read from the disk as often as they are gone through."""

    def __init__(self, text: BinaryIO, start: int = 0) -> None:
        """`text`: from byte `start` on, the lines of `run.json` behind the one that begins the list `files`."""
        self._text = text
        self._start = start
        self.marks = array("q")
        """What each was when it was planned, just now: the two numbers of its `Mark`. No part of the plan."""

    def __iter__(self) -> Iterator[PlannedFile]:
        """Yield the files.

        Raises:
            ValueError: a line is not a planned file.
        """
        for line in self.lines():
            if not line.startswith(b"    {"):
                return
            yield _PLANNED_FILE.validate_json(line.rstrip(b",\n"), strict=True)

    def each_mark(self) -> Iterator[Mark]:
        """Yield what each was when it was planned, in the order of the files."""
        return (Mark(*self.marks[index : index + 2]) for index in range(0, len(self.marks), 2))

    def lines(self) -> Iterator[bytes]:
        """Yield the lines up to the end of `run.json`."""
        position = self._start
        while True:
            self._text.seek(position)  # several may go through the file at the same time
            lines = self._text.readlines(_BYTES_AT_ONCE)
            position = self._text.tell()
            if not lines:
                return
            yield from lines


def store_files(files: Iterable[PlannedFile], folder: Path) -> PlannedFiles:
    """Put planned files into a file in `folder` that has no name and goes with its last user.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    with explain_os_errors(folder):
        text = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `PlannedFiles` keeps it open
        try:
            behind = b"]\n}\n"
            for index, file in enumerate(files):
                text.write((",\n    " if index else "    ").encode() + _READABLE_JSON.encode(content_of(file)).encode())
                behind = b"\n  ]\n}\n"
            text.write(behind)
            text.flush()
        except OSError:
            with suppress(OSError):  # or the file would complain once more when it goes
                text.close()
            raise
    return PlannedFiles(text)


def content_of(file: PlannedFile) -> dict[str, Any]:
    """Return what the JSON of a planned file says."""
    return {name: getattr(file, name) for name in PlannedFile.__slots__}
