"""Log-mel segments of a device's recordings, and which segments two devices recorded together."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel import LOG_MEL_SETTINGS, log_mel
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.audio.segments import SegmentSettings, read_segments, segment_starts
from umc_cli.errors import InputError
from umc_cli.evaluation.conversion_measures import Segments

_LARGEST_SHARE = 0.1
"""Of the segments asked for: what one recording may give, so that a long one does not crowd out the others."""


@dataclass
class SegmentReader:
    """Reads segments of recordings, and keeps what could not be read."""

    settings: SegmentSettings
    most: int
    """Segments of one device that are read at the most."""
    failed: dict[str, FailedInput] = field(default_factory=dict)
    """By path."""

    def read(self, clips: Sequence[Clip], first: Collection[str] = ()) -> Segments:
        """Read the segments of one device's clips: of the recordings named in `first`, then of the others.

        Recordings are taken in the order of a hash of their names, which is the same on every device.
        """
        spectrograms: list[NDArray[np.float32]] = []
        recordings: list[str] = []
        labels: list[str] = []
        starts: list[int] = []
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
                spectrograms.append(log_mel(torch.from_numpy(segments)).numpy())
                starts += clip_starts
                recordings += [clip.recording] * len(clip_starts)
                labels += [clip.label] * len(clip_starts)
        shape = (0, LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)
        levels = np.concatenate([np.empty(shape, np.float32), *spectrograms])
        return Segments(levels, tuple(recordings), tuple(labels), tuple(starts))

    def _segments(self, clip: Clip, most: int) -> tuple[NDArray[np.float32], list[int]]:
        header = read_header(clip.path)
        of_one_recording = max(1, int(self.most * _LARGEST_SHARE))
        wanted = segment_starts(header.n_samples, self.settings)[: min(of_one_recording, most)]
        if not wanted:
            return np.empty((0, 0), np.float32), []
        segments, starts = read_segments(clip.path, header, wanted, self.settings)
        return segments, starts.tolist()


def counterparts(given: Segments, other: Segments) -> list[tuple[int, int]]:
    """Return the pairs of rows that hold the same segment of the same recording, in the order of `given`."""
    places = zip(other.recordings, other.starts, strict=True)
    row_of = {place: row for row, place in reversed(list(enumerate(places)))}
    found = ((row, row_of.get(place)) for row, place in enumerate(zip(given.recordings, given.starts, strict=True)))
    return [(row, match) for row, match in found if match is not None]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
