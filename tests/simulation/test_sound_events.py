"""Synthesised sound events: repeatable, various, and of the class that their label says."""

import itertools
import time
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.errors import SettingsError
from umc_cli.simulation.sound_events import SOUND_EVENTS, synthesize, write_sound_events

# In a fresh environment librosa compiles itself in 17 s, and in every process that uses it at that time.
pytestmark = pytest.mark.xdist_group("examples")

SEEDS = range(8)
LABELS = list(SOUND_EVENTS)


def level_dbfs(waveform: np.ndarray) -> float:
    return float(20 * np.log10(np.abs(waveform).max()))


def spectral_peaks_hz(waveform: np.ndarray, below_strongest_db: float) -> np.ndarray:
    """Return the frequencies of the peaks of the spectrum of 16,384 samples after the onset."""
    start = int(np.argmax(np.abs(waveform)))
    spectrum = np.abs(np.fft.rfft(waveform[start : start + 16_384] * np.hanning(16_384), 65_536))
    spectrum_db = 20 * np.log10(spectrum / spectrum.max() + 1e-9)
    peaks, _ = scipy.signal.find_peaks(spectrum_db, height=-below_strongest_db, prominence=15)
    return peaks * SAMPLE_RATE_HZ / 65_536


def centroids_hz(waveform: np.ndarray) -> np.ndarray:
    """Return the spectral centroid of the frames within 30 dB of the loudest."""
    loudness = librosa.feature.rms(y=waveform)[0]
    return librosa.feature.spectral_centroid(y=waveform, sr=SAMPLE_RATE_HZ)[0][loudness > loudness.max() / 30]


def flatness(waveform: np.ndarray) -> float:
    return float(np.median(librosa.feature.spectral_flatness(y=waveform)))


def test_there_are_ten_classes_named_after_their_functions() -> None:
    assert len(SOUND_EVENTS) == 10
    assert all(function.__name__ == label for label, function in SOUND_EVENTS.items())


@pytest.mark.parametrize("label", LABELS)
def test_a_clip_is_finite_in_range_and_of_the_stated_length_and_level(label: str) -> None:
    clips = [synthesize(label, seed) for seed in range(25)]
    assert np.std([level_dbfs(clip) for clip in clips]) > 4, "levels do not spread"
    for waveform in clips:
        assert waveform.dtype == np.float32
        assert waveform.ndim == 1
        assert np.isfinite(waveform).all()
        assert 0.8 <= len(waveform) / SAMPLE_RATE_HZ <= 3.0
        assert -30.1 < level_dbfs(waveform) < -2.9
        assert abs(waveform[-1]) < 1e-6, "the end clicks"


@pytest.mark.parametrize("label", LABELS)
def test_the_seed_decides_the_clip(label: str) -> None:
    clips = [synthesize(label, seed) for seed in SEEDS]
    np.testing.assert_array_equal(clips[3], synthesize(label, 3))
    for one, other in itertools.pairwise(clips):
        n_common = min(len(one), len(other))
        likeness = np.corrcoef(one[:n_common], other[:n_common])[0, 1]
        assert abs(likeness) < 0.8


