"""Blind estimates against what is known of simulated devices, and against the estimate from pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import SEGMENT_SAMPLES
from umc_cli.errors import InputError
from umc_cli.response.blind_response import blind_difference, long_term_spectra, paired_difference_db
from umc_cli.response.device import DeviceRegistry
from umc_cli.response.difference import fr_difference_db
from umc_cli.response.frequency_response import white_noise_floor_db
from umc_cli.response.noise_floor import noise_floor_db, to_response_bands
from umc_cli.simulation.simulated_device import SimulatedDevice, SimulatedDeviceSettings, build_device

LABELS = {"low": -9.0, "flat": 0.0, "high": 6.0}


def simulated(
    device_id: str, library_id: str, noise_level_dbfs: float = -75.0, gain_db: float = 0.0
) -> SimulatedDevice:
    response_db = DeviceRegistry(Path("no such folder")).get(library_id).frequency_response_db
    return build_device(
        SimulatedDeviceSettings(
            id=device_id,
            microphone_db=response_db,
            sensitivity_db=gain_db,
            noise_level_dbfs=noise_level_dbfs,
            noise_slope_db_per_octave=0.0,
        )
    )


def sounds(seed: int, n_per_label: int = 12) -> list[tuple[str, np.ndarray]]:
    """Bursts of coloured noise of random level, a tilt per label; between them silence. [20480 * 2] each."""
    random = np.random.default_rng(seed)
    made = []
    frequency = np.maximum(np.fft.rfftfreq(2 * SEGMENT_SAMPLES, 1 / 22_050), 50)
    for label, tilt_db in LABELS.items():
        for _ in range(n_per_label):
            colour = 10 ** (tilt_db * np.log2(frequency / 1000) / 20 + random.normal(0, 1, len(frequency)) / 20)
            noise = np.fft.irfft(np.fft.rfft(random.standard_normal(2 * SEGMENT_SAMPLES)) * colour)
            envelope = np.zeros(len(noise))
            envelope[random.integers(0, 5000) : random.integers(20_000, 30_000)] = 1
            sound = noise / noise.std() * envelope * 10 ** (random.uniform(-35, -20) / 20)
            made.append((label, sound.astype(np.float32)))
    return made


def heard(device: SimulatedDevice, played: list[tuple[str, np.ndarray]], seed: int) -> list[tuple[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    result = []
    for label, sound in played:
        segments = torch.from_numpy(device.record_sound(sound, random).reshape(2, SEGMENT_SAMPLES))
        result.append((label, np.concatenate(list(log_mel(segments).numpy()), axis=1)))
    return result


@pytest.mark.parametrize("seed", range(3))
def test_unpaired_recordings_give_what_pairs_give_and_what_is_true(seed: int) -> None:
    source, target = simulated("source", "xperia1v"), simulated("target", "pixel3", gain_db=-6.0)
    played, other = sounds(seed), sounds(seed + 10)
    reference, device = heard(source, played, 2), heard(target, other, 3)
    blind = blind_difference(long_term_spectra(reference), long_term_spectra(device))
    assert blind.labels == ("flat", "high", "low")
    truth_db = fr_difference_db(source.record, target.record) + (
        (target.record.sensitivity_dbfs or 0) - (source.record.sensitivity_dbfs or 0)
    )
    parallel = heard(target, played, 4)
    pairs = [(before, after) for (_, before), (_, after) in zip(reference, parallel, strict=True)]
    assert np.std(to_response_bands(paired_difference_db(pairs)) - truth_db) < 0.3
    assert np.mean(to_response_bands(paired_difference_db(pairs)) - truth_db) == pytest.approx(0, abs=0.3)
    pairs = zip(reference, parallel, strict=True)
    loud = [(np.mean(10 ** (b / 10), axis=1), np.mean(10 ** (a / 10), axis=1)) for (_, b), (_, a) in pairs]
    paired_db = np.median([10 * np.log10(after / before) for before, after in loud], axis=0)
    for estimate_db, expected_db in (
        (blind.difference_db, paired_db),
        (to_response_bands(blind.difference_db), truth_db),
    ):
        assert np.std(estimate_db - expected_db) < 0.5
        # Levels of other sounds are other levels: 15 dB apart here, a dozen of each label.
        assert np.mean(estimate_db - expected_db) == pytest.approx(0, abs=4)


def test_bands_under_the_noise_are_not_trusted_and_do_not_bend_the_rest() -> None:
    source, target = simulated("source", "xperia1v"), simulated("target", "xperia1v", noise_level_dbfs=-45.0)
    low_only = [(label, sound) for label, sound in sounds(0) if label == "low"]
    device = long_term_spectra(heard(target, low_only, 1))
    blind = blind_difference(long_term_spectra(heard(source, low_only, 2)), device)
    assert blind.snr_db[-10:].max() < 3
    strong = blind.snr_db > 10
    assert strong.sum() > 15
    assert np.abs(blind.difference_db[strong]).max() < 1.0


def test_noise_floors_are_found_between_the_sounds() -> None:
    found = long_term_spectra(heard(simulated("quiet", "xperia1v", noise_level_dbfs=-60.0), sounds(0), 1))
    expected_db = white_noise_floor_db(-60.0)
    assert np.abs(found.noise_floor_db[20:] - expected_db).max() < 4
    silence = 10 ** (-60 / 20) * np.random.default_rng(0).standard_normal(44_100)
    measured_db = noise_floor_db(silence, 44_100)
    assert measured_db is not None
    # Half of the noise's power lies above the 11,025 Hz that are kept; the resampler falls off just below them.
    np.testing.assert_allclose(measured_db[:-3], white_noise_floor_db(-63.0), atol=1.2)


def test_silence_shorter_than_three_windows_has_no_noise_floor() -> None:
    assert noise_floor_db(np.ones(3000) * 1e-3, 22_050) is None


def test_without_common_labels_all_recordings_count_as_one() -> None:
    made = heard(simulated("device", "xperia1v"), sounds(0), 1)
    renamed = [(f"other {label}", levels_db) for label, levels_db in made]
    blind = blind_difference(long_term_spectra(made), long_term_spectra(renamed))
    assert blind.labels == ()
    np.testing.assert_allclose(blind.difference_db, 0, atol=1e-9)


def test_four_recordings_are_too_few() -> None:
    with pytest.raises(InputError, match="4 recordings with sound are too few"):
        long_term_spectra(heard(simulated("device", "xperia1v"), sounds(0)[:4], 1))
