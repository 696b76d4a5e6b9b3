"""A frequency response over 128 mel bands, from a measured curve (dB over Hz)."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.mel_scale import mel_band_edges_hz
from umc_cli.errors import InputError
from umc_cli.response.device import N_BANDS

_GRID_STEP_HZ = 2.0
"""Step of the grid that bands are averaged on: two dozen points in the narrowest band (26 Hz a flank)."""

REFERENCE_HZ = 1000.0


@dataclass(frozen=True)
class Curve:
    """A measured magnitude response."""

    frequency_hz: NDArray[np.float64]
    """[n], rising, above 0."""
    response_db: NDArray[np.float64]
    """[n], dB, any reference."""


def read_curve(path: Path) -> Curve:
    """Read a CSV file with the columns `frequency_hz,response_db`.

    Raises:
        InputError: a column is missing, a value is no finite number, there are fewer than two rows, or the
            frequencies do not rise from above 0 Hz.
    """
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read curve {path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"curve {path} is not a table of numbers: {error}", "save it as UTF-8") from error
    return parse_curve(path, text)


def parse_curve(path: Path, text: str) -> Curve:
    """Return the curve in the text of a CSV file with the columns `frequency_hz,response_db`; see `read_curve`."""
    try:
        # Spreadsheets put a space after the comma.
        rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
        long = next((number for number, row in enumerate(rows, start=2) if None in row), None)
        if long is not None:
            line = text.splitlines()[long - 1][:60]
            raise InputError(
                f"curve {path} line {long} has more fields than there are columns: {line!r}",
                "write decimals with a point, not a comma",
            )
        frequency_hz = np.array([float(row["frequency_hz"]) for row in rows])
        response_db = np.array([float(row["response_db"]) for row in rows])
    except KeyError as error:
        raise InputError(
            f"curve {path} has no column {error}", "write two columns: frequency_hz,response_db"
        ) from error
    except (TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"curve {path} is not a table of numbers: {error}", "write two columns: frequency_hz,response_db"
        ) from error
    if len(rows) < 2:
        raise InputError(f"curve {path} has fewer than two points", "measure at more frequencies")
    if not np.all(np.isfinite(frequency_hz)) or not np.all(np.isfinite(response_db)):
        raise InputError(f"curve {path} holds a value that is not finite", "remove the row with NaN or inf")
    if frequency_hz[0] <= 0 or not np.all(np.diff(frequency_hz) > 0):
        raise InputError(
            f"the frequencies of curve {path} do not rise from above 0 Hz", "sort it and remove duplicates"
        )
    return Curve(frequency_hz, response_db)


def impulse_response_curve(impulse_response: NDArray[np.float64], rate_hz: float) -> Curve:
    """Return the magnitude response of a device from its impulse response, at steps of about 1 Hz.

    Shape: [n], full scale 1, at `rate_hz`. Silence counts as -200 dB.
    """
    n_points = max(len(impulse_response), round(rate_hz))
    magnitude = np.abs(np.fft.rfft(impulse_response, n_points))[1:]
    frequency_hz = np.asarray(np.fft.rfftfreq(n_points, 1 / rate_hz)[1:], np.float64)
    response_db: NDArray[np.float64] = 20 * np.log10(np.maximum(magnitude, 1e-10))
    return Curve(frequency_hz, response_db)


def band_centres_hz() -> NDArray[np.float64]:
    """Return the centres of the 128 mel bands, [128] in Hz."""
    return np.array(mel_band_edges_hz(N_BANDS)[1:-1])


def band_response_db(curve: Curve) -> NDArray[np.float64]:
    """Return the mean power of `curve` in each mel band, 0 dB at 1 kHz, [128] in dB.

    This is the log-mel spectrum of an impulse recorded with that response (paper, section 4.1), less that of
    the impulse itself: the triangular band weights average the power |H(f)|^2, so a flat curve gives 0 dB
    throughout. The curve is interpolated linearly in dB over log frequency and held constant beyond its ends.
    0 dB is the curve's value at 1 kHz; the band around 1 kHz differs from it by its own averaging.
    """
    at_reference_db = np.interp(np.log(REFERENCE_HZ), np.log(curve.frequency_hz), curve.response_db)
    return np.asarray(band_level_db(curve) - at_reference_db)


def band_level_db(curve: Curve) -> NDArray[np.float64]:
    """Return the mean power of `curve` in each mel band, [128] in dB, with the curve's own reference."""
    log_frequency = np.log(curve.frequency_hz)
    power = 10 ** (np.interp(np.log(_grid_hz()), log_frequency, curve.response_db) / 10)
    weights = _grid_weights()
    return np.asarray(10 * np.log10(weights @ power / weights.sum(axis=1)))


def _grid_hz() -> NDArray[np.float64]:
    return np.arange(_GRID_STEP_HZ, LOG_MEL_SETTINGS.f_max_hz + _GRID_STEP_HZ / 2, _GRID_STEP_HZ)


@lru_cache(maxsize=1)
def _grid_weights() -> NDArray[np.float64]:
    return band_weights(_grid_hz())


def band_weights(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the triangular weight of every frequency in every mel band. Shape: [n] -> [128, n], 0 to 1."""
    edges_hz = np.array(mel_band_edges_hz(N_BANDS))[:, None]
    rise = (frequency_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    fall = (edges_hz[2:] - frequency_hz) / (edges_hz[2:] - edges_hz[1:-1])
    weights: NDArray[np.float64] = np.maximum(0, np.minimum(rise, fall))
    return weights


def white_noise_floor_db(level_dbfs: float) -> float:
    """Return the log-mel level in dB of white noise of `level_dbfs` (RMS, dB re full scale), in every band.

    A Hann window of N samples gathers sum(w^2) = 3/8 N times the variance per STFT bin, and an
    area-normalised (Slaney) mel band sums to 1 / bin width = N / sample rate, to 0.15 dB in the 80 bands of
    a log-mel spectrogram (low bands are few bins wide). It is the level of the mean power; the mean of the
    levels in dB lies up to 2.5 dB lower, where a band holds one bin.
    """
    settings = LOG_MEL_SETTINGS
    gain = 0.375 * settings.n_fft * settings.n_fft / settings.sample_rate_hz
    return float(level_dbfs + 10 * np.log10(gain))