def test_refuses_an_unknown_class() -> None:
    with pytest.raises(SettingsError, match="unknown sound event 'dog'"):
        synthesize("dog", 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sweep_rises_by_octaves(seed: int) -> None:
    centroid = centroids_hz(synthesize("sweep", seed))
    assert centroid[-8:].mean() > 2 * centroid[:8].mean()
    thirds = [part.mean() for part in np.array_split(centroid, 3)]
    assert thirds == sorted(thirds)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_flatter_than_a_whistle(seed: int) -> None:
    assert flatness(synthesize("noise_burst", seed)) > 10 * flatness(synthesize("whistle", seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_whistle_is_one_tone(seed: int) -> None:
    waveform = synthesize("whistle", seed)
    power = np.abs(np.fft.rfft(waveform)) ** 2
    frequency_hz = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE_HZ)
    tone_hz = frequency_hz[np.argmax(power)]
    assert 850 < tone_hz < 2350
    assert power[np.abs(frequency_hz / tone_hz - 1) < 0.15].sum() > 0.98 * power.sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_string_has_harmonic_partials_and_a_bell_has_not(seed: int) -> None:
    string_hz = spectral_peaks_hz(synthesize("plucked_string", seed), 25)[:5]
    orders = string_hz / np.diff(string_hz, prepend=0).min()
    np.testing.assert_allclose(orders, np.round(orders), atol=0.06)

    bell_hz = spectral_peaks_hz(synthesize("bell", seed), 35)
    orders = bell_hz / bell_hz[0]
    assert len(orders) >= 5
    assert np.any(np.abs(orders - 2.4) < 0.06), "the tierce, a minor third above the prime, is missing"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bar_has_the_second_mode_of_a_free_bar(seed: int) -> None:
    peaks_hz = spectral_peaks_hz(synthesize("struck_bar", seed), 50)
    assert np.any(np.abs(peaks_hz / peaks_hz[0] - 2.756) < 0.03)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_kick_is_low_and_a_snare_is_high(seed: int) -> None:
    def share_below(waveform: np.ndarray, limit_hz: float) -> float:
        power = np.abs(np.fft.rfft(waveform)) ** 2
        return float(power[: int(limit_hz * len(waveform) / SAMPLE_RATE_HZ)].sum() / power.sum())

    assert share_below(synthesize("kick_drum", seed), 250) > 0.8
    assert share_below(synthesize("snare_drum", seed), 250) < 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_knocks_and_drips_come_more_than_once(seed: int) -> None:
    for label, shortest_gap_seconds in (("knock", 0.1), ("water_drip", 0.05)):
        waveform = synthesize(label, seed)
        envelope = scipy.ndimage.maximum_filter1d(np.abs(waveform), round(0.02 * SAMPLE_RATE_HZ))
        smooth = scipy.signal.sosfiltfilt(scipy.signal.butter(2, 20, fs=SAMPLE_RATE_HZ, output="sos"), envelope)
        onsets, _ = scipy.signal.find_peaks(
            np.concatenate([[0], smooth]),
            height=0.15 * smooth.max(),
            prominence=0.1 * smooth.max(),
            distance=round(shortest_gap_seconds * SAMPLE_RATE_HZ),
        )
        assert 2 <= len(onsets) <= 5, label


def test_sixty_clips_take_well_under_three_seconds() -> None:
    start = time.process_time()
    for label in SOUND_EVENTS:
        for seed in range(6):
            synthesize(label, seed)
    assert time.process_time() - start < 3


def test_writes_a_data_set_in_the_folder_convention(tmp_path: Path) -> None:
    paths = write_sound_events(tmp_path / "phone", 2, noise_level_dbfs=-60, seed=1)
    assert [path.relative_to(tmp_path / "phone").as_posix() for path in paths] == [
        f"{label}/{label}-0{index}.flac" for label in LABELS for index in range(2)
    ]
    assert sorted(path for path in (tmp_path / "phone").rglob("*") if path.is_file()) == paths
    for path in paths:
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 22_050, 1)


def test_a_data_set_is_repeatable_and_another_seed_shares_no_clip(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_sound_events(tmp_path / "a", 3, -60, seed=0)]
    again = [path.read_bytes() for path in write_sound_events(tmp_path / "b", 3, -60, seed=0)]
    other = [path.read_bytes() for path in write_sound_events(tmp_path / "c", 3, -60, seed=1)]
    assert first == again
    assert len({*first, *other}) == 60


@pytest.mark.parametrize("noise_level_dbfs", [-40.0, -70.0])
def test_the_noise_floor_has_the_stated_level_and_is_white(tmp_path: Path, noise_level_dbfs: float) -> None:
    clean = write_sound_events(tmp_path / "clean", 2, None, seed=5)
    noisy = write_sound_events(tmp_path / "noisy", 2, noise_level_dbfs, seed=5)
    noise = np.concatenate([soundfile.read(b)[0] - soundfile.read(a)[0] for a, b in zip(clean, noisy, strict=True)])
    assert 10 * np.log10(np.mean(noise**2)) == pytest.approx(noise_level_dbfs, abs=0.2)
    _, density = scipy.signal.welch(noise, SAMPLE_RATE_HZ, nperseg=256)
    assert np.ptp(10 * np.log10(density[2:-2])) < 1.5


def test_without_noise_the_silence_before_the_onset_is_silent(tmp_path: Path) -> None:
    paths = write_sound_events(tmp_path, 3, None, seed=0)
    assert sum(not soundfile.read(path)[0][:40].any() for path in paths) > 20


@pytest.mark.parametrize(
    ("clips", "noise", "complaint"), [(0, None, "0 clips"), (1, 3.0, "above full scale"), (1, np.nan, "nan")]
)
def test_refuses_what_makes_no_data_set(tmp_path: Path, clips: int, noise: float | None, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        write_sound_events(tmp_path / "x", clips, noise, seed=0)
    assert not (tmp_path / "x").exists()
