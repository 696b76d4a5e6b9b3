"""Waveforms that follow a converter, on sounds and devices whose answer is known."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.conversion.devices import device, ingredients
from umc_cli.audio.log_mel import level_db, mel_power
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.conversion.waveforms.blending import blended, n_segments
from umc_cli.conversion.waveforms.following import KnownTarget, Source, follow, source_of
from umc_cli.conversion.waveforms.known_target import known_target
from umc_cli.conversion.waveforms.spectrum import bands_to_bins, power, spectrum, waveform
from umc_cli.conversion.waveforms.stream import convert_blocks
from umc_cli.errors import UmcError
from umc_cli.response.device import Device
from umc_cli.response.frequency_response import band_centres_hz

SOURCE = device("source", noise_floor_db=-90.0)
BENT_DB = tuple(6 * np.sin(np.linspace(0, 9, 128)))
"""Up and down by 6 dB, one and a half times."""
BENT = device("bent", BENT_DB, noise_floor_db=-60.0)


def conversion(converter: str, target: Device = BENT, source: Device = SOURCE) -> Conversion:
    return Conversion(converter, replace(ingredients(source, target), refiner=SHIPPED_REFINER))


def events(seconds: float = 4.0, rate: int = 22_050, seed: int = 0) -> np.ndarray:
    """Bursts of tones and of noise that fade, over a faint noise; white, so that every band holds something."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = 1e-3 * random.standard_normal(len(time))
    for start in np.arange(0.1, seconds, 0.4):
        fading = np.exp(-np.maximum(time - start, 0) / 0.08) * (time >= start)
        sound += (
            0.1 * fading * (np.sin(2 * np.pi * random.uniform(200, 5000) * time) + random.standard_normal(len(time)))
        )
    return sound.astype(np.float32)


def levels(samples: np.ndarray) -> torch.Tensor:
    """The log-mel levels of every frame of a waveform at 22,050 Hz: [n, 80] dB."""
    n_frames = -(-len(samples) // 256)
    padded = torch.zeros(n_frames * 256 + 768)
    padded[512 : 512 + len(samples)] = torch.from_numpy(samples)
    return level_db(mel_power(power(spectrum(padded))))


def wanted(conversion: Conversion, samples: np.ndarray) -> torch.Tensor:
    """What the converter says of these samples: [n, 80] dB."""

    def convert(segments, targets):
        return {target: conversion.built.convert(conversion.built.begin(segments), target) for target in targets}

    with torch.no_grad():
        return blended(levels(samples), convert, conversion.targets)[conversion.targets[0]]


def rms_db(difference: torch.Tensor, where: torch.Tensor) -> float:
    return float(difference[where].square().mean().sqrt())


def relative_db(error: np.ndarray, signal: np.ndarray) -> float:
    return 10 * np.log10(np.mean(error.astype(float) ** 2) / np.mean(signal.astype(float) ** 2) + 1e-30)


# the parts


def test_a_waveform_comes_back_from_its_spectrum() -> None:
    samples = torch.randn(256 * 99 + 1024)
    inner = slice(768, -768)
    torch.testing.assert_close(waveform(spectrum(samples))[inner], samples[inner], atol=2e-6, rtol=0)


def test_bins_between_two_bands_get_what_lies_between_their_values() -> None:
    weights = bands_to_bins()
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(513))
    at_bins = torch.linspace(-10, 10, 80) @ weights
    assert (at_bins.diff() >= -1e-5).all()
    assert float(at_bins[0]) == -10
    assert float(at_bins[-1]) == 10


@pytest.mark.parametrize(("frames", "segments"), [(1, 1), (80, 1), (81, 2), (120, 2), (121, 3), (4000, 99)])
def test_segments_cover_a_recording(frames: int, segments: int) -> None:
    assert n_segments(frames) == segments


@pytest.mark.parametrize("frames", [1, 79, 80, 81, 200, 417])
def test_blended_segments_of_a_converter_without_edges_are_what_it_makes_of_the_whole(frames: int) -> None:
    given = torch.rand(frames, 80) * 60 - 80
    result = blended(given, lambda segments, targets: dict.fromkeys(targets, segments + 3), ["a", "b"])
    for converted in result.values():
        torch.testing.assert_close(converted, given + 3, atol=1e-4, rtol=0)


# what comes out


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("converter", ["eq", "eq_noise"])
def test_the_source_itself_as_target_gives_back_the_input(converter: str, rate: int) -> None:
    samples = events(2.0, rate)
    same = conversion(converter, device("copy", noise_floor_db=-90.0))
    result = same.waveform(samples, rate, "copy")
    assert result.shape == samples.shape
    assert result.dtype == np.float32
    assert relative_db(result - samples, samples) < -60


@pytest.mark.parametrize("converter", ["eq", "eq_noise", "refiner"])
def test_the_written_levels_are_the_converters(converter: str) -> None:
    samples, chosen = events(), conversion(converter)
    result = levels(chosen.waveform(samples, 22_050, "bent"))
    expected = wanted(chosen, samples)
    assert rms_db(result - expected, expected > expected.max() - 60) < 1.0


