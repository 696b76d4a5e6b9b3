"""The response over mel bands against closed forms and against a second implementation."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SEGMENT_SAMPLES
from umc_cli.audio.mel_scale import mel_band_edges_hz
from umc_cli.errors import InputError
from umc_cli.response.frequency_response import (
    Curve,
    band_centres_hz,
    band_response_db,
    impulse_response_curve,
    read_curve,
    white_noise_floor_db,
)

# In a fresh environment librosa compiles itself in 17 s, and in every process that uses it at that time.
pytestmark = pytest.mark.xdist_group("examples")


def curve(*points: tuple[float, float]) -> Curve:
    frequency_hz, response_db = np.array(points, dtype=float).T
    return Curve(frequency_hz, response_db)


def peak(centre_hz: float, height_db: float) -> Curve:
    """A bell of a third of an octave over log frequency."""
    frequency_hz = np.geomspace(20, 11_025, 2000)
    octaves = np.log2(frequency_hz / centre_hz)
    return Curve(frequency_hz, height_db * np.exp(-0.5 * (octaves / 0.33) ** 2))


def write_curve(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("level_db", [-37.5, 0.0, 12.0])
def test_a_flat_curve_is_0_db_in_all_bands_whatever_its_level(level_db: float) -> None:
    response_db = band_response_db(curve((100, level_db), (20_000, level_db)))
    assert response_db.shape == (128,)
    np.testing.assert_allclose(response_db, 0, atol=1e-9)


def test_six_db_an_octave_gives_the_closed_form_of_a_triangle_over_f_squared() -> None:
    # |H|^2 proportional to f^2; over a triangle with the corners a, b, c the mean of f^2 is
    # (a^2 + b^2 + c^2 + ab + bc + ca) / 6.
    edges = np.array(mel_band_edges_hz(128))
    a, b, c = edges[:-2], edges[1:-1], edges[2:]
    expected_db = 10 * np.log10((a * a + b * b + c * c + a * b + b * c + c * a) / 6 / 1000**2)
    response_db = band_response_db(curve((1.0, 0.0), (16_000.0, 20 * np.log10(16_000.0))))
    np.testing.assert_allclose(response_db, expected_db, atol=0.02)


@pytest.mark.parametrize("sign", [1, -1], ids=["peak", "notch"])
@pytest.mark.parametrize("centre_hz", [300.0, 2500.0, 7000.0])
def test_a_peak_or_a_notch_lies_in_its_band(centre_hz: float, sign: int) -> None:
    response_db = band_response_db(peak(centre_hz, 12.0 * sign))
    centres = band_centres_hz()
    extreme = int(np.argmax(sign * response_db))
    assert extreme == np.argmin(np.abs(centres - centre_hz))
    shape_there = response_db[extreme] + np.interp(1000, *vars(peak(centre_hz, 12.0 * sign)).values())
    assert shape_there == pytest.approx(12 * sign, abs=0.5)


def test_the_curve_is_constant_beyond_its_ends() -> None:
    response_db = band_response_db(curve((500, -4), (1000, 0), (2000, 4)))
    centres = band_centres_hz()
    np.testing.assert_allclose(response_db[centres < 450], -4, atol=1e-6)
    np.testing.assert_allclose(response_db[centres > 2200], 4, atol=1e-6)


def test_the_reference_is_the_value_at_1_khz() -> None:
    rising = curve((100, -12.0), (1000, -9.8), (4000, -3.0), (10_000, 0.0))
    moved = Curve(rising.frequency_hz, rising.response_db + 30)
    np.testing.assert_allclose(band_response_db(rising), band_response_db(moved), atol=1e-9)
    assert np.interp(1000, band_centres_hz(), band_response_db(rising)) == pytest.approx(0, abs=0.05)


def test_agrees_with_the_log_mel_spectrum_of_a_filtered_impulse() -> None:
    """The paper's way (section 4.1): record an impulse, take the log-mel spectrum of 200 ms of it."""
    rate, n_fft = LOG_MEL_SETTINGS.sample_rate_hz, LOG_MEL_SETTINGS.n_fft
    smooth = peak(3000.0, 9.0)
    tilt_db = -3.0 * np.log2(smooth.frequency_hz / 1000)
    response = Curve(smooth.frequency_hz, smooth.response_db + np.clip(tilt_db, -9, 9))
    grid_hz = np.linspace(0, rate / 2, 1025)
    gain_db = np.interp(np.log(np.maximum(grid_hz, 1)), np.log(response.frequency_hz), response.response_db)
    taps = scipy.signal.firwin2(513, grid_hz, 10 ** (gain_db / 20), fs=rate)
    impulse = np.zeros(round(0.2 * rate))
    impulse[len(impulse) // 2] = 1.0
    recorded = np.convolve(impulse, taps, mode="same")

    def log_mel_spectrum(waveform: np.ndarray) -> np.ndarray:
        spectrogram = librosa.feature.melspectrogram(
            y=waveform, sr=rate, n_fft=n_fft, hop_length=len(waveform) // 2, n_mels=128, fmax=rate / 2
        )
        return 10 * np.log10(spectrogram[:, 1])  # the frame around the impulse

    expected_db = log_mel_spectrum(recorded) - log_mel_spectrum(impulse)
    expected_db -= np.interp(1000, response.frequency_hz, response.response_db)
    where_smooth = band_centres_hz() > 150  # below, a 46-ms window cannot follow the curve
    difference_db = (band_response_db(response) - expected_db)[where_smooth]
    assert np.abs(difference_db).max() < 0.3
    assert np.ptp(expected_db) > 12, "a flat reference would show nothing"


@pytest.mark.parametrize("level_dbfs", [-40.0, -65.0])
def test_white_noise_has_the_stated_floor_in_every_band(level_dbfs: float) -> None:
    generator = torch.Generator().manual_seed(7)
    noise = 10 ** (level_dbfs / 20) * torch.randn(1000, SEGMENT_SAMPLES, generator=generator)
    inner_frames = log_mel(noise)[:, :, 2:78]  # frames at the ends see padding
    power = (10 ** (inner_frames.double() / 10)).mean(dim=(0, 2)).numpy()
    np.testing.assert_allclose(10 * np.log10(power), white_noise_floor_db(level_dbfs), atol=0.2)


def test_reads_a_curve_with_a_byte_order_mark_and_spaces(tmp_path: Path) -> None:
    path = write_curve(tmp_path / "curve.csv", "\ufefffrequency_hz, response_db", "100, -3.5", "1000, 0")
    read = read_curve(path)
    np.testing.assert_array_equal(read.frequency_hz, [100, 1000])
    np.testing.assert_array_equal(read.response_db, [-3.5, 0])


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["frequency_hz,level", "100,1", "200,2"], "no column 'response_db'"),
        (["frequency_hz,response_db", "200,1", "100,2"], "do not rise"),
        (["frequency_hz,response_db", "100,1", "100,2"], "do not rise"),
        (["frequency_hz,response_db", "0,1", "100,2"], "do not rise from above 0 Hz"),
        (["frequency_hz,response_db", "100,nan", "200,2"], "not finite"),
        (["frequency_hz,response_db", "nan,1", "200,2"], "not finite"),
        (["frequency_hz,response_db", "100,1", "inf,2"], "not finite"),
        (["frequency_hz,response_db", "100,1"], "fewer than two points"),
        (["frequency_hz,response_db"], "fewer than two points"),
        (["frequency_hz,response_db", "100,1", "200"], "not a table of numbers"),
        (["frequency_hz,response_db", "100,1", "200,loud"], "not a table of numbers.*loud"),
    ],
)
def test_refuses_a_bad_curve(tmp_path: Path, lines: list[str], complaint: str) -> None:
    path = write_curve(tmp_path / "bad.csv", *lines)
    with pytest.raises(InputError, match=complaint) as caught:
        read_curve(path)
    assert str(path) in caught.value.message


def test_refuses_a_missing_or_binary_curve(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read curve"):
        read_curve(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"frequency_hz,response_db\n\xff\xfe\x00,1\n")
    with pytest.raises(InputError, match="not a table of numbers"):
        read_curve(tmp_path / "binary.csv")


def test_an_impulse_response_gives_the_magnitude_of_its_filter() -> None:
    # y[n] = x[n] + 0.5 x[n-1] has |H|^2 = 1.25 + cos(w).
    curve = impulse_response_curve(np.array([1.0, 0.5]), 48_000)
    expected = 10 * np.log10(1.25 + np.cos(2 * np.pi * curve.frequency_hz / 48_000))
    np.testing.assert_allclose(curve.response_db, expected, atol=1e-9)
    assert curve.frequency_hz[0] == 1
