"""Segments of devices' recordings, read once for all that is learned from them: level tables, then maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.level_quantiles import SegmentLevels, read_segment_levels

MOST_SEGMENTS = 1_000
"""Of each device are remembered, 26 MB: maps are learned from no more."""
MOST_DEVICES = 8
"""Devices that are remembered, those that were read first. The recordings of others are read each time."""


@dataclass(frozen=True)
class _Remembered:
    clips: list[Clip]
    settings: SegmentSettings
    heard: SegmentLevels
    is_all: bool
    """There are no more segments."""


@dataclass
class HeardSegments:
    """Reads segments as `read_segment_levels` does, and remembers those of the first devices that it read."""

    most_devices: int = MOST_DEVICES
    most_segments: int = MOST_SEGMENTS
    _remembered: list[_Remembered] = field(default_factory=list)

    def __call__(self, clips: Sequence[Clip], settings: SegmentSettings, most_segments: int) -> SegmentLevels:
        """Return segments of one device's recordings; see `read_segment_levels`."""
        own = list(clips)
        about = next((one for one in self._remembered if one.settings == settings and one.clips == own), None)
        if about and (about.is_all or most_segments <= len(about.heard.labels)):
            return about.heard.first(most_segments)
        heard = read_segment_levels(own, settings, most_segments)
        if about is None and len(self._remembered) < self.most_devices:
            first = heard.first(self.most_segments)
            if first is not heard:
                first = replace(first, log_mel=first.log_mel.copy())  # a view would keep all of them in memory
            is_all = len(heard.labels) < min(most_segments, self.most_segments)
            self._remembered.append(_Remembered(own, settings, first, is_all))
        return heard
