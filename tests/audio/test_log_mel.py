"""`log_mel` against librosa, and against what is known of tones, impulses and silence."""

import threading

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio import log_mel as log_mel_module
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import (
    FLOOR_DB,
    HOP_SAMPLES,
    LOG_MEL_SETTINGS,
    N_FRAMES,
    SAMPLE_RATE_HZ,
    SEGMENT_SAMPLES,
)
from umc_cli.audio.mel_scale import mel_band_edges_hz

# In a fresh environment librosa compiles itself in 17 s, and in every process that uses it at that time.
pytestmark = pytest.mark.xdist_group("examples")

TIME_S = np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE_HZ
NOISE = np.random.default_rng(0).standard_normal(SEGMENT_SAMPLES)


def tone(frequency_hz: float, amplitude: float = 1.0) -> NDArray[np.float64]:
    wave: NDArray[np.float64] = amplitude * np.sin(2 * np.pi * frequency_hz * TIME_S)
    return wave


def impulse(position: int, amplitude: float = 1.0) -> NDArray[np.float64]:
    wave: NDArray[np.float64] = amplitude * (np.arange(SEGMENT_SAMPLES) == position)
    return wave


def librosa_log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    mel_power = librosa.feature.melspectrogram(
        y=samples, sr=SAMPLE_RATE_HZ, n_fft=1024, hop_length=HOP_SAMPLES, n_mels=80
    )
    levels_db: NDArray[np.float32] = 10 * np.log10(np.maximum(mel_power, 1e-10))
    return levels_db[:, :N_FRAMES]


