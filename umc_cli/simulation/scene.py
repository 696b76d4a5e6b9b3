"""Where devices stand and what else sounds there: between a sound and what reaches each device's microphone.

A scene is one set of sounds heard by several devices at once: in the open or in a room, next to each other or spread
about; a device hears from every direction a little otherwise, and noise of the place, wind and handling besides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.response.device import N_BANDS
from umc_cli.simulation.room import SPEED_OF_SOUND_M_S, Room, room_response
from umc_cli.simulation.simulated_device import Waveform, minimum_phase

Samples = NDArray[np.float64]

_OPEN_SHARE, _TOGETHER_SHARE = 0.25, 0.4
"""Of scenes: in the open; in a room with the devices side by side. In the rest they are spread about a room."""
_ROOM_M = ((2.0, 2.0, 2.2), (14.0, 10.0, 4.5))
_RT60_S = (0.15, 1.4)
_LOW_RT60, _HIGH_RT60 = (0.9, 1.5), (0.35, 0.9)
"""Reverberation times at low and high frequencies over that in the middle."""
_WALL_M = 0.3
_TOGETHER_M = (0.03, 0.4)
_SOURCE_M = (0.3, 6.0)
"""Of the middle of the devices from the source; each device that is spread about draws its own."""
_SPREAD_M = (0.1, 5.0)
_STEADY_SOURCE_SHARE = 0.5
"""Of scenes in which all sounds come from one place."""
_ALIGNED_SHARE = 0.6
"""Of scenes in which recordings begin with the sound; in the others with that of the nearest device."""
_DIRECTION_DB = (0.0, 3.0)
_DIRECTION_KNOTS = 10
_SECOND_MICROPHONE_SHARE = 0.3
_SECOND_DELAY_S = (0.00005, 0.0005)
_SECOND_GAIN = (0.2, 0.9)
_AMBIENCE_SHARE = 0.6
_AMBIENCE_DBFS = (-80.0, -38.0)
_AMBIENCE_SLOPE_DB = (-8.0, -1.0)
_AMBIENCE_SPREAD_DB = 3.0
_GUST_SHARE = 0.12
_GUST_OF_SOUNDS = 0.4
_GUST_HZ = (80.0, 400.0)
_GUST_DBFS = (-45.0, -15.0)
_LOUDEST = 4.0


@dataclass(frozen=True)
class Ear:
    """How one device of a scene hears."""

    direction_db: float
    """Standard deviation of what the direction of a sound does to the response."""
    second_gain: float | None
    """Of a second microphone, added to the first; None where there is none."""
    second_delay_s: float
    gust_dbfs: float | None
    gust_hz: float


@dataclass(frozen=True)
class Scene:
    """A place for a set of sounds."""

    room: Room | None
    """None: in the open."""
    devices_m: NDArray[np.float64]
    """[devices, 3]."""
    sources_m: NDArray[np.float64]
    """[sounds, 3]."""
    is_aligned: bool
    ears: Sequence[Ear]
    ambience_dbfs: float | None
    ambience_filter: Samples

    def at_devices(self, sound: Waveform, number: int, random: np.random.Generator) -> list[Waveform]:
        """Return what sound `number` of the scene is at each device's microphone. Shape: [n] -> [devices] of [n].

        The level is that of the sound at the mean distance of the devices, so that scenes do not differ by it.
        """
        heard, arrivals_s, distances_m = [], [], []
        for place in self.devices_m:
            distance_m = max(float(np.linalg.norm(place - self.sources_m[number])), 0.05)
            response, arrival_s = np.array([1 / distance_m]), distance_m / SPEED_OF_SOUND_M_S
            if self.room:
                response, arrival_s = room_response(self.room, self.sources_m[number], place, random)
            heard.append(response)
            arrivals_s.append(arrival_s)
            distances_m.append(distance_m)
        scale = float(np.exp(np.mean(np.log(distances_m))))
        ambience_db = random.normal(0, _AMBIENCE_SPREAD_DB)
        result = []
        for ear, response, arrival_s in zip(self.ears, heard, arrivals_s, strict=True):
            late = 0 if self.is_aligned else round((arrival_s - min(arrivals_s)) * SAMPLE_RATE_HZ)
            path = np.concatenate([np.zeros(late), scale * response])
            path = scipy.signal.oaconvolve(path, _direction(ear, random))
            at_microphone = scipy.signal.oaconvolve(sound, path)[: len(sound)]
            if self.ambience_dbfs is not None:
                at_microphone += self._ambience(len(sound), ambience_db, random)
            if ear.gust_dbfs is not None and random.random() < _GUST_OF_SOUNDS:
                at_microphone += _gust(len(sound), ear.gust_dbfs, ear.gust_hz, random)
            result.append(at_microphone.clip(-_LOUDEST, _LOUDEST).astype(np.float32))
        return result

    def _ambience(self, n: int, level_db: float, random: np.random.Generator) -> Samples:
        """Return noise of the place; at two places of a diffuse field it is not the same."""
        assert self.ambience_dbfs is not None
        noise = random.standard_normal(n + len(self.ambience_filter) - 1)
        gain = 10 ** ((self.ambience_dbfs + level_db) / 20)
        return np.asarray(gain * scipy.signal.oaconvolve(noise, self.ambience_filter, "valid"))


def draw_scene(n_devices: int, n_sounds: int, random: np.random.Generator) -> Scene:
    """Draw a scene. Equal generators give equal scenes."""
    kind = random.random()
    size_m = random.uniform(*_ROOM_M)
    room = None
    if kind >= _OPEN_SHARE:
        middle_s = _log_uniform(_RT60_S, random)
        rt60_s = (middle_s * random.uniform(*_LOW_RT60), middle_s, middle_s * random.uniform(*_HIGH_RT60))
        room = Room((float(size_m[0]), float(size_m[1]), float(size_m[2])), rt60_s)
    source_m = random.uniform(_WALL_M, size_m - _WALL_M)
    if kind < _OPEN_SHARE + _TOGETHER_SHARE:
        middle_m = _away_from(source_m, _log_uniform(_SOURCE_M, random), size_m, random)
        apart = [_away_from(middle_m, _log_uniform(_TOGETHER_M, random), size_m, random) for _ in range(n_devices)]
    else:
        apart = [_away_from(source_m, _log_uniform(_SPREAD_M, random), size_m, random) for _ in range(n_devices)]
    sources_m = np.tile(source_m, (n_sounds, 1))
    if random.random() >= _STEADY_SOURCE_SHARE:
        sources_m = random.uniform(_WALL_M, size_m - _WALL_M, (n_sounds, 3))
    slope_db = random.uniform(*_AMBIENCE_SLOPE_DB)
    ambience = minimum_phase(slope_db * np.linspace(-1, 1, N_BANDS) * 3.5)
    return Scene(
        room=room,
        devices_m=np.stack(apart),
        sources_m=sources_m,
        is_aligned=random.random() < _ALIGNED_SHARE,
        ears=[_draw_ear(random) for _ in range(n_devices)],
        ambience_dbfs=random.uniform(*_AMBIENCE_DBFS) if random.random() < _AMBIENCE_SHARE else None,
        ambience_filter=ambience / np.sqrt(np.sum(ambience**2)),
    )


def _draw_ear(random: np.random.Generator) -> Ear:
    return Ear(
        direction_db=random.uniform(*_DIRECTION_DB),
        second_gain=random.uniform(*_SECOND_GAIN) if random.random() < _SECOND_MICROPHONE_SHARE else None,
        second_delay_s=random.uniform(*_SECOND_DELAY_S),
        gust_dbfs=random.uniform(*_GUST_DBFS) if random.random() < _GUST_SHARE else None,
        gust_hz=_log_uniform(_GUST_HZ, random),
    )


def _direction(ear: Ear, random: np.random.Generator) -> Samples:
    """Return the impulse response of what the direction of one sound does at one device."""
    knots = np.linspace(0, N_BANDS - 1, _DIRECTION_KNOTS)
    ripple_db = np.interp(np.arange(N_BANDS), knots, random.normal(0, ear.direction_db, _DIRECTION_KNOTS))
    # Relative to its own mean: `minimum_phase` sets 0 dB at 1 kHz.
    response = minimum_phase(ripple_db)
    if ear.second_gain is None:
        return response
    delay = max(1, round(ear.second_delay_s * random.random() * SAMPLE_RATE_HZ))
    pair = np.zeros(delay + 1)
    pair[0], pair[-1] = 1 / (1 + ear.second_gain), ear.second_gain / (1 + ear.second_gain)
    return np.convolve(response, pair)


def _gust(n: int, level_dbfs: float, highest_hz: float, random: np.random.Generator) -> Samples:
    """Return a burst of low noise, as of wind or of a hand on the case."""
    sections = scipy.signal.butter(2, highest_hz, fs=SAMPLE_RATE_HZ, output="sos")
    noise = scipy.signal.sosfilt(sections, random.standard_normal(n))
    knots = np.maximum(random.normal(0, 1, 6), 0)
    envelope = np.interp(np.arange(n), np.linspace(0, n, 6), knots)
    return np.asarray(10 ** (level_dbfs / 20) * envelope * noise / noise.std())


def _away_from(
    place_m: NDArray[np.float64], distance_m: float, size_m: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    direction = random.standard_normal(3)
    away = place_m + distance_m * direction / np.linalg.norm(direction)
    return np.asarray(np.clip(away, 0.05, size_m - 0.05))


def _log_uniform(limits: tuple[float, float], random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(*np.log(limits))))
