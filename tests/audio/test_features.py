import librosa
import numpy as np
import pytest
import soxr
import torch
from pydantic import ValidationError

import umc_cli
from tests.samples import noise, write_audio
from umc_cli.audio.feature_settings import FeatureOptions, FeatureSegmentSettings, SecFeatures
from umc_cli.audio.features import own_features, spectrograms
from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, segment_starts
from umc_cli.config import dump_settings

# In a fresh environment librosa compiles itself in 17 s, and in every process that uses it at that time.
pytestmark = pytest.mark.xdist_group("examples")

SPEECH = SecFeatures(sample_rate_hz=16_000, n_mels=64, hop_samples=320, f_min_hz=50, seconds=2)


def test_with_the_papers_settings_features_are_the_papers() -> None:
    segments = torch.from_numpy(noise(20_480 / 22_050)).reshape(1, -1).repeat(3, 1)
    segments[1] *= torch.linspace(0, 1, 20_480)
    segments[2] = 0
    assert (own_features(segments, SecFeatures()) - log_mel(segments)).abs().max() < 0.01
    assert FeatureOptions(feature_rate=22_050, feature_mels=80, feature_f_max=11_025).features is None
    assert FeatureSegmentSettings().segments == SegmentSettings()
    assert dump_settings(FeatureSegmentSettings()) == dump_settings(SegmentSettings())


def test_features_are_librosas() -> None:
    samples = noise(2.0, rate_hz=22_050)
    (levels_db,) = own_features(torch.from_numpy(samples)[None], SPEECH).numpy()
    at_16k = soxr.resample(samples, 22_050, 16_000, quality="HQ")
    power = librosa.feature.melspectrogram(
        y=at_16k, sr=16_000, n_fft=1024, hop_length=320, n_mels=64, fmin=50, fmax=8_000, pad_mode="constant"
    )
    assert levels_db.shape == SPEECH.shape == (64, 100)
    np.testing.assert_allclose(levels_db, 10 * np.log10(np.maximum(power, 1e-10))[:, :100], atol=0.01)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 32_000, 48_000])
def test_a_tone_is_as_loud_and_in_the_band_where_it_belongs_at_every_rate(rate_hz: int) -> None:
    features = SecFeatures(sample_rate_hz=rate_hz, n_fft=512, hop_samples=128, n_mels=20, seconds=1)
    tone = np.sin(2 * np.pi * 1000 * np.arange(features.read_rate_hz) / features.read_rate_hz).astype(np.float32)
    (levels_db,) = own_features(torch.from_numpy(tone)[None], features)
    centres = librosa.mel_frequencies(22, fmin=0, fmax=rate_hz / 2)[1:-1]
    power = librosa.feature.melspectrogram(
        y=np.sin(2 * np.pi * 1000 * np.arange(rate_hz) / rate_hz), sr=rate_hz, n_fft=512, hop_length=128, n_mels=20
    )
    middle = levels_db.shape[1] // 2
    assert levels_db[:, middle].argmax() == np.abs(centres - 1000).argmin()
    assert levels_db[:, middle].max() == pytest.approx(10 * np.log10(power[:, middle].max()), abs=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_rate_hz": 16_000, "f_max_hz": 9_000}, "up to 9000 Hz lie above half of the rate, 8000 Hz"),
        ({"f_min_hz": 4_000, "f_max_hz": 3_000}, "from 4000 to 3000 Hz are none"),
        ({"hop_samples": 2_000}, "a hop of 2000 samples skips some"),
        ({"seconds": 0.03}, "is shorter than a frame of 1024"),
        ({"n_mels": 500}, "of 500 mel bands hold no bin of a transform of 1024"),
        ({"seconds": 61}, "less than or equal to 60"),
    ],
)
def test_features_that_cannot_be_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SecFeatures.model_validate(given)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100])
def test_segments_are_read_at_the_rate_and_length_of_their_features(tmp_path, rate_hz: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(round(3.2 * rate_hz)) / rate_hz).astype(np.float32)
    path = write_audio(tmp_path / "tone.wav", tone, rate_hz, subtype="FLOAT")
    cut = FeatureSegmentSettings(features=SecFeatures(sample_rate_hz=32_000, seconds=1.5), remainder="pad")
    header = read_header(path)
    starts = segment_starts(header.n_samples_at(32_000), cut)
    assert list(starts) == [0, 48_000, 96_000]  # one after another
    segments, _ = read_segments(path, header, starts, cut)
    assert segments.shape == (3, 48_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(96_000) / 32_000)
    np.testing.assert_allclose(segments[:2].ravel()[1_000:-1_000], expected[1_000:-1_000], atol=2e-3)
    assert not segments[2, 6_401:].any()
    overlapping = cut.model_copy(update={"hop": 11_025})
    assert list(segment_starts(96_000, overlapping)) == [0, 16_000, 32_000, 48_000]


def test_python_users_get_the_features_of_a_classifier() -> None:
    samples = noise(5.0, rate_hz=44_100)
    levels_db = umc_cli.log_mel(samples, 44_100, umc_cli.SecFeatures(**SPEECH.model_dump()))
    assert levels_db.shape == (3, 64, 100)  # the last second counts: half of its segment is new
    assert torch.equal(umc_cli.log_mel(samples, 44_100)[:1], spectrograms_of(samples)[:1])


def spectrograms_of(samples: np.ndarray) -> torch.Tensor:
    at_22k = soxr.resample(samples, 44_100, 22_050, quality="HQ")
    return spectrograms(torch.from_numpy(at_22k[:20_480])[None], SegmentSettings())
