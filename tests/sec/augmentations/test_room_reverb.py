"""`room-reverb`: a unit impulse shows the room: direct sound, tail, decay, energy."""

import numpy as np
import pytest
import scipy.signal
import torch

from umc_cli.sec.augmentations.batch_convolution import convolve_each
from umc_cli.sec.augmentations.room_reverb import RoomReverb, RoomReverbSettings

RATE_HZ = 22_050


def rooms(n: int = 50, seed: int = 0, **settings: tuple[float, float]) -> np.ndarray:
    """Impulse responses: what the augmentation makes of unit impulses at sample 0."""
    impulses = torch.zeros(n, 20_480)
    impulses[:, 0] = 1
    augment = RoomReverb(RoomReverbSettings(probability=1, **settings))
    return augment(impulses, torch.Generator().manual_seed(seed)).double().numpy()


def measured_rt60_s(impulse_response: np.ndarray) -> float:
    """From the slope of Schroeder's backward integral between -5 and -25 dB (ISO 3382), without the direct sound."""
    energy = np.cumsum(impulse_response[:54:-1] ** 2)[::-1]
    decay_db = 10 * np.log10(np.maximum(energy / energy[0], 1e-12))
    used = np.flatnonzero((decay_db < -5) & (decay_db > -25))
    return float(-60 / np.polyfit(used / RATE_HZ, decay_db[used], 1)[0])


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 0.8])
def test_tail_decays_as_asked(rt60_s: float) -> None:
    measured = [measured_rt60_s(room) for room in rooms(rt60_s=(rt60_s, rt60_s))]
    assert np.mean(measured) == pytest.approx(rt60_s, rel=0.02)
    assert np.abs(np.array(measured) - rt60_s).max() < 0.15 * rt60_s


@pytest.mark.parametrize("ratio_db", [-5.0, 0.0, 12.0])
def test_direct_to_reverberant_ratio_is_as_asked_and_energy_is_1(ratio_db: float) -> None:
    drawn = rooms(direct_to_reverberant_db=(ratio_db, ratio_db))
    direct, tail = drawn[:, 0] ** 2, (drawn[:, 1:] ** 2).sum(1)
    np.testing.assert_allclose(10 * np.log10(direct / tail), ratio_db, atol=0.05)
    np.testing.assert_allclose(direct + tail, 1, rtol=1e-4)
    assert np.abs(drawn[:, 1:50]).max() < 1e-5 < np.abs(drawn[:, 55:60]).min(axis=1).max()


def test_rooms_differ_and_keep_to_their_ranges() -> None:
    drawn = rooms(n=200)
    rt60_s = np.array([measured_rt60_s(room) for room in drawn])
    ratio_db = 10 * np.log10(drawn[:, 0] ** 2 / (drawn[:, 1:] ** 2).sum(1))
    assert 0.17 < rt60_s.min() < 0.27 < 0.73 < rt60_s.max() < 0.92
    assert 0 - 0.05 < ratio_db.min() < 1 < 11 < ratio_db.max() < 12.05
    assert len(np.unique(drawn[:, 100])) == 200


def test_a_steady_sound_keeps_its_level_on_average_and_its_place() -> None:
    noise = torch.randn(64, 20_480, generator=torch.Generator().manual_seed(1))
    wet = RoomReverb(RoomReverbSettings(probability=1))(noise, torch.Generator().manual_seed(2))
    late = slice(15_000, None)  # once the tail has built up
    assert abs(10 * (wet[:, late].square().mean() / noise[:, late].square().mean()).log10()) < 0.2
    assert ((wet * noise).mean(1) > 0.6).all()


def test_rt60_must_leave_a_tail() -> None:
    with pytest.raises(ValueError, match="must not be below"):
        RoomReverbSettings(rt60_s=(0.0, 0.8))


def test_convolution_equals_scipys() -> None:
    random = np.random.default_rng(0)
    for n_samples, n_taps in random.integers(1, 500, (20, 2)):
        waveforms, filters = random.standard_normal((3, n_samples)), random.standard_normal((3, n_taps))
        ours = convolve_each(torch.from_numpy(waveforms), torch.from_numpy(filters)).numpy()
        scipys = [scipy.signal.convolve(x, h)[:n_samples] for x, h in zip(waveforms, filters, strict=True)]
        np.testing.assert_allclose(ours, scipys, atol=1e-10)
