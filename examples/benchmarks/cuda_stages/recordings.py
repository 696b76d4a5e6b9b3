"""The workspaces that the stages work in: a small one for all commands, and two for speed.

Noise is drawn once and cut at other places for each recording, weights are written once and linked: making it all takes
a second or two of a processor.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from cuda_stages.check import SOURCE, Check, note_machine
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import save_generator
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS
from umc_cli.conversion.normalisation import Normalisation

DEVICES = (SOURCE, "pixel3", "xperia1")
_SPLITS = ("train-converter", "train", "val", "test")


def make_workspaces(check: Check) -> None:
    """Write recordings, manifests and weights."""
    note_machine(check)
    shutil.rmtree(check.folder, ignore_errors=True)
    noise = np.random.default_rng(0).standard_normal(check.sized(30, 8) * SAMPLE_RATE_HZ).astype(np.float32)
    _write_small(check.folder / "small/data", noise, *check.sized((64, 4), (12, 3)))
    # Many clips of five segments, and stereo at 48 kHz as phones write it: a few recordings, linked often.
    n_samples = 5 * SEGMENT_SAMPLES
    _write_linked(check.folder / "big/data", noise[:n_samples, None], SAMPLE_RATE_HZ, check.sized(3000, 4), "flac")
    stereo = np.resize(noise, (check.sized(10, 1) * 48_000, 2))
    _write_linked(check.folder / "stereo/data", stereo, 48_000, check.sized(300, 2), "wav")
    _write_weights(check)


def _write_small(data: Path, noise: NDArray[np.float32], n_clips: int, seconds: int) -> None:
    """Write falling sounds of several devices, down to -100 dB: the quiet ones are where 16 bits are worst."""
    rows = ["path,device,label,split,recording"]
    time_s = np.arange(seconds * SAMPLE_RATE_HZ, dtype=np.float32) / SAMPLE_RATE_HZ
    falling = np.exp(-4 * (time_s % 1))
    for number, device in enumerate(DEVICES):
        for clip in range(n_clips):
            first = 997 * (clip + number) % (len(noise) - len(time_s))
            sound = 0.1 * noise[first : first + len(time_s)] + 0.2 * np.sin(2 * np.pi * (200 + 90 * clip) * time_s)
            sound *= falling * np.float32(10.0 ** -(clip % 5) * (1 + 0.3 * number))
            name = f"{device}/{'abcd'[clip % 4]}/{clip:03d}.flac"
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(data / name, sound, SAMPLE_RATE_HZ)
            rows.append(f"{name},{device},{'abcd'[clip % 4]},{_SPLITS[clip // 4 % 4]},r{clip:03d}")
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")


def _write_linked(data: Path, samples: NDArray[np.float32], rate_hz: int, count: int, suffix: str) -> None:
    folder = data / SOURCE / "noise"
    folder.mkdir(parents=True)
    n_distinct = min(count, 10)
    for clip in range(count):
        path = folder / f"{clip:05d}.{suffix}"
        if clip < n_distinct:
            soundfile.write(path, 0.05 * np.roll(samples, 1009 * clip, axis=0), rate_hz)
        else:
            os.link(folder / f"{clip % n_distinct:05d}.{suffix}", path)


def _write_weights(check: Check) -> None:
    """Write a generator of the cured kind and one of the paper's, in full size and untrained."""
    torch.manual_seed(0)
    normalisation = Normalisation(mean_db=-50.0, std_db=20.0)
    size = check.sized({}, {"ngf": 8, "n_blocks": 2})
    for preset in ("level_aware", "paper"):
        settings = GENERATOR_PRESETS[preset].model_copy(update=size)
        save_generator(check.folder / f"{preset}.safetensors", Generator(settings), normalisation)
