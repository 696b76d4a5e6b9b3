"""Train the refiner that comes with the package, from the recordings and responses named in its model card.

    python examples/train_shipped_generator.py <folder of the data> <folder of the run> [--output FILE]

<folder of the data> holds `events/` (`metadata.csv` with `filename` and `group_fold`, FLAC clips at 22,050 Hz) and
`impulse_responses/` (WAV). Takes about two hours on two cores; started again with the same folders it goes on.
Folds 1-3 and three quarters of the responses train; fold 4 chooses the best weights; fold 5 and the other responses are
left for the test, see `examples/simulate_devices.py`.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.config import dump_settings
from umc_cli.conversion.converter_training.pretraining import PRETRAINING_PRESETS, RefinerPretraining
from umc_cli.conversion.converter_training.pretraining_world import WorldSettings, WorldSource, make_training_world
from umc_cli.conversion.refiner_checkpoint import load_refiner, save_refiner
from umc_cli.response.device import DeviceRegistry
from umc_cli.response.frequency_response import band_response_db, impulse_response_curve
from umc_cli.training.run import run_training
from umc_cli.training.schedule import ScheduleSettings

TRAIN_FOLDS, VALIDATION_FOLD, TEST_FOLD = (1, 2, 3), 4, 5
TEST_PHONES = ("pixel3", "pixel3-back", "pixel3-bottom2", "xperia1v", "xperia1v-top")
TEST_MICROPHONES = 14
STAGES = (
    PRETRAINING_PRESETS["cpu"],
    PRETRAINING_PRESETS["cpu"].model_copy(
        update={
            "n_worlds": 146,
            "steps_per_world": 50,
            "learning_rate": 1e-3,
            "distribution_weight": 2.0,
            "seed": 5000,
        }
    ),
)
"""The distance alone first, then the distribution of levels with it."""
_VALIDATION_SEED = 1_000_000


class Lines:
    """A line for every row of the metrics."""

    def start(self, done: int, total: int) -> None:
        print(f"{done} of {total} steps are done")

    def stepped(self, step: int) -> None: ...

    def logged(self, row: dict[str, float]) -> None:
        print(time.strftime("%H:%M:%S"), {name: round(value, 3) for name, value in row.items()}, flush=True)

    def should_stop(self) -> bool:
        return False


def read_sounds(events: Path, folds: tuple[int, ...]) -> list[np.ndarray]:
    """Return the clips of some folds, in the order of the table."""
    with (events / "metadata.csv").open(newline="") as table:
        names = [row["filename"] for row in csv.DictReader(table) if int(row["group_fold"]) in folds]
    clips = [soundfile.read(events / name, dtype="float32") for name in names]
    assert all(rate == SAMPLE_RATE_HZ for _, rate in clips)
    return [samples for samples, _ in clips]


def read_responses(folder: Path) -> dict[str, np.ndarray]:
    """Return the responses of all microphones with an impulse response, [128] dB by name."""
    responses = {}
    for path in sorted(folder.rglob("*.wav")):
        samples, rate = soundfile.read(path, always_2d=True)
        responses[path.stem] = band_response_db(impulse_response_curve(samples[:, 0], rate))
    return responses


def split_responses(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the responses to train on and those of the test, [n, 128] dB each."""
    microphones = read_responses(data / "impulse_responses")
    phones = {phone.id: np.array(phone.frequency_response_db) for phone in DeviceRegistry()}
    held_out = {*np.random.default_rng(7).permutation(sorted(microphones))[:TEST_MICROPHONES], *TEST_PHONES}
    everything = microphones | phones
    parts = ([], [])
    for name in sorted(everything):
        parts[name in held_out].append(everything[name])
    return np.stack(parts[0]), np.stack(parts[1])


def main() -> None:
    """Train, then write the best weights in half precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=Path("umc_cli/assets/refiner.safetensors"))
    options = parser.parse_args()
    sounds = read_sounds(options.data / "events", TRAIN_FOLDS)
    responses_db, _ = split_responses(options.data)
    size = WorldSettings(STAGES[0].devices_per_world, STAGES[0].sounds_per_world)
    held_out = read_sounds(options.data / "events", (VALIDATION_FOLD,))
    validation = make_training_world(held_out, responses_db, size, _VALIDATION_SEED)
    about = {
        "sounds": f"{len(sounds)} clips of FSDKaggle2018 (folds {TRAIN_FOLDS})",
        "responses": f"{len(responses_db)} of MicIRP and phone makers",
    }
    best = None
    for number, settings in enumerate(STAGES, 1):
        folder = options.run / f"stage-{number}"
        schedule = ScheduleSettings(epochs=settings.n_worlds, log_every=100, validate_every=500, save_every=250)
        with WorldSource(sounds, responses_db, size, seed=settings.seed, workers=1) as worlds:
            training = RefinerPretraining(settings, worlds, validation, best.refiner if best else None)
            run_training(folder, training, schedule, about, Lines())
        best = load_refiner(folder / "best.safetensors")
    about = {
        **about,
        "settings": [dump_settings(settings) for settings in STAGES],
        "best_step": best.training["best_step"],
    }
    save_refiner(options.output, best.refiner, about, torch.float16)
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
