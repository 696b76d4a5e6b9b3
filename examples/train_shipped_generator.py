"""Train the refiner that comes with the package, from the recordings and responses named in its model card.

    python examples/train_shipped_generator.py <folder of the data> <folder of the run> --debian <folder>
        [--start FILE] [--output FILE] [--smoke]

<folder of the data> holds `events/` (`metadata.csv` with `filename` and `group_fold`, FLAC clips at 22,050 Hz) and
`impulse_responses/` (WAV); --debian is the folder that `examples/debian_sounds.py` filled. Takes about three hours on
two cores; started again with the same folders it goes on. Folds 1-3 and three quarters of the responses train; fold 4
chooses the best weights of the near family; fold 5 and the other responses are left for the test, see
`examples/simulate_devices.py`. The last stage, on the wide family, takes the Debian sounds besides, and its last
weights. With --start, weights of the first two stages, it is the only one. --smoke: all stages in half a minute with a
tiny network, to see that all works.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from debian_sounds import LONGEST_S, PACKAGES, PEAK, read_debian_sounds

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.config import dump_settings
from umc_cli.conversion.converter_training.pretraining import RefinerPretraining
from umc_cli.conversion.converter_training.pretraining_settings import PRETRAINING_PRESETS, PretrainingSettings
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
"""On the near family: the distance alone first, then the distribution of levels with it."""
WIDE_STAGE = PRETRAINING_PRESETS["cpu"].model_copy(
    update={
        "family": "wide",
        "objective": "share",
        "n_worlds": 80,
        "steps_per_world": 20,
        "worlds_kept": 48,
        "devices_per_world": 6,
        "sounds_per_world": 48,
        "learning_rate": 7e-4,
        "distribution_weight": 0.4,
        "plain_distribution_weight": 0.2,
        "texture_weight": 0.15,
        "ema_decay": 0.99,
        "bf16": True,
        "seed": 7000,
    }
)
_TINY = {
    name: getattr(PRETRAINING_PRESETS["smoke"], name)
    for name in ("refiner", "n_worlds", "worlds_kept", "devices_per_world", "sounds_per_world")
} | {"steps_per_world": 1, "batch_size": 4}
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
    parser.add_argument("--debian", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--output", type=Path, default=Path("umc_cli/assets/refiner.safetensors"))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    *near, wide = (one.model_copy(update=_TINY if options.smoke else {}) for one in (*STAGES, WIDE_STAGE))
    responses_db, _ = split_responses(options.data)
    start = options.start or train_near(near, options.data, responses_db, options.run)
    sounds, groups = read_debian_sounds(options.debian)
    for sound in read_sounds(options.data / "events", TRAIN_FOLDS):
        sounds.append(PEAK / max(np.abs(sound).max(), 1e-3) * sound[: round(LONGEST_S * SAMPLE_RATE_HZ)])
        groups.append("events")
    about = {
        "sounds": f"{len(sounds)} of {', '.join(package.name for package in PACKAGES)} and FSDKaggle2018",
        "responses": f"{len(responses_db)} of MicIRP and phone makers",
        "start": load_refiner(start).sha256,
    }
    held_out = read_sounds(options.data / "events", (VALIDATION_FOLD,))
    size = WorldSettings(wide.devices_per_world, wide.sounds_per_world, "wide")
    validation = make_training_world(held_out, responses_db, size, _VALIDATION_SEED)
    folder = options.run / "wide"
    seed = wide.seed
    with WorldSource(sounds, responses_db, size, seed=seed, workers=1, groups=groups) as worlds:
        training = RefinerPretraining(wide, worlds, validation, load_refiner(start).refiner)
        run_training(folder, training, schedule_of(wide), about, Lines())
    last = load_refiner(folder / "last.safetensors")
    about["settings"] = [dump_settings(settings) for settings in (*near, wide)]
    save_refiner(options.output, last.refiner, about, torch.float16)
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MiB")


def train_near(stages: Sequence[PretrainingSettings], data: Path, responses_db: np.ndarray, run: Path) -> Path:
    """Train the stages of the near family; return where their best weights are."""
    sounds = read_sounds(data / "events", TRAIN_FOLDS)
    size = WorldSettings(stages[0].devices_per_world, stages[0].sounds_per_world)
    validation = make_training_world(
        read_sounds(data / "events", (VALIDATION_FOLD,)), responses_db, size, _VALIDATION_SEED
    )
    about = {
        "sounds": f"{len(sounds)} clips of FSDKaggle2018 (folds {TRAIN_FOLDS})",
        "responses": f"{len(responses_db)} of MicIRP and phone makers",
    }
    best = None
    for number, settings in enumerate(stages, 1):
        folder = run / f"stage-{number}"
        with WorldSource(sounds, responses_db, size, seed=settings.seed, workers=1) as worlds:
            training = RefinerPretraining(settings, worlds, validation, load_refiner(best).refiner if best else None)
            run_training(folder, training, schedule_of(settings), about, Lines())
        best = folder / "best.safetensors"
    assert best
    return best


def schedule_of(settings: PretrainingSettings) -> ScheduleSettings:
    """Return when to log, validate and save."""
    return ScheduleSettings(epochs=settings.n_worlds, log_every=100, validate_every=500, save_every=100)


if __name__ == "__main__":
    main()
