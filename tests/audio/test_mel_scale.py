"""The mel scale against librosa, bit for bit: band centres are kept in device records, which runs are told apart by."""

import librosa
import numpy as np
import pytest

from umc_cli.audio.mel_scale import evenly_spaced_hz, hz_to_mel, mel_to_hz

HZ = np.concatenate([[0, 999.999, 1000, 1000.001], np.random.default_rng(0).uniform(0, 24_000, 10_000)])


def test_known_places() -> None:
    assert hz_to_mel(0) == 0
    assert float(hz_to_mel(1000)) == pytest.approx(15)
    assert float(hz_to_mel(6400)) == pytest.approx(15 + 27)
    assert float(mel_to_hz(7.5)) == pytest.approx(500)


def test_equals_librosa_to_the_last_bit() -> None:
    np.testing.assert_array_equal(hz_to_mel(HZ), librosa.hz_to_mel(HZ))
    np.testing.assert_array_equal(mel_to_hz(HZ / 400), librosa.mel_to_hz(HZ / 400))
    for frequency in (0.0, 440.0, 1000.0, 11_025.0):
        assert float(hz_to_mel(frequency)) == float(librosa.hz_to_mel(frequency))


@pytest.mark.parametrize("count", [82, 130])
def test_bands_are_those_of_librosa(count: int) -> None:
    expected = librosa.mel_frequencies(count, fmin=0.0, fmax=11_025.0)
    np.testing.assert_array_equal(evenly_spaced_hz(count, 0.0, 11_025.0), expected)
