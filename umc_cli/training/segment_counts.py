"""How many segments recordings give, told from their headers, and a few recordings to try a training on."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from umc_cli.audio.files import AudioHeader, read_header
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import segment_starts
from umc_cli.errors import InputError


@dataclass(frozen=True)
class SegmentCounts:
    """What headers say of the recordings of all parts."""

    n_segments: Mapping[str, tuple[int, ...]]
    """By part, of each of its clips; 0 of one that cannot be read. What a silence gate leaves out counts."""
    sound_s: float
    failed: tuple[FailedInput, ...]

    @property
    def n_files(self) -> int:
        """Return the number of clips in all parts."""
        return sum(map(len, self.n_segments.values()))

    def of(self, part: str) -> int:
        """Return the number of segments in a part."""
        return sum(self.n_segments[part])


def count_segments(parts: Mapping[str, Sequence[Clip]], settings: SegmentSettings, workers: int) -> SegmentCounts:
    """Return what the headers of all parts' clips say; see `segment_store.store_segments`."""
    failed: list[FailedInput] = []
    n_segments: dict[str, tuple[int, ...]] = {}
    seconds = 0.0
    with ThreadPoolExecutor(workers, "umc-reader") as pool:
        for name, clips in parts.items():
            counts = []
            for header in pool.map(_header, clips):
                if isinstance(header, FailedInput):
                    failed.append(header)
                    counts.append(0)
                    continue
                seconds += header.frames / header.sample_rate_hz
                counts.append(len(segment_starts(header.n_samples_at(settings.read_rate_hz), settings)))
            n_segments[name] = tuple(counts)
    return SegmentCounts(n_segments, seconds, tuple(failed))


def _header(clip: Clip) -> AudioHeader | FailedInput:
    try:
        return read_header(clip.path)
    except InputError as error:
        return FailedInput(clip.file, error.message, error.hint)


def sample_of(clips: Sequence[Clip], n_segments: Sequence[int], most: int) -> list[Clip]:
    """Return some of the clips that give segments, spread over all: about as many as give `most` segments."""
    useful = [clip for clip, count in zip(clips, n_segments, strict=True) if count]
    if sum(n_segments) <= most:
        return useful
    n_wanted = math.ceil(most * len(useful) / sum(n_segments))
    return [useful[number * len(useful) // n_wanted] for number in range(n_wanted)]
