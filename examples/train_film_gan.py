"""Train a generator for `film_gan` on simulated devices alone: on pairs first, then with the paper's objective.

    python examples/train_film_gan.py <folder of the data> <folder of the run> --debian <folder> --output FILE
        [--size 16 4] [--steps 3000 400] [--smoke]

Folders as for `train_shipped_generator.py`. The first stage takes simulated worlds, where the truth is known (10 of the
near family, 40 of the wide one), and lets the generator lower the log-spectral distance to it. The second one is the
paper's: a discriminator for each of eight simulated devices, unpaired segments, least squares and 10 times the cycle.
No recording of a real device is used. `umc convert --converter film_gan --checkpoint FILE` takes the result.

--size: channels and residual blocks of the generator; the paper's is 64 9. --steps: of the two stages. Interrupted, it
goes on with the same command; worlds are kept in the folder of the run. With 16 4, a step takes 0.1 s of a processor in
the first stage (0.2 s in its last quarter) and 0.4 s in the second. --smoke: both stages in seconds, a tiny network.
"""

import argparse
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from debian_sounds import LONGEST_S, PACKAGES, PEAK, read_debian_sounds
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_shipped_generator import TRAIN_FOLDS, VALIDATION_FOLD, Lines, read_sounds, split_responses

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SAMPLE_RATE_HZ
from umc_cli.audio.mel_scale import mel_band_edges_hz
from umc_cli.config import dump_settings
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS, AdversarialSettings
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.converter_training.pretraining import (
    RefinerBatch,
    draw_batch,
    log_spectral_loss,
    start_from_eq_noise,
)
from umc_cli.conversion.converter_training.pretraining_world import TrainingWorld, WorldSettings, make_training_world
from umc_cli.conversion.converter_training.training_segments import TrainingSegments
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import load_generator, save_generator
from umc_cli.conversion.generator_settings import GeneratorSettings
from umc_cli.conversion.normalisation import Normalisation, denormalise, normalise
from umc_cli.response.device import Device
from umc_cli.response.frequency_response import REFERENCE_HZ, band_centres_hz
from umc_cli.runtime import autocast
from umc_cli.simulation.world import simulate_world
from umc_cli.training.moving_average import follow
from umc_cli.training.optimiser_state import below, load_optimiser_tensors, optimiser_tensors, under
from umc_cli.training.run import VALIDATION_SCORE, check_finite, run_training
from umc_cli.training.schedule import ScheduleSettings, WeightsName

Sounds = list[np.ndarray]

_NEAR, _WIDE = WorldSettings(6, 24), WorldSettings(6, 48, "wide")


@dataclass(frozen=True)
class Size:
    """How large the training is."""

    near_worlds: int = 10
    wide_worlds: int = 40
    near: WorldSettings = _NEAR
    wide: WorldSettings = _WIDE
    paired_steps: int = 3000
    batch_size: int = 16
    devices: int = 8
    """Of the second stage."""
    sounds: int = 60
    adversarial_steps: int = 400


SMOKE = Size(1, 1, WorldSettings(2, 4), WorldSettings(2, 8, "wide"), 4, 4, 3, 6, 3)
SETTINGS = ADVERSARIAL_PRESETS["cpu"].model_copy(
    update={"ngf": 16, "n_blocks": 4, "ndf": 16}
    | {"condition": "shape_and_level", "learning_rate": 2e-4, "average_decay": 0.99}
)
_SMALL = {"ngf": 4, "n_blocks": 1, "ndf": 4, "film_widths": (4, 4, 4), "film_hidden": 8, "batch_size": 4}
_PAIRED_RATE, _WARM_UP_STEPS, _AVERAGE_DECAY, _YOUNG_STEPS = 1e-3, 50, 0.995, 50
_MOST_GRADIENT = 5.0
_SHORT_FRAMES, _SHORT_SHARE = 40, 0.75
"""The first three quarters of the first stage see half segments, which cost half."""
_NEAR_SEED, _WIDE_SEED, _DEVICES_SEED, _VALIDATION_SEED = 3000, 20, 9000, 1_000_000
_VALIDATED = 96


