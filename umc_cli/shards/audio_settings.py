"""How the audio files of a run are made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AudioSettings:
    """What decides the audio files of a run beside the run's own settings."""

    kinds: tuple[str, ...]
    """`flac`, `wav`: the suffixes of the files."""
    sample_rate_hz: int | None
    """None: each recording's own."""
    bit_depth: str
    """`16`, `24` or `float`."""
    channel: int | None
    """Counted from 1; None means the mean of all."""
    keeps_channels: bool
    """Whether every channel is converted on its own."""
    gain_db: float = 0.0
    """Of all files, so that none exceeds full scale."""
