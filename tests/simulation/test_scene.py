"""Scenes: where devices stand decides what reaches them."""

from dataclasses import replace

import numpy as np
import pytest

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.simulation.room import SPEED_OF_SOUND_M_S
from umc_cli.simulation.scene import Ear, Scene, draw_scene

PLAIN = Ear(direction_db=0.0, second_gain=None, second_delay_s=0.0001, gust_dbfs=None, gust_hz=100.0)
OPEN = Scene(
    room=None,
    devices_m=np.array([[1.0, 1, 1], [5.0, 1, 1]]),
    sources_m=np.array([[0.0, 1, 1]]),
    is_aligned=False,
    ears=(PLAIN, PLAIN),
    ambience_dbfs=None,
    ambience_filter=np.ones(1),
)


def impulse() -> np.ndarray:
    sound = np.zeros(4_000, np.float32)
    sound[500] = 1.0
    return sound


def test_in_the_open_a_sound_comes_later_and_weaker_from_afar() -> None:
    near, far = OPEN.at_devices(impulse(), 0, np.random.default_rng(0))
    late = round(4 / SPEED_OF_SOUND_M_S * SAMPLE_RATE_HZ)
    assert (np.abs(near).argmax(), np.abs(far).argmax()) == (500, 500 + late)
    assert near.max() / far.max() == pytest.approx(5, rel=1e-3)
    assert near.max() * far.max() == pytest.approx(1, rel=1e-2)  # at the mean distance the level is that of the sound


def test_an_aligned_scene_has_no_delay() -> None:
    heard = replace(OPEN, is_aligned=True).at_devices(impulse(), 0, np.random.default_rng(0))
    assert [np.abs(one).argmax() for one in heard] == [500, 500]


def test_ambience_has_its_level_and_is_not_the_same_at_two_places() -> None:
    scene = replace(OPEN, ambience_dbfs=-40.0)
    sound = np.zeros(20_000, np.float32)
    levels = []
    for seed in range(20):
        here, there = scene.at_devices(sound, 0, np.random.default_rng(seed))
        assert abs(np.corrcoef(here, there)[0, 1]) < 0.05
        levels.append(10 * np.log10(np.mean(here**2)))
    assert np.mean(levels) == pytest.approx(-40, abs=2)


def test_a_second_microphone_combs() -> None:
    ear = replace(PLAIN, second_gain=1.0, second_delay_s=0.002)
    found = []
    for seed in range(20):
        heard = replace(OPEN, ears=(ear, PLAIN)).at_devices(impulse(), 0, np.random.default_rng(seed))[0]
        spectrum = np.abs(np.fft.rfft(heard))
        found.append(spectrum.min() / spectrum.max())
    assert np.median(found) < 0.05


def test_scenes_differ_and_come_again() -> None:
    kinds = set()
    for seed in range(30):
        scene = draw_scene(3, 4, np.random.default_rng(seed))
        again = draw_scene(3, 4, np.random.default_rng(seed))
        np.testing.assert_array_equal(scene.devices_m, again.devices_m)
        assert scene.devices_m.shape == (3, 3)
        assert scene.sources_m.shape == (4, 3)
        kinds.add((scene.room is None, scene.is_aligned))
    assert len(kinds) == 4
