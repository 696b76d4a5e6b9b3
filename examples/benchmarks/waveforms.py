"""How closely converted waveforms follow the converter, and how fast they are made.

    python examples/benchmarks/waveforms.py [--recordings FOLDER] [--target pixel3] [--json] [--quick]

For each converter, on the recordings of a folder (at most 60, spread over all; default: synthesized sounds): the
distance of the written sound's log-mel levels from those that the converter wants, segment by segment as `umc convert`
cuts them, over levels within 60 dB of the loudest; side lobes of a steady tone, at the rate of segments and of frames;
and the speed over real time on one processor, beside `ApplyImpulseResponse` of audiomentations on the same sounds with
an impulse response of 0.1 s (where that is installed). Then the error where the target is the source itself. Prints a
table, with --json one JSON object. `--quick` checks that everything runs.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import soundfile
import torch

import umc_cli
from umc_cli.audio.log_mel_settings import HOP_SAMPLES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.response.device import write_device
from umc_cli.simulation.sound_events import SOUND_EVENTS, synthesize

SOURCE = "xperia1v"
CONVERTERS = ("eq", "eq_noise", "refiner")
RULES = {"eq", "eq_noise"}
"""They leave a sound as it is where nothing differs; a refiner does not."""
MOST = 60
WITHIN_DB = 60
TONE_HZ, TONE_SECONDS = 1000.3, 30
Sound = tuple[np.ndarray, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--target", default="pixel3")
    parser.add_argument("--source", default=SOURCE)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--converters", default=",".join(CONVERTERS), help="comma-separated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sounds = recorded(given.recordings) if given.recordings else synthesized()
    sounds = sounds[:3] if given.quick else sounds
    result: dict[str, dict[str, float]] = {}
    converters = given.converters.split(",")
    for converter in converters:
        conversion = umc_cli.open_conversion(given.source, given.target, converter, workspace=given.workspace)
        result[converter] = closeness(conversion, sounds, given.target)
        result[converter] |= side_lobes_db(conversion, given.target, 5 if given.quick else TONE_SECONDS)
        result[converter]["times_real_time"] = speed(partial(conversion.waveform, target=given.target), sounds)
    for converter in RULES & {*converters}:
        result[converter]["own_source_error_db"] = own_source_error_db(converter, given, sounds)
    if impulse := impulse_response(sounds):
        result["ApplyImpulseResponse"] = {"times_real_time": speed(impulse, sounds)}
    if given.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name, values in result.items():
        sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value:.2f}" for key, value in values.items()) + "\n")


def recorded(folder: Path) -> list[Sound]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".wav"))
    paths = paths[:: max(1, len(paths) // MOST)][:MOST]
    return [sound for sound in map(read, paths) if len(sound[0]) >= SEGMENT_SAMPLES]


def read(path: Path) -> Sound:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    whole_segments = len(samples) * SAMPLE_RATE_HZ // rate // SEGMENT_SAMPLES  # the rest would be padding
    return samples[: whole_segments * SEGMENT_SAMPLES * rate // SAMPLE_RATE_HZ].mean(axis=1), rate


def synthesized() -> list[Sound]:
    names, rate = sorted(SOUND_EVENTS), SAMPLE_RATE_HZ
    return [
        (np.tile(synthesize(names[number % len(names)], number), 3)[: 2 * SEGMENT_SAMPLES].astype(np.float32), rate)
        for number in range(12)
    ]


def closeness(conversion: umc_cli.Conversion, sounds: list[Sound], target: str) -> dict[str, float]:
    """Return the distance from what the converter wants: all levels together, and the sound that is furthest."""
    squares = []
    for samples, rate in sounds:
        wanted = conversion(umc_cli.log_mel(samples, rate))[target]
        reached = umc_cli.log_mel(conversion.waveform(samples, rate, target), rate)
        counts = wanted > wanted.max() - WITHIN_DB
        squares.append((reached - wanted)[counts].square())
    furthest = max(float(one.mean().sqrt()) for one in squares)
    return {"rms_db": float(torch.cat(squares).mean().sqrt()), "furthest_sound_rms_db": furthest}


def side_lobes_db(conversion: umc_cli.Conversion, target: str, seconds: int) -> dict[str, float]:
    rate = SAMPLE_RATE_HZ
    tone = (0.3 * np.sin(2 * np.pi * TONE_HZ * np.arange(rate * seconds) / rate)).astype(np.float32)
    made = conversion.waveform(tone, rate, target)[rate:-rate].astype(np.float64)
    bins = np.abs(np.fft.rfft(made * np.blackman(len(made)) ** 2))
    hz = np.fft.rfftfreq(len(made), 1 / rate)
    peak = bins.argmax()

    def lobe_db(distance_hz: float) -> float:
        near = np.abs(np.abs(hz - hz[peak]) - distance_hz) < 0.2
        return float(20 * np.log10(bins[near].max() / bins[peak]))

    frames_hz = rate / HOP_SAMPLES
    return {"side_lobe_of_segments_db": lobe_db(frames_hz / 40), "side_lobe_of_frames_db": lobe_db(frames_hz)}


def speed(run: Callable[[np.ndarray, int], np.ndarray], sounds: list[Sound]) -> float:
    run(*sounds[0])
    started = time.process_time()
    for samples, rate in sounds:
        run(samples, rate)
    return sum(len(samples) / rate for samples, rate in sounds) / (time.process_time() - started)


def own_source_error_db(converter: str, given: argparse.Namespace, sounds: list[Sound]) -> float:
    """Return the error, below the sound, of a conversion to a device with the source's own record: the worst sound."""
    with tempfile.TemporaryDirectory() as folder:
        record = umc_cli.devices(given.workspace)[given.source]
        write_device(record, Path(folder) / "devices")
        write_device(record.model_copy(update={"id": "copy"}), Path(folder) / "devices")
        conversion = umc_cli.open_conversion(given.source, "copy", converter, workspace=folder)
        errors = []
        for samples, rate in sounds:
            error = conversion.waveform(samples, rate, "copy") - samples
            errors.append(10 * np.log10(np.mean(error**2) / np.mean(samples**2) + 1e-15))
    return float(max(errors))


def impulse_response(sounds: list[Sound]) -> Callable[[np.ndarray, int], np.ndarray] | None:
    try:
        from audiomentations import ApplyImpulseResponse
    except ImportError:
        return None
    rate = sounds[0][1]
    decay = np.exp(-np.arange(rate // 10) / (0.01 * rate))
    folder = tempfile.mkdtemp()
    path = Path(folder) / "response.wav"
    soundfile.write(path, 0.1 * decay * np.random.default_rng(0).standard_normal(len(decay)), rate)
    augment = ApplyImpulseResponse(ir_path=str(path), p=1.0)
    return lambda samples, rate: augment(samples=samples, sample_rate=rate)


if __name__ == "__main__":
    main()