def test_noise_takes_the_levels_of_another_draw_of_the_same_noise() -> None:
    """The hardest case: no frame of a band has the level that it should have, and narrow bands hold few bins."""

    def drawn(seed: int) -> Source:
        samples = 0.01 * np.random.default_rng(seed).standard_normal(256 * 400 + 1024)
        return source_of(torch.from_numpy(samples).float(), torch.zeros(len(samples)), torch.ones(80))

    given, wanted_db = drawn(0), drawn(1).levels_db
    everywhere = torch.ones(385, 80, dtype=torch.bool)  # eight frames at either end have no neighbours
    assert rms_db((given.levels_db - wanted_db)[8:-8], everywhere) > 3.5
    result = follow(given, wanted_db, KnownTarget(torch.zeros(513), torch.zeros(80), None), 512)
    assert rms_db((level_db(mel_power(power(spectrum(result.samples)))) - wanted_db)[8:-8], everywhere) < 1.3


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_eq_is_a_filter_with_the_difference_of_the_responses(rate: int) -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(8 * rate)).astype(np.float32)
    louder = device("louder", BENT_DB, sensitivity_dbfs=-30.0)
    result = conversion("eq", louder, device("source", sensitivity_dbfs=-36.0)).waveform(samples, rate, "louder")
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    # Interpolated in Hz, not in mel as the code does: between 128 bands that is no difference.
    response_db = np.interp(hz, band_centres_hz(), BENT_DB) + 6
    expected = np.fft.irfft(np.fft.rfft(samples) * 10 ** (response_db / 20), len(samples)).astype(np.float32)

    def thirds_db(sound: np.ndarray) -> np.ndarray:
        bins = np.abs(np.fft.rfft(sound)) ** 2
        edges = 100 * 2 ** (np.arange(0, 1 + 3 * np.log2(rate / 2 / 100)) / 3)
        return 10 * np.log10([bins[(hz >= low) & (hz < high)].sum() for low, high in pairwise(edges)])

    assert np.abs(thirds_db(result) - thirds_db(expected)).max() < 0.3
    assert relative_db(result - expected, expected) < -30


def test_a_steady_tone_stays_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    rate, seconds = 22_050, 20
    tone = (0.3 * np.sin(2 * np.pi * 1000.3 * np.arange(rate * seconds) / rate)).astype(np.float32)
    for converter in ("eq_noise", "refiner"):
        result = conversion(converter).waveform(tone, rate, "bent")[2 * rate : -2 * rate].astype(float)
        bins = np.abs(np.fft.rfft(result * np.blackman(len(result)) ** 2))
        hz = np.arange(len(bins)) * rate / len(result)
        peak = bins.argmax()
        for distance_hz in (rate / 256 / 40, rate / 256 / 80, rate / 256 / 8):
            side = np.abs(np.abs(hz - hz[peak]) - distance_hz) < 0.3
            assert 20 * np.log10(bins[side].max() / bins[peak]) < -60, (converter, distance_hz)


def test_neither_blocks_nor_chunks_change_a_sample_and_no_length_is_lost() -> None:
    rate = 8_000
    samples = events(40.0, rate)  # three chunks
    chosen = conversion("eq_noise")
    known = {"bent": known_target(chosen.ingredients, "bent")}

    def convert(segments, targets):
        return {name: chosen.built.convert(chosen.built.begin(segments), name) for name in targets}

    def run(size: int) -> np.ndarray:
        blocks = (samples[first : first + size] for first in range(0, len(samples), size))
        parts = list(convert_blocks(blocks, rate, convert, known, np.random.SeedSequence(1)))
        return np.concatenate([part["bent"] for part in parts])

    whole = run(len(samples))
    assert len(whole) == len(samples)
    np.testing.assert_array_equal(run(4_999), whole)


def test_memory_does_not_grow_with_the_length() -> None:
    rate, held = 8_000, []
    chosen = conversion("eq")
    known = {"bent": known_target(chosen.ingredients, "bent")}
    block = events(5.0, rate)

    def blocks() -> Iterator[np.ndarray]:
        for _ in range(40):
            yield block
            held.append(tracemalloc.get_traced_memory()[0])

    def convert(segments, targets):
        return {name: chosen.built.convert(chosen.built.begin(segments), name) for name in targets}

    tracemalloc.start()
    try:
        for _ in convert_blocks(blocks(), rate, convert, known, np.random.SeedSequence(1)):
            pass
    finally:
        tracemalloc.stop()
    assert max(held[20:]) < max(held[:20]) + block.nbytes


def test_what_lies_after_a_chunk_does_not_reach_back_into_it() -> None:
    samples = events(33.0, 22_050)
    chosen = conversion("eq_noise")
    whole, begun = (chosen.waveform(part, 22_050, "bent") for part in (samples, samples[: 32 * 22_050]))
    np.testing.assert_allclose(whole[: 29 * 22_050], begun[: 29 * 22_050], atol=1e-6)


