"""What the mean of all channels loses: of a recording with one capsule inverted it is next to nothing, and a channel
that holds nothing makes it quieter."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from umc_cli.audio.files import AudioHeader, read_header, read_samples
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.errors import InputError

FAR_BELOW_DB = -10.0
"""Two channels without anything in common lose 3 dB by mixing, one channel beside a silent one 6 dB."""
DEAD_DB = -40.0
"""Below the loudest channel: no microphone heard the same sounds there."""

_SECONDS = 4
_MOST_CHANNELS = 8
_LOOKED_AT = 8


@dataclass(frozen=True)
class Mix:
    """How the mean of all channels compares with the loudest one."""

    loss_db: float
    """Level of the mean above that of the loudest channel; 0 for silence, where nothing can be lost."""
    loudest: int
    """Channel, counted from 1."""
    dead: int | None
    """The first channel that is next to silent beside it; None where there is none."""

    @property
    def cancels(self) -> bool:
        """Tell whether channels take each other away."""
        return self.loss_db < FAR_BELOW_DB


NOTHING_LOST = Mix(0.0, 1, None)


def compare_mix(path: Path, header: AudioHeader) -> Mix:
    """Compare the mean of all channels with each of them, over 4 s in the middle of a recording.

    Of more than eight channels the first eight are compared.

    Raises:
        InputError: see `read_samples`.
    """
    start = max(0, (header.n_samples - _SECONDS * SAMPLE_RATE_HZ) // 2)
    stop = min(header.n_samples, start + _SECONDS * SAMPLE_RATE_HZ)

    def power(channel: int | None) -> float:
        return float(np.square(read_samples(path, header, start, stop, channel), dtype=np.float64).mean())

    powers = [power(number) for number in range(1, min(header.channels, _MOST_CHANNELS) + 1)]
    most = max(powers)
    if most <= 1e-20:
        return NOTHING_LOST
    dead = next((number for number, own in enumerate(powers, 1) if own < most * 10 ** (DEAD_DB / 10)), None)
    return Mix(float(10 * np.log10(max(power(None), 1e-20) / most)), powers.index(most) + 1, dead)


def mix_warnings(by_device: Iterable[Sequence[Path]]) -> list[str]:
    """Return a warning for each recording whose mean of all channels is not what its loudest channel heard.

    Of each device the first eight recordings are looked at.
    """
    warnings = []
    for path in chain.from_iterable(recordings[:_LOOKED_AT] for recordings in by_device):
        with suppress(InputError):  # who reads all of it says so
            header = read_header(path)
            mix = compare_mix(path, header) if header.channels > 1 else NOTHING_LOST
            if mix.cancels or mix.dead is not None:
                what = "cancel" if mix.cancels else f"differ: channel {mix.dead} holds next to nothing"
                warnings.append(
                    f"the channels of {path} {what}. Their mean, which is measured, lies {-mix.loss_db:.0f} dB below "
                    f"channel {mix.loudest}: keep that channel alone (sox IN.wav OUT.wav remix {mix.loudest})"
                )
    return warnings
