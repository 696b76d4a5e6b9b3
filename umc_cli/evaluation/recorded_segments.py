"""Log-mel segments of a device's recordings, and which segments two devices recorded together."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.feature_settings import segment_shape
from umc_cli.audio.features import spectrograms
from umc_cli.audio.files import read_header
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.audio.names import plain_name
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, segment_starts
from umc_cli.errors import InputError
from umc_cli.evaluation.conversion_measures import Segments

_LARGEST_SHARE = 0.1
"""Of the segments asked for: what one recording may give, so that a long one does not crowd out the others."""


@dataclass
class SegmentReader:
    """Reads segments of recordings, and keeps what could not be read."""

    settings: SegmentSettings
    most: int
    """Maximum number of segments to read of one device."""
    failed: dict[str, FailedInput] = field(default_factory=dict)
    """By path."""

    def read(self, clips: Sequence[Clip], first: Collection[str] = ()) -> Segments:
        """Read the segments of one device's clips: of the recordings named in `first`, then of the others.

        Recordings are taken in the order of a hash of their names, which is the same on every device.
        """
        levels: list[NDArray[np.float32]] = []
        recordings: list[str] = []
        labels: list[str] = []
        starts: list[int] = []
        files: list[str] = []
        files_of: dict[str, list[str]] = {}
        for clip in clips:
            files_of.setdefault(clip.recording, []).append(clip.file)
        for clip in sorted(clips, key=lambda clip: (clip.recording not in first, _hash(clip.recording), clip.file)):
            if len(starts) >= self.most:
                break
            try:
                segments, clip_starts = self._segments(clip, self.most - len(starts))
            except InputError as error:
                entry = FailedInput(clip.file, error.message, error.hint)
                self.failed[entry.path] = entry
                continue
            if clip_starts:
                levels.append(spectrograms(torch.from_numpy(segments), self.settings).numpy())
                starts += clip_starts
                recordings += [clip.recording] * len(clip_starts)
                labels += [clip.label] * len(clip_starts)
                files += [clip.file] * len(clip_starts)
        every = np.concatenate([np.empty((0, *segment_shape(self.settings)), np.float32), *levels])
        siblings = {recording: tuple(own) for recording, own in files_of.items() if len(own) > 1}
        return Segments(every, tuple(recordings), tuple(labels), tuple(starts), tuple(files), siblings)

    def _segments(self, clip: Clip, most: int) -> tuple[NDArray[np.float32], list[int]]:
        header = read_header(clip.path)
        of_one_recording = max(1, int(self.most * _LARGEST_SHARE))
        wanted = segment_starts(header.n_samples_at(self.settings.read_rate_hz), self.settings)[
            : min(of_one_recording, most)
        ]
        if not wanted:
            return np.empty((0, 0), np.float32), []
        segments, starts = read_segments(clip.path, header, wanted, self.settings)
        return segments, starts.tolist()


def counterparts(given: Segments, other: Segments) -> list[tuple[int, int]]:
    """Return the pairs of rows that hold the same segment of the same recording, in the order of `given`.

    Of a recording with several files on a device, those count whose names tell which belong together.
    """
    theirs = _files_by_recording(other)
    partner: dict[str, str] = {}
    for recording, files in _files_by_recording(given).items():
        partner |= pair_files(files, theirs.get(recording, ()))
    row_of = {place: row for row, place in enumerate(zip(other.files, other.starts, strict=True))}
    places = enumerate(zip(given.files, given.starts, strict=True))
    found = ((row, row_of.get((partner.get(file, ""), start))) for row, (file, start) in places)
    return [(row, match) for row, match in found if match is not None]


def unpaired_recordings(given: Segments, other: Segments) -> list[str]:
    """Return the recordings that both have, of which no name tells which files belong together."""
    theirs = _files_by_recording(other)
    files_of = _files_by_recording(given).items()
    return [name for name, files in files_of if name in theirs and not pair_files(files, theirs[name])]


def pair_files(files: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Return which of two devices' files of one recording belong together.

    One on either side do; of several, those whose name, or name without suffix, only one on either side has.
    """
    if len(files) == len(others) == 1:
        return {files[0]: others[0]}
    pairs: dict[str, str] = {}
    for part in ("name", "stem"):
        taken = set(pairs.values())
        mine = _by_name([file for file in files if file not in pairs], part)
        theirs = _by_name([file for file in others if file not in taken], part)
        pairs |= {mine[name]: theirs[name] for name in mine.keys() & theirs.keys()}
    return pairs


def _by_name(files: Iterable[str], part: str) -> dict[str, str]:
    """Return the files by a part of their path, without those that share it."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(plain_name(getattr(PurePath(file), part)), []).append(file)
    return {name: same[0] for name, same in found.items() if len(same) == 1}


def _files_by_recording(segments: Segments) -> dict[str, tuple[str, ...]]:
    single = {name: (file,) for name, file in zip(segments.recordings, segments.files, strict=True)}
    return {name: segments.siblings.get(name, own) for name, own in single.items()}


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
