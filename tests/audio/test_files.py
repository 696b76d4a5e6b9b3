from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from umc_cli.audio.files import AudioHeader, read_header, read_samples
from umc_cli.errors import InputError


def write(path: Path, samples: np.ndarray, rate: int = 22_050, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def tone(seconds: float, rate: int, frequency_hz: float = 1000.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("aiff", 1e-4), ("ogg", 0.05), ("mp3", 0.05)]
)
def test_every_format_gives_the_samples_that_were_written(tmp_path: Path, suffix: str, tolerance: float) -> None:
    samples = tone(1.0, 22_050)
    path = write(tmp_path / f"tone.{suffix}", samples)
    header = read_header(path)
    read = read_samples(path, header, 0, header.n_samples)
    assert read.dtype == np.float32
    middle = slice(5_000, 15_000)
    assert np.abs(read[middle] - samples[middle]).max() < tolerance


@pytest.mark.parametrize("rate", [4_000, 8_000, 16_000, 44_100, 48_000, 96_000, 384_000])
def test_any_rate_is_resampled_to_the_same_tone(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "tone.wav", tone(1.0, rate), rate, subtype="FLOAT")
    header = read_header(path)
    assert header.n_samples == 22_050
    read = read_samples(path, header, 0, header.n_samples)
    expected = tone(1.0, 22_050)
    assert np.abs(read[2_000:-2_000] - expected[2_000:-2_000]).max() < 1e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(0.5, 22_050), 0.25 * tone(0.5, 22_050, 3_000)
    path = write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    header = read_header(path)
    read = read_samples(path, header, 0, header.n_samples)
    np.testing.assert_allclose(read, (left + right) / 2, atol=1e-6)


def test_sixty_four_channels(tmp_path: Path) -> None:
    path = write(tmp_path / "many.wav", np.tile(tone(0.5, 22_050)[:, None], (1, 64)), subtype="FLOAT")
    header = read_header(path)
    np.testing.assert_allclose(read_samples(path, header, 0, header.n_samples), tone(0.5, 22_050), atol=1e-5)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 11_025, 44_056])
def test_a_part_equals_the_same_part_of_the_whole(tmp_path: Path, rate: int) -> None:
    """Long recordings are read in parts, which must not depend on where a part begins."""
    noise = 0.1 * np.random.default_rng(3).standard_normal(20 * rate)
    path = write(tmp_path / "noise.wav", noise, rate, subtype="FLOAT")
    header = read_header(path)
    whole = read_samples(path, header, 0, header.n_samples)
    for start, stop in [(0, 1), (20_480, 40_960), (200_001, 300_007), (header.n_samples - 5, header.n_samples)]:
        np.testing.assert_allclose(read_samples(path, header, start, stop), whole[start:stop], atol=1e-5)


def test_blockwise_resampling_equals_one_call(tmp_path: Path) -> None:
    noise = (0.1 * np.random.default_rng(4).standard_normal(30 * 48_000)).astype(np.float32)
    path = write(tmp_path / "noise.wav", noise, 48_000, subtype="FLOAT")
    header = read_header(path)
    expected = soxr.resample(noise, 48_000, 22_050, quality="HQ")
    np.testing.assert_allclose(read_samples(path, header, 0, header.n_samples), expected[: header.n_samples], atol=1e-6)


def test_a_file_shorter_than_its_header_says_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "tone.wav", tone(1.0, 22_050))
    with pytest.raises(InputError, match=r"ends after 1.00 s although its header promises 2.00 s"):
        read_samples(path, AudioHeader(22_050, 1, 44_100), 0, 44_100)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_an_error(tmp_path: Path, bad: float) -> None:
    samples = tone(1.0, 22_050)
    samples[1_000] = bad
    path = write(tmp_path / "bad.wav", samples, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN or infinite"):
        read_samples(path, read_header(path), 0, 22_050)


def test_shorter_than_a_frame_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "short.wav", np.ones(1_023))
    with pytest.raises(InputError, match=r"1023 samples long .* shorter than one frame of 1024"):
        read_header(path)
    assert read_header(write(tmp_path / "long.wav", np.ones(1_024))).n_samples == 1_024
