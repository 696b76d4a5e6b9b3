"""Which segments a recording gives."""

from typing import Annotated, Literal

from pydantic import Field

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.config import RECORDINGS, Option, Settings


class SegmentSettings(Settings):
    """Which segments a recording gives."""

    hop: Annotated[int, Field(ge=256, le=1 << 40), Option(RECORDINGS)] = SEGMENT_SAMPLES
    """Samples (at 22,050 Hz) from one segment to the next; 20480 means no overlap."""
    short_clips: Annotated[Literal["pad", "drop"], Option(RECORDINGS)] = "pad"
    """A clip shorter than one segment: pad (with zeros at the end) or drop."""
    remainder: Annotated[Literal["half", "pad", "drop"], Option(RECORDINGS)] = "half"
    """The partial segment at the end of a recording: half (pad it if at least half of it is new), pad or drop."""
    silence_gate: Annotated[float | None, Field(le=0), Option(RECORDINGS, default="keep all")] = None
    """Leave out segments below this RMS level, in dB re full scale."""

    @property
    def segments(self) -> "SegmentSettings":
        """Return these settings alone, where a command's settings hold more."""
        return SegmentSettings.model_validate(self.model_dump(include=set(SegmentSettings.model_fields)))

    @property
    def read_channel(self) -> int | None:
        """Return which channel to read, counted from 1; None means the mean of all."""
        return None

    @property
    def read_rate_hz(self) -> int:
        """Return the sample rate at which segments are read."""
        return SAMPLE_RATE_HZ

    @property
    def segment_samples(self) -> int:
        """Return the length of a segment at `read_rate_hz`."""
        return SEGMENT_SAMPLES

    @property
    def hop_samples(self) -> int:
        """Return the samples from one segment to the next, at `read_rate_hz`."""
        return self.hop


class ChannelSegmentSettings(SegmentSettings):
    """Which segments a recording gives, of one of its channels; `segments` are these settings without the channel."""

    channel: Annotated[int | None, Field(ge=1, exclude_if=lambda channel: channel is None)] = None
    """Counted from 1; None means the mean of all, and stands in no dump, so that the ids of runs stay."""

    @property
    def read_channel(self) -> int | None:
        """Return which channel to read."""
        return self.channel
