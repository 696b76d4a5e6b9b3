"""Rooms: what a microphone at one place hears of a source at another.

Early reflections are image sources of a rectangular room (Allen and Berkley, "Image method for efficiently simulating
small-room acoustics", JASA 65(4), 1979), the rest is noise that decays exponentially, faster at high frequencies, with
the energy that a diffuse field has at that distance (Kuttruff, "Room Acoustics", 5.1). Walls reflect all frequencies
alike early on; there is no furniture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ

SPEED_OF_SOUND_M_S = 343.0
MIXING_S = 0.04
"""After the direct sound: until then single images, from then on the decaying noise."""

_MOST_REFLECTIONS_AN_AXIS = 3
_NEAREST_M = 0.05
_DECAY_NEPERS = 6 * np.log(10)
"""60 dB of energy."""
_BAND_EDGES_HZ = (500.0, 3_000.0)


@dataclass(frozen=True)
class Room:
    """A rectangular room."""

    size_m: tuple[float, float, float]
    rt60_s: tuple[float, float, float]
    """Reverberation time below 500 Hz, up to 3 kHz, and above."""

    @property
    def volume_m3(self) -> float:
        """Length times width times height."""
        return float(np.prod(self.size_m))

    @property
    def surface_m2(self) -> float:
        """Of all six walls."""
        x, y, z = self.size_m
        return 2 * (x * y + y * z + x * z)

    @property
    def absorption(self) -> float:
        """Mean absorption of the walls at middle frequencies, after Eyring; 0-1."""
        return float(1 - np.exp(-0.161 * self.volume_m3 / (self.surface_m2 * self.rt60_s[1])))


def room_response(
    room: Room, source_m: NDArray[np.float64], microphone_m: NDArray[np.float64], random: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Return the impulse response from a source to a microphone, its direct sound first, and the time that took.

    Shape: positions [3] in metres from a corner -> [n], in s. The direct sound has the amplitude 1 / distance (m).
    """
    images, n_reflections = _images(room, source_m)
    distance_m = np.maximum(np.linalg.norm(images - microphone_m, axis=1), _NEAREST_M)
    direct_m = float(distance_m[n_reflections == 0][0])
    amplitude = np.sqrt(1 - room.absorption) ** n_reflections / distance_m
    delay = np.round((distance_m - direct_m) / SPEED_OF_SOUND_M_S * SAMPLE_RATE_HZ).astype(int)
    n_early = round(MIXING_S * SAMPLE_RATE_HZ)
    response = _tail(room, direct_m, random)
    is_early = (delay >= 0) & (delay < n_early)
    response[:n_early] = 0
    np.add.at(response, delay[is_early], amplitude[is_early])
    return response, direct_m / SPEED_OF_SOUND_M_S


def _images(room: Room, source_m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the places of the source and its mirror images, and how many walls each stands for. Shape: [n, 3], [n]."""
    order = np.arange(-_MOST_REFLECTIONS_AN_AXIS, _MOST_REFLECTIONS_AN_AXIS + 1)
    along = [
        order * length + np.where(order % 2 == 0, place, length - place)
        for length, place in zip(room.size_m, source_m, strict=True)
    ]
    places = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3)
    counts = np.abs(np.stack(np.meshgrid(order, order, order, indexing="ij"), axis=-1)).sum(axis=-1)
    return places, counts.ravel()


def _tail(room: Room, direct_m: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Return noise with the energy of the diffuse field, decaying from the moment the source speaks."""
    n = round((MIXING_S + max(room.rt60_s)) * SAMPLE_RATE_HZ)
    seconds = np.arange(n) / SAMPLE_RATE_HZ + direct_m / SPEED_OF_SOUND_M_S
    spectrum = np.fft.rfft(random.standard_normal(n))
    frequency_hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    edges_hz = (0.0, *_BAND_EDGES_HZ, np.inf)
    room_constant_m2 = room.surface_m2 * room.absorption / (1 - room.absorption)
    energy = 16 * np.pi / room_constant_m2
    tail = np.zeros(n)
    for low_hz, high_hz, rt60_s in zip(edges_hz, edges_hz[1:], room.rt60_s, strict=False):
        band = np.fft.irfft(np.where((frequency_hz >= low_hz) & (frequency_hz < high_hz), spectrum, 0), n)
        rate = _DECAY_NEPERS / rt60_s
        # Energy and decay of middle frequencies set the beginning for all: shorter times then mean less energy.
        begun = energy * _DECAY_NEPERS / room.rt60_s[1] / SAMPLE_RATE_HZ
        tail += band * np.sqrt(begun * np.exp(-rate * seconds))
    return tail
