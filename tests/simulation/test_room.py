"""Rooms against geometry and the theory of diffuse fields."""

import numpy as np
import pytest

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.simulation.room import MIXING_S, SPEED_OF_SOUND_M_S, Room, room_response

ROOM = Room((6.0, 5.0, 3.0), (0.5, 0.5, 0.5))
SOURCE_M = np.array([2.0, 2.0, 1.5])


def response(distance_m: float, room: Room = ROOM, seed: int = 0) -> tuple[np.ndarray, float]:
    return room_response(room, SOURCE_M, SOURCE_M + np.array([distance_m, 0, 0]), np.random.default_rng(seed))


@pytest.mark.parametrize("distance_m", [0.5, 2.0])
def test_the_direct_sound_comes_first_with_the_amplitude_of_its_distance(distance_m: float) -> None:
    heard, arrival_s = response(distance_m)
    assert heard[0] == pytest.approx(1 / distance_m)
    assert arrival_s == pytest.approx(distance_m / SPEED_OF_SOUND_M_S)


def test_the_floor_reflects_after_the_way_there_and_back() -> None:
    heard, _ = response(1.0)
    way_m = np.hypot(1.0, 2 * 1.5)  # from the image below the floor; the ceiling's is as far
    place = round((way_m - 1.0) / SPEED_OF_SOUND_M_S * SAMPLE_RATE_HZ)
    assert heard[place] == pytest.approx(2 * np.sqrt(1 - ROOM.absorption) / way_m, rel=1e-6)
    assert not heard[1:place].any()


def test_absorption_follows_eyring() -> None:
    # 90 m3, 126 m2: the reverberation time that comes back is the one that was asked for.
    assert -0.161 * 90 / (126 * np.log(1 - ROOM.absorption)) == pytest.approx(0.5)


@pytest.mark.parametrize("rt60_s", [0.2, 0.8])
def test_the_tail_decays_by_60_db_in_the_reverberation_time(rt60_s: float) -> None:
    room = Room((6.0, 5.0, 3.0), (rt60_s,) * 3)
    energy = np.mean([np.square(response(1.0, room, seed)[0]) for seed in range(20)], axis=0)
    begun, ended = (round(time * SAMPLE_RATE_HZ) for time in (MIXING_S + 0.01, MIXING_S + 0.01 + rt60_s / 2))
    around = round(0.005 * SAMPLE_RATE_HZ)
    fall_db = 10 * np.log10(energy[begun : begun + around].mean() / energy[ended : ended + around].mean())
    assert fall_db == pytest.approx(30, abs=1.5)


def test_far_away_the_room_is_louder_than_the_sound_itself() -> None:
    def direct_to_reverberant_db(distance_m: float) -> float:
        heard, _ = response(distance_m)
        return float(10 * np.log10(heard[0] ** 2 / np.sum(heard[1:] ** 2)))

    nearer, farther = direct_to_reverberant_db(0.25), direct_to_reverberant_db(1.0)
    assert nearer - farther == pytest.approx(12, abs=2)  # two doublings; the diffuse field is the same
    # At the critical distance, where 16 pi d^2 is the room constant, both are equal.
    constant_m2 = ROOM.surface_m2 * ROOM.absorption / (1 - ROOM.absorption)
    assert direct_to_reverberant_db(float(np.sqrt(constant_m2 / (16 * np.pi)))) == pytest.approx(0, abs=3)


def test_high_frequencies_die_first() -> None:
    room = Room((6.0, 5.0, 3.0), (0.6, 0.5, 0.2))
    late = response(1.0, room)[0][round(0.25 * SAMPLE_RATE_HZ) :]
    spectrum = np.abs(np.fft.rfft(late)) ** 2
    hz = np.fft.rfftfreq(len(late), 1 / SAMPLE_RATE_HZ)
    assert spectrum[hz > 3_000].mean() < 0.01 * spectrum[hz < 500].mean()
