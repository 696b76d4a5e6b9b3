"""Impulse responses that others measured: audio files and SOFA (AES69, which is HDF5)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.channels import choose_channel, read_channel
from umc_cli.audio.files import HIGHEST_SAMPLE_RATE_HZ, LOWEST_SAMPLE_RATE_HZ
from umc_cli.errors import InputError
from umc_cli.hdf5_dataset import BROKEN, open_for_reading, own_dataset
from umc_cli.response.impulse_response import BEFORE_S, window

SOFA_SUFFIX = ".sofa"

_CONSTANT = 10.0
"""Mean over standard deviation of a tail that is a constant, not the slow end of a response."""

_MOST_VALUES = 1 << 26
"""An impulse response of ten seconds at 48 kHz, of a hundred receivers; 512 MiB."""


def read_impulse_response(path: Path, channel: str | None, window_ms: float | None) -> tuple[NDArray[np.float64], int]:
    """Return an impulse response and its sample rate in Hz.

    Shape: [n]. `channel`: see `read_channel`; in SOFA files it counts receivers. `window_ms` cuts what comes later
    than that behind its largest sample; None keeps all.

    Raises:
        InputError: the file cannot be read, holds more than one response, or is silent.
        SettingsError: `channel` is neither a number nor `mix`.
    """
    is_sofa = path.suffix.lower() == SOFA_SUFFIX
    response, rate_hz = _read_sofa(path, channel) if is_sofa else read_channel(path, channel, may_be_short=True)
    response = _without_constant_tail(response)
    if window_ms is None:
        return response, rate_hz
    weights = window(rate_hz, window_ms)
    start = int(np.argmax(np.abs(response))) - round(BEFORE_S * rate_hz)
    padded = np.pad(response, (max(0, -start), len(weights)))
    return padded[max(0, start) :][: len(weights)] * weights, rate_hz


def _without_constant_tail(response: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take out a constant that a response ends with: it rang out, and a converter's offset is what is left."""
    tail = response[3 * len(response) // 4 :]
    mean = tail.mean()
    return response - mean if abs(mean) > _CONSTANT * tail.std() else response


def _read_sofa(path: Path, channel: str | None) -> tuple[NDArray[np.float64], int]:
    if not path.is_file():
        raise InputError(f"{path} does not exist", "check the path")
    try:
        with open_for_reading(path) as file:
            data, rate = own_dataset(file, "Data.IR"), own_dataset(file, "Data.SamplingRate")
            if max(data.size, rate.size) > _MOST_VALUES:
                raise InputError(f"{path} holds {data.size} samples, too many for an impulse response", "cut it")
            responses = np.asarray(data[...], np.float64)
            rates = np.unique(np.asarray(rate[...], np.float64))
    except BROKEN as error:
        raise InputError(
            f"{path} is not a SOFA file with Data.IR and Data.SamplingRate: {error}", "export it with an FIR data type"
        ) from error
    if responses.ndim != 3 or len(rates) != 1 or not LOWEST_SAMPLE_RATE_HZ <= rates[0] <= HIGHEST_SAMPLE_RATE_HZ:
        raise InputError(
            f"{path}: Data.IR is {list(responses.shape)} at {rates} Hz", "export it as [M, R, N] at one sample rate"
        )
    if len(responses) != 1:
        raise InputError(f"{path} holds {len(responses)} measurements", "export the one to be used")
    if not np.isfinite(responses).all() or not responses.any():
        raise InputError(f"{path} is silent or holds NaN", "export it again")
    try:
        return choose_channel(responses[0], channel), round(float(rates[0]))
    except InputError as error:
        raise InputError(f"{path} {error.message}", error.hint) from error
