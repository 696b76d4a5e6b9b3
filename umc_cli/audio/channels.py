"""One channel of a recording at the rate it was made at, for measurements: never mixed or resampled unasked."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.files import read_channels, read_header
from umc_cli.errors import InputError, SettingsError

MOST_SECONDS = 1800.0
"""A measurement of half an hour fills 1.4 GB at 96 kHz; longer files are no measurements."""

_MOST_VALUES = round(2 * MOST_SECONDS * 96_000)
"""Of all channels: 2.8 GB."""

_SAME = 1e-4
"""Of the peak: channels that differ by less are one microphone written twice."""


def read_channel(path: Path, channel: str | None, may_be_short: bool = False) -> tuple[NDArray[np.float64], int]:
    """Return the samples of one channel and their rate.

    Shape: [n] float64, full scale 1. `channel`: its number, counted from 1, or `mix` for the mean of all. None takes
    the only one, and refuses a recording whose channels differ. `may_be_short`: as impulse responses are.

    Raises:
        InputError: see `read_header`; or the file cannot be decoded, is too long, is silent, holds NaN, or its
            channels differ and none was chosen. The message begins with the path.
        SettingsError: `channel` is neither a number nor `mix`.
    """
    try:
        header = read_header(path, may_be_short)
        if header.frames > MOST_SECONDS * header.sample_rate_hz:
            raise InputError("is longer than half an hour", "cut out the part with the measurement")
        if header.frames * header.channels > _MOST_VALUES:
            raise InputError(f"holds {header.channels} channels of {header.frames} samples", "leave some of them out")
        samples = read_channels(path, header)
        if not np.isfinite(samples).all():
            raise InputError("holds NaN or infinite samples", "export it again from the original recording")
        if not samples.any():
            raise InputError("is silent: every sample is zero", "check the microphone and record again")
        chosen = choose_channel(samples.T, channel)
    except InputError as error:
        raise InputError(f"{path} {error.message}", error.hint) from error
    if not chosen.any():
        raise InputError(f"{path}: the chosen channel is silent", "choose another --channel")
    return chosen, header.sample_rate_hz


def choose_channel(channels: NDArray[np.float64], channel: str | None) -> NDArray[np.float64]:
    """Return one of several channels, or their mean. Shape: [channels, n] -> [n].

    Raises:
        InputError: there is no such channel, or they differ and none was chosen.
        SettingsError: `channel` is neither a number nor `mix`.
    """
    count = len(channels)
    if channel is None:
        if np.abs(channels - channels[0]).max() > _SAME * np.abs(channels).max():
            raise InputError(
                f"has {count} channels that differ", f"choose one: --channel 1 ... --channel {count}, or --channel mix"
            )
        return np.asarray(channels[0])
    if channel == "mix":
        return np.asarray(channels.mean(axis=0))
    if not channel.isdecimal():
        raise SettingsError(f"{channel!r} is not a channel", "use a number counted from 1, or mix")
    if not 1 <= int(channel) <= count:
        raise InputError(f"has no channel {channel}", f"it has {count}, counted from 1")
    return np.asarray(channels[int(channel) - 1])
