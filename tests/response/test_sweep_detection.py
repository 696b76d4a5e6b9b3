"""Sweeps are told from everything else that people record."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.response.measurements import microphone, recorded
from tests.samples import noise
from umc_cli.response.stimulus import ImpulseTrain, SineSweep
from umc_cli.response.sweep_detection import holds_a_sweep

RATE_HZ = 48_000
SECONDS = np.arange(3 * RATE_HZ) / RATE_HZ


@pytest.mark.parametrize(
    "sweep",
    [
        SineSweep(),
        SineSweep(duration_s=1, spacing_s=2),
        SineSweep(duration_s=20, spacing_s=22, repeats=1),
        SineSweep(start_hz=100, stop_hz=8_000),
    ],
    ids=["default", "1 s", "20 s", "narrow"],
)
@pytest.mark.parametrize("noise_dbfs", [-80.0, -40.0])
def test_a_sweep_is_recognized(sweep: SineSweep, noise_dbfs: float) -> None:
    assert holds_a_sweep(recorded(sweep, microphone(), noise_dbfs), RATE_HZ)


@pytest.mark.parametrize(
    "make",
    [
        lambda: recorded(ImpulseTrain(repeats=4), microphone(), -80),
        lambda: recorded(ImpulseTrain(repeats=4), microphone(), -30),
        lambda: np.sin(2 * np.pi * 1000 * SECONDS),
        lambda: np.sin(2 * np.pi * 220 * SECONDS) * np.exp(-SECONDS),
        lambda: np.sin(2 * np.pi * (200 * SECONDS + 60 * SECONDS**2)),
        lambda: noise(seed=0),
        lambda: np.zeros(RATE_HZ),
        lambda: np.zeros(10),
    ],
    ids=["impulses", "noisy impulses", "tone", "note", "glide of an octave", "noise", "silence", "nothing"],
)
def test_what_is_no_sweep_is_not_taken_for_one(make: Callable[[], np.ndarray]) -> None:
    assert not holds_a_sweep(make(), RATE_HZ)


@pytest.mark.realdata
def test_no_real_sound_is_taken_for_a_sweep(realdata: Path) -> None:
    paths = sorted((realdata / "events").rglob("*.flac"))
    assert paths
    for path in paths:
        samples, rate_hz = soundfile.read(path)
        assert not holds_a_sweep(samples, rate_hz), path