def log_mel_of(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    return log_mel(torch.from_numpy(samples.astype(np.float32))[None])[0].numpy()


def noise_batch(n_segments: int) -> Tensor:
    return 0.1 * torch.randn(n_segments, SEGMENT_SAMPLES, generator=torch.Generator().manual_seed(1))


SIGNALS = {
    "noise at full scale": NOISE / 4,
    "noise at -60 dB": 1e-3 * NOISE,
    "noise at the floor": 3e-6 * NOISE,
    "noise below the floor": 1e-7 * NOISE,
    "tone between two bins": tone(1000),
    "tone on a bin": tone(100 * SAMPLE_RATE_HZ / 1024),
    "tone of 16 bits": np.round(32_000 * tone(1000)) / 32_768,
    "quiet tone": tone(5000, 1e-3),
    "loud tone in faint noise": tone(1000, 0.5) + 3e-5 * NOISE,
    "rising tone": np.sin(2 * np.pi * 3000 * TIME_S**2),
    "constant": np.ones(SEGMENT_SAMPLES),
    "random walk": 4e-4 * np.cumsum(NOISE),
    "burst": np.where((TIME_S > 0.3) & (TIME_S < 0.31), NOISE / 3, 0),
    "impulse": impulse(9000),
    "impulse at the start": impulse(0),
    "impulse at the end": impulse(SEGMENT_SAMPLES - 1),
    "faint impulse": impulse(9000, 1e-4),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_equals_librosa_down_to_the_floor(name: str) -> None:
    expected_db = librosa_log_mel(SIGNALS[name].astype(np.float32))
    np.testing.assert_allclose(log_mel_of(SIGNALS[name]), expected_db, rtol=0, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    tone_db=st.floats(-120, 0),
    frequency_hz=st.floats(20, 11_000),
    noise_db=st.floats(-120, -12),
    seed=st.integers(0, 999),
)
def test_equals_librosa_for_any_tone_in_any_noise(
    tone_db: float, frequency_hz: float, noise_db: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).standard_normal(SEGMENT_SAMPLES)
    samples = tone(frequency_hz, 10 ** (tone_db / 20)) + 10 ** (noise_db / 20) * noise
    np.testing.assert_allclose(log_mel_of(samples), librosa_log_mel(samples.astype(np.float32)), rtol=0, atol=5e-3)


def test_silence_lies_exactly_on_the_floor() -> None:
    assert 10 * np.log10(LOG_MEL_SETTINGS.power_floor) == FLOOR_DB
    assert (log_mel(torch.zeros(5, SEGMENT_SAMPLES)) == FLOOR_DB).all()


@pytest.mark.parametrize("band", [3, 20, 23, 24, 40, 60, 79])
def test_a_tone_at_the_centre_of_a_band_peaks_there_in_every_frame(band: int) -> None:
    centre_hz = mel_band_edges_hz(80)[band + 1]
    inner_frames = log_mel_of(tone(centre_hz, 0.1))[:, 2:-2]
    assert (inner_frames.argmax(axis=0) == band).all()


def test_a_tone_on_a_bin_has_the_level_that_window_and_filters_give_it() -> None:
    # A Hann window of 1,024 passes amplitude A as A * 256 in its bin and half of that in the two beside it.
    filters = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=1024, n_mels=80)
    power = (0.1 * 256) ** 2 * (filters[:, 100] + (filters[:, 99] + filters[:, 101]) / 4)
    heard = power > 1e-9
    expected_db = 10 * np.log10(power[heard])
    np.testing.assert_allclose(
        log_mel_of(tone(100 * SAMPLE_RATE_HZ / 1024, 0.1))[heard, 40], expected_db, rtol=0, atol=1e-3
    )


def test_ten_times_the_amplitude_is_20_db_more() -> None:
    quiet_db = log_mel_of(0.01 * NOISE)
    assert quiet_db.min() > FLOOR_DB
    np.testing.assert_allclose(log_mel_of(0.1 * NOISE) - quiet_db, 20, rtol=0, atol=1e-3)


def test_an_impulse_is_heard_only_in_the_frames_whose_window_covers_it() -> None:
    # Frame t is centred on sample 256 t and hears the 511 samples before and after it.
    heard = (log_mel_of(impulse(40 * HOP_SAMPLES + 100)) > FLOOR_DB).any(axis=0)
    assert np.flatnonzero(heard).tolist() == [39, 40, 41, 42]


def test_frames_are_the_first_80_of_a_centred_transform() -> None:
    heard_at_start = (log_mel_of(impulse(0)) > FLOOR_DB).any(axis=0)
    heard_at_end = (log_mel_of(impulse(SEGMENT_SAMPLES - 1)) > FLOOR_DB).any(axis=0)
    assert np.flatnonzero(heard_at_start).tolist() == [0, 1]
    assert np.flatnonzero(heard_at_end).tolist() == [79]


@pytest.mark.parametrize("n_segments", [1, 2, 3, 4, 7, 10])
def test_a_segment_does_not_depend_on_its_batch(n_segments: int) -> None:
    batch = noise_batch(10)
    one_by_one = torch.cat([log_mel(segment[None]) for segment in batch])
    torch.testing.assert_close(log_mel(batch[-n_segments:]), one_by_one[-n_segments:], rtol=0, atol=1e-4)


def test_silence_stays_silent_beside_loud_segments() -> None:
    batch = noise_batch(8)
    batch[[1, 5]] = 0
    assert (log_mel(batch)[[1, 5]] == FLOOR_DB).all()


def test_the_same_call_gives_the_same_bits() -> None:
    batch = noise_batch(5)
    assert torch.equal(log_mel(batch), log_mel(batch))


@pytest.mark.parametrize("n_segments", [0, 1, 5])
def test_shape_and_type(n_segments: int) -> None:
    batch = noise_batch(n_segments)
    before = batch.clone()
    levels_db = log_mel(batch)
    assert levels_db.shape == (n_segments, 80, 80)
    assert levels_db.dtype == torch.float32
    assert levels_db.is_contiguous()
    assert torch.equal(batch, before)


def test_segments_need_not_lie_together_in_memory() -> None:
    stereo = noise_batch(6).view(3, 2, SEGMENT_SAMPLES)
    assert torch.equal(log_mel(stereo[:, 0]), log_mel(stereo[:, 0].contiguous()))


@pytest.mark.parametrize("n_samples", [SEGMENT_SAMPLES - 1, SEGMENT_SAMPLES + 1])
def test_another_length_is_refused(n_samples: int) -> None:
    with pytest.raises(RuntimeError, match=str(n_samples)):
        log_mel(torch.zeros(2, n_samples))


def test_band_edges_are_librosas() -> None:
    edges_hz = mel_band_edges_hz(80)
    assert len(edges_hz) == 82
    assert edges_hz[0] == 0
    assert edges_hz[-1] == pytest.approx(SAMPLE_RATE_HZ / 2)
    # Slaney's scale is linear to 1 kHz and logarithmic above.
    assert edges_hz[2] - edges_hz[1] == pytest.approx(edges_hz[20] - edges_hz[19])
    assert edges_hz[60] / edges_hz[59] == pytest.approx(edges_hz[81] / edges_hz[80])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu() -> None:
    batch = torch.stack([torch.from_numpy(samples.astype(np.float32)) for samples in SIGNALS.values()])
    on_cuda = log_mel(batch.cuda())
    assert on_cuda.device.type == "cuda"
    torch.testing.assert_close(on_cuda.cpu(), log_mel(batch), rtol=0, atol=1e-2)


def test_memory_for_a_pass_is_as_large_as_the_largest_batch() -> None:
    sizes = []

    def measure() -> None:
        for count in (1, 3, 2, 20):
            log_mel(torch.zeros(count, SEGMENT_SAMPLES))
            (work,) = log_mel_module._of_this_thread.by_device.values()
            sizes.append(len(work.padded))

    thread = threading.Thread(target=measure)  # with buffers of its own
    thread.start()
    thread.join()
    assert sizes == [1, 3, 3, 6]