def test_digital_silence_stays_silent_under_a_filter_and_gets_the_targets_floor_under_noise() -> None:
    silence = np.zeros(44_100, np.float32)
    assert not conversion("eq").waveform(silence, 44_100, "bent").any()
    floor = levels(conversion("eq_noise").waveform(silence, 22_050, "bent"))
    assert rms_db(floor - -60, torch.ones_like(floor, dtype=torch.bool)) < 1.5
    assert abs(float(floor.mean()) - -60) < 0.5


def test_noise_in_the_place_of_an_empty_band_not_dirt() -> None:
    """A tone and nothing else: far from it the target's floor is noise of its own, whatever is there is not raised."""
    tone = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(44_100) / 22_050)).astype(np.float32)
    first, second = (conversion("eq_noise").waveform(tone, 22_050, "bent", seed=seed) for seed in (1, 2))
    high = slice(4000, None)  # of the spectrum of the second half
    one, other = (np.fft.rfft(sound[22_050:] * np.hanning(22_050))[high] for sound in (first, second))
    assert abs(np.vdot(one, other)) < 0.1 * np.linalg.norm(one) * np.linalg.norm(other)
    np.testing.assert_array_equal(first, conversion("eq_noise").waveform(tone, 22_050, "bent", seed=1))


def test_above_the_converters_band_the_edge_goes_on() -> None:
    rate = 48_000
    samples = (0.1 * np.random.default_rng(0).standard_normal(4 * rate)).astype(np.float32)
    rising = device("rising", tuple(np.linspace(0, 9, 128)))
    result = conversion("eq", rising).waveform(samples, rate, "rising")
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(result)) / np.abs(np.fft.rfft(samples)))
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    assert np.quantile(np.abs(gain_db[(hz > 11_500) & (hz < 23_500)] - 9), 0.95) < 0.3  # some bins are nearly empty


@pytest.mark.parametrize("n", [1, 10, 255, 1024, 20_479, 20_481])
@pytest.mark.parametrize("rate", [22_050, 44_100])
def test_clips_of_any_length(n: int, rate: int) -> None:
    samples = events(1.0, rate)[:n]
    result = conversion("eq_noise").waveform(samples, rate, "bent")
    assert result.shape == samples.shape
    assert np.isfinite(result).all()


def test_a_band_above_half_the_sample_rate_is_left_alone() -> None:
    samples = events(2.0, 8_000)
    result = conversion("eq_noise", device("loud", noise_floor_db=-30.0)).waveform(samples, 8_000, "loud")
    assert np.abs(result).max() < 2


def test_channels_are_converted_each_on_its_own() -> None:
    both = np.stack([events(1.0), 0 * events(1.0)])
    result = conversion("eq").waveform(both, 22_050, "bent")
    np.testing.assert_array_equal(result[0], conversion("eq").waveform(both[0], 22_050, "bent"))
    assert not result[1].any()
    noisy = conversion("eq_noise").waveform(0 * both, 22_050, "bent")
    assert not np.array_equal(noisy[0], noisy[1])


class BrokenConverter:
    """Gives NaN."""

    def begin(self, log_mel: torch.Tensor) -> torch.Tensor:
        return log_mel

    def convert(self, begun: torch.Tensor, target: str) -> torch.Tensor:
        return begun * torch.nan

    def describe(self) -> dict[str, str]:
        return {}


def test_a_converter_that_gives_nan_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "eq", replace(CONVERTERS["eq"], build=lambda _: BrokenConverter()))
    with pytest.raises(UmcError, match="converter eq gave levels for bent that are not finite"):
        conversion("eq").waveform(events(1.0), 22_050, "bent")


@pytest.mark.parametrize(
    ("samples", "rate", "target", "message"),
    [
        (np.zeros((2, 3, 4)), 44_100, "bent", r"shape \[2, 3, 4\]"),
        (np.zeros(0), 44_100, "bent", r"shape \[0\]"),
        (np.zeros(9), 10, "bent", "rate of 10 Hz"),
        (np.full(9, np.inf), 44_100, "bent", "not finite"),
        (np.zeros(9), 44_100, "other", "no target 'other'"),
    ],
)
def test_wrong_arguments_are_named(samples: np.ndarray, rate: int, target: str, message: str) -> None:
    with pytest.raises(UmcError, match=message):
        conversion("eq").waveform(samples, rate, target)


def test_a_device_without_a_record_is_followed_all_the_same() -> None:
    """`quantile` needs no records."""
    quiet, loud = (np.tile(np.linspace(low, low + 50, 20, dtype=np.float32)[:, None], 80) for low in (-80, -70))
    given = replace(ingredients(SOURCE, BENT), devices={}, level_quantiles={"source": quiet, "bent": loud})
    samples = events()
    chosen: Callable[..., np.ndarray] = Conversion("quantile", given).waveform
    result, before = levels(chosen(samples, 22_050, "bent")), levels(samples)
    loud_ones = before > before.max() - 40
    assert rms_db(result - before - 10, loud_ones) < 0.5
