"""The same sounds as several simulated devices record them: pairs whose truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import SEGMENT_SAMPLES
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import segment_starts
from umc_cli.response.device import Device
from umc_cli.simulation.device_family import draw_device, draw_wide_devices
from umc_cli.simulation.scene import draw_scene
from umc_cli.simulation.simulated_device import SimulatedDevice, Waveform

_GAIN_DB = (-14.0, 6.0)
_SPEED_SHARE = 0.5
_SPEED_OCTAVES = 0.36
_MIXED_SHARE = 0.25
_MIXED_DB = (-15.0, 0.0)
_WIDE_GAIN_DB = (-26.0, 6.0)
_WIDE_SPREAD_DB = (0.0, 8.0)
"""Levels of the sounds of one world differ by as much (standard deviation)."""
_ONE_GROUP_SHARE = 0.6
"""Of worlds whose sounds are of one group, as one speaker's or one drum kit's, as far as it reaches."""
_LOUDEST = 2.0
"""A microphone may be overdriven, but not without limit."""


@dataclass(frozen=True)
class World:
    """Row i is the same segment on every device."""

    log_mel: Tensor
    """[devices, segments, 80, 80] float16, dB."""
    devices: list[Device]
    """Their records."""
    sounds: Tensor
    """[segments] int64: which of the world's sounds a segment is of."""


def simulate_world(
    sounds: Sequence[Waveform], responses_db: NDArray[np.float64], n_devices: int, n_sounds: int, seed: int
) -> World:
    """Draw devices and sounds, vary the sounds, and let every device record them.

    `sounds`: waveforms at 22,050 Hz, full scale 1; `responses_db`: [n, 128], see `draw_device`. Equal seeds give
    equal worlds.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(sounds))[:n_sounds].tolist()
    varied = [_vary(sounds[index], sounds, random) for index in chosen]
    devices = [draw_device(f"world{seed}-{index}", responses_db, random) for index in range(n_devices)]
    log_mels = [record_segments(device, varied, random).half() for device in devices]
    return World(torch.stack(log_mels), [device.record for device in devices], _owners(varied))


def simulate_wide_world(
    sounds: Sequence[Waveform],
    groups: Sequence[str],
    responses_db: NDArray[np.float64],
    n_devices: int,
    n_sounds: int,
    seed: int,
) -> World:
    """Draw devices of the wide family, a scene and sounds of one group or of all, and let every device record them.

    `groups`: of each sound, what it has in common with others, as speaker, instrument or collection. See
    `simulate_world`.
    """
    random = np.random.default_rng(seed)
    varied = [_vary(sounds[index], sounds, random) for index in _choose(groups, n_sounds, random)]
    level_db, spread_db = random.uniform(*_WIDE_GAIN_DB), random.uniform(*_WIDE_SPREAD_DB)
    gains = 10 ** ((level_db + random.normal(0, spread_db, len(varied))) / 20)
    devices = draw_wide_devices(f"world{seed}", responses_db, n_devices, random)
    scene = draw_scene(n_devices, len(varied), random)
    rows: list[list[Tensor]] = [[] for _ in devices]
    for number, (sound, gain) in enumerate(zip(varied, gains, strict=True)):
        played = (gain * sound).clip(-_LOUDEST, _LOUDEST).astype(np.float32)
        for row, device, heard in zip(rows, devices, scene.at_devices(played, number, random), strict=True):
            row.append(log_mel(_segments(device.record_sound(heard, random))).half())
    log_mels = torch.stack([torch.cat(row) for row in rows])
    return World(log_mels, [device.record for device in devices], _owners(varied))


def _choose(groups: Sequence[str], n_sounds: int, random: np.random.Generator) -> list[int]:
    """Return which sounds a world is of; a group that is too small is filled up with others."""
    order = random.permutation(len(groups))
    if random.random() < _ONE_GROUP_SHARE:
        names = sorted(set(groups))
        chosen = names[int(random.integers(len(names)))]
        order = np.array(sorted(order.tolist(), key=lambda index: groups[index] != chosen))
    picked: list[int] = order[:n_sounds].tolist()
    return [picked[index] for index in random.permutation(len(picked))]


def _owners(sounds: Sequence[Waveform]) -> Tensor:
    counts = [len(segment_starts(len(sound), SegmentSettings())) for sound in sounds]
    return torch.repeat_interleave(torch.arange(len(sounds)), torch.tensor(counts))


def record_segments(device: SimulatedDevice, sounds: Sequence[Waveform], random: np.random.Generator) -> Tensor:
    """Return what a device records of `sounds`, cut as `umc convert` cuts. Shape: [segments, 80, 80] float32, dB."""
    return torch.cat([log_mel(_segments(device.record_sound(sound, random))) for sound in sounds])


def _segments(waveform: Waveform) -> Tensor:
    starts = segment_starts(len(waveform), SegmentSettings())
    padded = np.pad(waveform, (0, max(0, starts[-1] + SEGMENT_SAMPLES - len(waveform))))
    return torch.from_numpy(np.stack([padded[start : start + SEGMENT_SAMPLES] for start in starts]))


def _vary(sound: Waveform, others: Sequence[Waveform], random: np.random.Generator) -> Waveform:
    """Play a sound faster or slower, mix another one in, and change its level."""
    varied = sound.astype(np.float64)
    if random.random() < _SPEED_SHARE:
        speed = 2 ** random.uniform(-_SPEED_OCTAVES, _SPEED_OCTAVES)
        places = np.arange(0, len(sound) - 1, speed)[: len(sound)]
        varied = np.interp(places, np.arange(len(sound)), sound)
    if random.random() < _MIXED_SHARE:
        other = others[int(random.integers(len(others)))]
        other = np.resize(np.roll(other, random.integers(len(other))), len(varied))
        varied = varied + 10 ** (random.uniform(*_MIXED_DB) / 20) * other
    gain = 10 ** (random.uniform(*_GAIN_DB) / 20)
    return (gain * varied).clip(-_LOUDEST, _LOUDEST).astype(np.float32)
