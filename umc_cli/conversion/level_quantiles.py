"""How loud each mel band of a device's recordings gets: the tables that the converter `quantile` maps between."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_sounding_segments
from umc_cli.audio.spectrograms import spectrograms_of
from umc_cli.errors import InputError

N_QUANTILES = 20
QUANTILE_SHARES = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
"""2.5 %, 7.5 %, ... 97.5 %."""
MOST_SEGMENTS = 2_000
"""Maximum number of segments in the table of one device: 160,000 frames per band, 51 MB."""

MIN_SEGMENTS = 10
"""Fewer segments than this say nothing about a device."""


@dataclass(frozen=True)
class LevelQuantiles:
    """The table of one device."""

    levels_db: NDArray[np.float32]
    """[20, 80], dB: quantiles (2.5 %, 7.5 %, ... 97.5 %) of every mel band's frames."""
    n_segments: int
    labels: dict[str, int]
    """Segments by label."""
    n_failed: int
    """Recordings that could not be read."""


def measure_level_quantiles(
    clips: Sequence[Clip], settings: SegmentSettings, read: "ReadSegments | None" = None
) -> LevelQuantiles:
    """Measure the table of one device from its recordings.

    Where there are more than 2,000 segments, recordings are taken evenly over the list until there are enough. `read`:
    how; None: `read_segment_levels`.

    Raises:
        InputError: fewer than 10 segments can be read.
    """
    heard = (read or read_segment_levels)(clips, settings, MOST_SEGMENTS)
    labels, n_failed = Counter(heard.labels), heard.n_failed
    n_segments = sum(labels.values())
    if n_segments < MIN_SEGMENTS:
        unread = f", of which {n_failed} cannot be read (such as {heard.failure})" if n_failed else ""
        raise InputError(
            f"only {n_segments} segments in {len(clips)} recordings{unread}",
            f"converters that learn from recordings need at least {MIN_SEGMENTS} segments per device: add recordings, "
            "or name another --converter",
        )
    levels = heard.log_mel.transpose(1, 0, 2).reshape(LOG_MEL_SETTINGS.n_mels, -1)
    quantiles = np.quantile(levels, QUANTILE_SHARES, axis=1).astype(np.float32)
    return LevelQuantiles(quantiles, n_segments, dict(sorted(labels.items())), n_failed)


@dataclass(frozen=True)
class SegmentLevels:
    """Segments of one device's recordings."""

    log_mel: NDArray[np.float32]
    """[N, 80, 80], dB."""
    recordings: list[str]
    """[N]"""
    labels: list[str]
    """[N]"""
    n_failed: int
    """Recordings that could not be read, of those that were tried."""
    failure: str = ""
    """The first of them, and why."""

    def first(self, most: int) -> "SegmentLevels":
        """Return the first segments, as views: what reading no more of them gives."""
        if len(self.labels) <= most:
            return self
        return SegmentLevels(
            self.log_mel[:most], self.recordings[:most], self.labels[:most], self.n_failed, self.failure
        )


def read_segment_levels(
    clips: Sequence[Clip], settings: SegmentSettings, most_segments: int = MOST_SEGMENTS
) -> SegmentLevels:
    """Return segments of recordings; where there are more than `most_segments`, of recordings evenly over the list."""
    spectrograms: list[NDArray[np.float32]] = []
    recordings: list[str] = []
    labels: list[str] = []
    n_failed, failure = 0, ""
    for clip in _spread(clips):
        if len(labels) >= most_segments:
            break
        try:
            segments = _segments(clip.path, settings)
        except InputError as error:
            n_failed += 1
            failure = failure or f"{clip.file}: {error.message}"
            continue
        segments = segments[: most_segments - len(labels)]
        if len(segments):
            spectrograms.append(spectrograms_of(segments))
            recordings += [clip.recording] * len(segments)
            labels += [clip.label] * len(segments)
    nothing = np.zeros((0, LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames), np.float32)
    return SegmentLevels(np.concatenate(spectrograms or [nothing]), recordings, labels, n_failed, failure)


ReadSegments = Callable[[Sequence[Clip], SegmentSettings, int], SegmentLevels]
"""As `read_segment_levels`, or one that remembers (see `conversion.heard_segments`)."""


def label_distance(first: LevelQuantiles, second: LevelQuantiles) -> float:
    """Return the total variation distance of two tables' labels: 0 the same mixture, 1 no label in common."""
    labels = {*first.labels, *second.labels}
    return 0.5 * sum(
        abs(first.labels.get(label, 0) / first.n_segments - second.labels.get(label, 0) / second.n_segments)
        for label in labels
    )


def _segments(path: Path, settings: SegmentSettings) -> NDArray[np.float32]:
    # A long recording must not crowd out the others, nor fill the memory.
    return read_sounding_segments(path, read_header(path), MOST_SEGMENTS // 10, settings)[0]


def _spread(clips: Sequence[Clip]) -> list[Clip]:
    """Order clips so that every beginning of the list is spread over all of it (van der Corput order)."""
    bits = max(1, (len(clips) - 1).bit_length())
    order = sorted(range(len(clips)), key=lambda index: int(f"{index:0{bits}b}"[::-1], 2))
    return [clips[index] for index in order]