class PairedTraining:
    """The generator learns the truth of simulated pairs: the log-spectral distance, through what stands around it."""

    columns = ("distance_db", "gradient_norm", "eq_noise_lsd", "film_gan_lsd", VALIDATION_SCORE)

    def __init__(
        self, settings: GeneratorSettings, size: Size, worlds: Sequence[TrainingWorld], validation: TrainingWorld
    ) -> None:
        self._size = size
        self._worlds = worlds
        self.normalisation = normalisation_of(worlds)
        torch.manual_seed(0)
        self._generator = Generator(settings)
        self._average = {name: tensor.clone() for name, tensor in self._generator.state_dict().items()}
        self._optimiser = torch.optim.Adam(self._generator.parameters(), _PAIRED_RATE, (0.5, 0.999))
        self._random = np.random.default_rng(0)
        self._to_condition, self._at_reference = condition_weights()
        self._validated = draw_batch(validation, _VALIDATED, np.random.default_rng(0))

    @property
    def steps_per_epoch(self) -> int:
        """An epoch is the whole stage."""
        return self._size.paired_steps

    def step(self, index: int) -> dict[str, float]:
        """Do step `index`."""
        done = index / self._size.paired_steps
        warm = min(1.0, (index + 1) / _WARM_UP_STEPS)
        for group in self._optimiser.param_groups:
            group["lr"] = _PAIRED_RATE * warm * 0.5 * (1 + math.cos(math.pi * done))
        world = self._worlds[self._random.integers(len(self._worlds))]
        batch = draw_batch(world, self._size.batch_size, self._random)
        source, target = batch.source, batch.target
        if done < _SHORT_SHARE:
            first = int(self._random.integers(source.shape[2] - _SHORT_FRAMES + 1))
            source, target = (each[:, :, first : first + _SHORT_FRAMES] for each in (source, target))
        with autocast(source.device, torch.bfloat16):
            converted = self._convert(self._generator, source, batch)
        loss = log_spectral_loss(converted, target)
        self._optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._generator.parameters(), _MOST_GRADIENT)
        measured = {"distance_db": loss.item(), "gradient_norm": norm.item()}
        check_finite(measured, index)
        self._optimiser.step()
        weights = self._generator.state_dict()
        follow([self._average[name] for name in weights], weights.values(), _AVERAGE_DECAY, index, _YOUNG_STEPS)
        return measured

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Measure the averaged weights on other sounds and devices, beside `eq_noise`."""
        batch, generator = self._validated, self.averaged()
        converted = self._convert(generator, batch.source, batch)
        distances = [log_spectral_loss(one, batch.target).item() for one in (start_from_eq_noise(batch)[1], converted)]
        return dict(zip(self.columns[2:], (*distances, distances[1]), strict=True))

    def _convert(self, generator: Generator, source: Tensor, batch: RefinerBatch) -> Tensor:
        condition_db = batch.pair.gain_db[:, :, 0] @ self._to_condition
        level_db = (condition_db @ self._at_reference)[:, None, None]
        normalised, offset_db = normalise(source, self.normalisation, generator.settings.level)
        return denormalise(generator(normalised, condition_db).float(), offset_db + level_db, self.normalisation)

    def averaged(self) -> Generator:
        """Return the moving average."""
        generator = Generator(self._generator.settings)
        generator.load_state_dict(self._average)
        return generator.eval().requires_grad_(False)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that going on needs."""
        tensors = under("generator", self._generator.state_dict()) | under("average", self._average)
        return tensors | under("adam", optimiser_tensors(self._optimiser)), {"random": self._random.bit_generator.state}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Become what `state` was taken of."""
        self._generator.load_state_dict(below("generator", tensors))
        self._average = below("average", tensors)
        load_optimiser_tensors(self._optimiser, below("adam", tensors))
        self._random.bit_generator.state = values["random"]

    def save_weights(self, folder: Path, name: WeightsName, about: Mapping[str, Any]) -> list[Path]:
        """Write the averaged weights."""
        path = folder / f"{name}.safetensors"
        save_generator(path, self.averaged(), self.normalisation, about)
        return [path]

    def draw(self, path: Path) -> None: ...


def normalisation_of(worlds: Sequence[TrainingWorld]) -> Normalisation:
    """Return mean and standard deviation over the recordings of all devices."""
    values = torch.cat([world.log_mel[:, ::8].flatten() for world in worlds]).float()
    return Normalisation(mean_db=values.mean().item(), std_db=values.std().item())


def condition_weights() -> tuple[Tensor, Tensor]:
    """Return the weights from 80 bands to the 128 of the condition, and of these 128 to the value at 1 kHz.

    Shape: [80, 128], [128].
    """
    centres_hz = np.array(mel_band_edges_hz(LOG_MEL_SETTINGS.n_mels)[1:-1])
    wide_hz = band_centres_hz()
    to_condition = [np.interp(wide_hz, centres_hz, row) for row in np.eye(len(centres_hz))]
    at_reference = [np.interp(REFERENCE_HZ, wide_hz, row) for row in np.eye(len(wide_hz))]
    return torch.tensor(np.stack(to_condition), dtype=torch.float32), torch.tensor(at_reference, dtype=torch.float32)


@dataclass
class Material:
    """What worlds are simulated from, and where they are kept: they are simulated once."""

    data: Path
    debian: Path
    kept: Path

    @cached_property
    def responses_db(self) -> np.ndarray:
        """Responses to train on: [n, 128], dB."""
        return split_responses(self.data)[0]

    @cached_property
    def sounds(self) -> tuple[Sounds, list[str]]:
        """Sounds to train on, and the group of each."""
        sounds, groups = read_debian_sounds(self.debian)
        for sound in read_sounds(self.data / "events", TRAIN_FOLDS):
            sounds.append(PEAK / max(np.abs(sound).max(), 1e-3) * sound[: round(LONGEST_S * SAMPLE_RATE_HZ)])
            groups.append("events")
        return sounds, groups

    def world(self, size: WorldSettings, seed: int) -> TrainingWorld:
        """Return a world of the first stage."""

        def make() -> dict[str, Tensor]:
            sounds, groups = self.sounds
            return vars(make_training_world(sounds, self.responses_db, size, seed, groups))

        return TrainingWorld(**self._tensors(f"{size.family}-{seed}", make))

    def validation(self, size: WorldSettings) -> TrainingWorld:
        """Return a world of sounds that are not trained on."""

        def make() -> dict[str, Tensor]:
            sounds = read_sounds(self.data / "events", (VALIDATION_FOLD,))
            return vars(make_training_world(sounds, self.responses_db, size, _VALIDATION_SEED))

        return TrainingWorld(**self._tensors("validation", make))

    def recorded(self, size: Size) -> tuple[Tensor, list[Device]]:
        """Return what the devices of the second stage recorded [devices, segments, 80, 80], and their records."""
        records = self.kept / "devices.json"

        def make() -> dict[str, Tensor]:
            world = simulate_world(self.sounds[0], self.responses_db, size.devices, size.sounds, _DEVICES_SEED)
            records.write_text(json.dumps([device.model_dump(mode="json") for device in world.devices]))
            return {"log_mel": world.log_mel}

        log_mel = self._tensors("devices", make)["log_mel"]
        return log_mel, [Device.model_validate(one) for one in json.loads(records.read_text())]

    def _tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        self.kept.mkdir(parents=True, exist_ok=True)
        path = self.kept / f"{name}.safetensors"
        if not path.is_file():
            save_file(make(), path.with_suffix(".partial"))
            path.with_suffix(".partial").rename(path)
        return load_file(path)


def unpaired(recorded: Tensor, devices: Sequence[Device], normalisation: Normalisation) -> TrainingSegments:
    """Return what the devices of the second stage recorded, a twentieth of it held out."""
    n_held_out = max(1, recorded.shape[1] // 20)
    of_device = [each.numpy() for each in recorded]
    return TrainingSegments(
        devices=tuple(device.id for device in devices),
        train=tuple(each[:-n_held_out] for each in of_device),
        held_out=tuple(each[-n_held_out:] for each in of_device),
        normalisation=normalisation,
        failed=(),
        fingerprint="",
    )


def without_level(_: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Take the mean off what discriminators see: off recordings it is off, a conversion's is its level."""
    normalised, devices = arguments
    return normalised - normalised.mean(dim=(1, 2), keepdim=True), devices


