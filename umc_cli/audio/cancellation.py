"""Channels that cancel: of a recording with one capsule inverted, the mean of all channels is next to nothing."""

from pathlib import Path

import numpy as np

from umc_cli.audio.files import AudioHeader, read_samples
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ

FAR_BELOW_DB = -10.0
"""Two channels without anything in common lose 3 dB by mixing, one channel beside a silent one 6 dB."""

_SECONDS = 4
_MOST_CHANNELS = 8


def mix_loss_db(path: Path, header: AudioHeader) -> float:
    """Return the level of the mean of all channels above that of the loudest one, over 4 s in the middle, in dB.

    0 for silence, where nothing can be lost. Of more than eight channels the first eight are compared.

    Raises:
        InputError: see `read_samples`.
    """
    start = max(0, (header.n_samples - _SECONDS * SAMPLE_RATE_HZ) // 2)
    stop = min(header.n_samples, start + _SECONDS * SAMPLE_RATE_HZ)

    def power(channel: int | None) -> float:
        return float(np.square(read_samples(path, header, start, stop, channel), dtype=np.float64).mean())

    loudest = max(power(number) for number in range(1, min(header.channels, _MOST_CHANNELS) + 1))
    return float(10 * np.log10(max(power(None), 1e-20) / loudest)) if loudest > 1e-20 else 0.0