def adversarial_training(
    settings: AdversarialSettings, segments: TrainingSegments, devices: Sequence[Device], start: Path
) -> AdversarialTraining:
    """Return the paper's training, begun with weights."""
    training = AdversarialTraining(settings, segments, devices, False, torch.device("cpu"))
    weights = load_generator(start).generator.state_dict()
    for translator in (training.networks.translator, training.networks.average):
        translator.generators()[None].load_state_dict(weights)
    training.networks.discriminators.register_forward_pre_hook(without_level)
    return training


def main() -> None:
    """Train both stages, then write the last weights in half precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--debian", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(SETTINGS.ngf, SETTINGS.n_blocks))
    parser.add_argument("--steps", type=int, nargs=2, default=(Size.paired_steps, Size.adversarial_steps))
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    paired_steps, adversarial_steps = options.steps
    size = SMOKE if options.smoke else Size(paired_steps=paired_steps, adversarial_steps=adversarial_steps)
    ngf, n_blocks = options.size
    settings = SETTINGS.model_copy(update=_SMALL if options.smoke else {"ngf": ngf, "n_blocks": n_blocks})
    material = Material(options.data, options.debian, options.run / "worlds")
    about: dict[str, Any] = {
        "sounds": f"{', '.join(package.name for package in PACKAGES)} and FSDKaggle2018 (folds {TRAIN_FOLDS})",
        "responses": "of MicIRP and phone makers",
    }
    worlds = [material.world(size.near, _NEAR_SEED + number) for number in range(size.near_worlds)]
    worlds += [material.world(size.wide, _WIDE_SEED + number) for number in range(size.wide_worlds)]
    recorded, devices = material.recorded(size)
    paired = PairedTraining(settings.generator, size, worlds, material.validation(size.near))
    schedule = ScheduleSettings(epochs=1, log_every=50, validate_every=400, save_every=100)
    run_training(options.run / "paired", paired, schedule, about, Lines())
    segments = unpaired(recorded, devices, paired.normalisation)
    settings = settings.model_copy(
        update={"epochs": 1000, "learning_rate_epochs": 1000, "max_steps": size.adversarial_steps}
        | {"log_every": 20, "validate_every": 200, "save_every": 50, "keep": "last"}
    )
    start = options.run / "paired" / "last.safetensors"
    training = adversarial_training(settings, segments, devices, start)
    run_training(options.run / "adversarial", training, settings, about, Lines())
    about["settings"] = dump_settings(settings)
    about["steps"] = [size.paired_steps, size.adversarial_steps]
    last = load_generator(options.run / "adversarial" / "last.safetensors")
    save_generator(options.output, last.generator, last.normalisation, about, torch.float16)
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
