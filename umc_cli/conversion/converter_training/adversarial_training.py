"""The adversarial training as a kind of training that a run folder can hold (see `run`)."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.condition import condition_db
from umc_cli.conversion.converter_training.adversarial_settings import AdversarialSettings
from umc_cli.conversion.converter_training.adversarial_step import (
    LOSS_NAMES,
    NORM_NAMES,
    AdversarialBatch,
    Networks,
    StepSettings,
    training_step,
)
from umc_cli.conversion.converter_training.adversarial_validation import cycle_error_db, response_error_db
from umc_cli.conversion.converter_training.discriminator import Discriminators
from umc_cli.conversion.converter_training.image_buffer import ImageBuffer
from umc_cli.conversion.converter_training.pair_sampler import Draw, PairSampler
from umc_cli.conversion.converter_training.training_segments import TrainingSegments
from umc_cli.conversion.converter_training.translators import PairTranslator, Translator, UnifiedTranslator
from umc_cli.conversion.generator_checkpoint import TrainedGenerator, save_generator
from umc_cli.conversion.generator_settings import GeneratorSettings, LevelKind
from umc_cli.conversion.normalisation import Normalisation, denormalise, normalise
from umc_cli.errors import SettingsError
from umc_cli.evaluation.report.conversion_figure import draw_conversion_figure
from umc_cli.response.device import Device
from umc_cli.response.difference import fr_difference_db
from umc_cli.runtime import autocast_dtype, explain_compiler_faults
from umc_cli.training.optimiser_state import below, load_optimiser_tensors, optimiser_tensors, under
from umc_cli.training.ranks import ONE_PROCESS, Ranks
from umc_cli.training.row_numbers import sent
from umc_cli.training.run import VALIDATION_SCORE
from umc_cli.training.schedule import WeightsName

VALIDATION_NAMES = ("validation_cycle_db", "validation_response_db", VALIDATION_SCORE)

VALIDATED_SEGMENTS = 64
"""At the most; more take longer and change the mean little."""
_PICTURED_TARGETS = 3


class AdversarialTraining:
    """Networks, optimisers, buffers and sampler of a run; `training.training_step` is what it repeats."""

    def __init__(
        self,
        settings: AdversarialSettings,
        segments: TrainingSegments,
        devices: Sequence[Device],
        is_pair: bool,
        torch_device: torch.device,
        ranks: Ranks = ONE_PROCESS,
        is_compiled: bool = False,
    ) -> None:
        """`devices`: the records of `segments.devices`, in the same order; `is_pair`: one-to-one, exactly two;
        `is_compiled`: the generator, at the first step.

        Raises:
            SettingsError: the records are over different mel bands, or there are more ranks than segments computed at
                once.
        """
        smallest = min(map(len, _parts(settings)))
        if smallest < ranks.count:
            raise SettingsError(
                f"{ranks.count} processes cannot share {smallest} segments",
                "start fewer, or raise --batch-size, or give a --micro-batch-size that divides it",
            )
        self._ranks = ranks
        self._settings = settings
        self._segments = segments
        self._devices = tuple(devices)
        self._is_pair = is_pair
        self._torch_device = torch_device
        for device in devices:  # refuses records over other bands
            fr_difference_db(devices[0], device)
        with torch.random.fork_rng(devices=[]):  # the weights are made on the CPU
            torch.default_generator.manual_seed(settings.seed)
            translator = self._translator(settings.generator)
            discriminators = Discriminators(len(devices), settings.ndf)
        translator.to(torch_device)
        if is_compiled and torch_device.type == "cuda":
            translator.to(memory_format=torch.channels_last)
        discriminators.to(torch_device)
        betas = (settings.beta1, settings.beta2)
        self.networks = Networks(
            translator,
            copy.deepcopy(translator).requires_grad_(False),
            discriminators,
            torch.optim.Adam(translator.parameters(), settings.learning_rate, betas),
            torch.optim.Adam(discriminators.parameters(), settings.learning_rate, betas),
        )
        self._is_compiled = is_compiled
        for generator in translator.generators().values() if is_compiled else ():
            generator.compile()  # weights keep their names, and the average, a copy made before, computes as ever
        self._step_settings = StepSettings(
            settings.loss_weights, settings.average_decay, autocast_dtype(settings.precision, torch_device)
        )
        self._sampler = PairSampler([len(found) for found in segments.train], settings.seed)
        self._buffers = [ImageBuffer(settings.buffer_size) for _ in devices]
        self._random = torch.Generator().manual_seed(settings.seed)
        # The next segments are read while the networks work on these.
        self._ahead = ThreadPoolExecutor(1, "umc-batches")
        self._next: Future[tuple[Draw, Tensor]] | None = None
        self._before_next: tuple[dict[str, Tensor], list[int]] | None = None
        """Of the sampler: a run that is resumed draws the next segments anew."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps that convert as many segments as there are."""
        return math.ceil(sum(len(found) for found in self._segments.train) / self._settings.batch_size)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the losses and measures."""
        return (*LOSS_NAMES, *NORM_NAMES, "learning_rate", *VALIDATION_NAMES)

    def step(self, index: int) -> dict[str, float]:
        """Do step `index` and return its losses.

        Raises:
            NonFiniteLossError: see `training_step`.
            EnvironmentFault: the generator is to be compiled, and cannot be.
        """
        rate = self._settings.learning_rate_at(index // self.steps_per_epoch)
        for optimiser in (self.networks.translator_optimiser, self.networks.discriminator_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = rate
        with self._explained():
            losses = training_step(
                self.networks,
                self._batch(),
                _parts(self._settings),
                self._buffers,
                self._random,
                self._step_settings,
                index,
                self._ranks,
            )
        return losses | {"learning_rate": rate}

    def validate(self) -> dict[str, float]:
        """Measure the averaged generator on held-out segments, or on training segments if none are held out."""
        return self._measure(self.networks.average, self._segments.normalisation, self._settings.level)

    def score_of(self, trained: Sequence[TrainedGenerator]) -> float:
        """Return the validation score of other weights: one generator, or the two of a pair, there and back.

        Raises:
            SettingsError: they are not of the kind that this training makes.
        """
        first = trained[0]
        alike = all(
            (other.generator.settings, other.normalisation) == (first.generator.settings, first.normalisation)
            for other in trained
        )
        if not alike or (first.generator.settings.film_encoder == "none") != self._is_pair:
            raise SettingsError("they come from another kind of training", "publish with --publish")
        translator = self._translator(first.generator.settings)
        for generator, other in zip(translator.generators().values(), trained, strict=True):
            generator.load_state_dict(other.generator.state_dict())
        translator.to(self._torch_device)
        return self._measure(translator, first.normalisation, first.generator.settings.level)[VALIDATION_SCORE]

    @torch.no_grad()
    def _measure(self, translator: Translator, normalisation: Normalisation, level: LevelKind) -> dict[str, float]:
        cycle: list[float] = []
        originals, conversions, pairs = [], [], []
        for log_mel_db, own, other in self._validated():
            normalised, offset_db = normalise(log_mel_db, normalisation, level)
            converted = translator(normalised, [own], [other])
            back = translator(converted, [other], [own])
            in_db = partial(_in_db, offset_db=offset_db, normalisation=normalisation)
            cycle.append(cycle_error_db(in_db(back), in_db(normalised)))
            originals.append(log_mel_db)
            conversions.append(in_db(converted))
            pairs.append((own, other))
        response = response_error_db(torch.cat(conversions), torch.cat(originals), pairs, self._devices)
        total = float(np.mean(cycle)) + response
        return dict(zip(VALIDATION_NAMES, (float(np.mean(cycle)), response, total), strict=True))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return networks, optimisers, buffers, random states and sampler position."""
        tensors = {f"random.{name}": value for name, value in {"buffers": self._random.get_state()}.items()}
        for name, module in self._modules().items():
            tensors |= under(name, module.state_dict())
        for name, optimiser in self._optimisers().items():
            tensors |= under(name, optimiser_tensors(optimiser))
        for device, buffer in enumerate(self._buffers):
            images = buffer.state()
            if images is not None:
                tensors[f"buffer.{device}"] = images
        sampler, positions = self._before_next or self._sampler.state()
        tensors |= under("sampler", sampler)
        return tensors, {"sampler_positions": positions}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Become what `state` was taken of."""
        for name, module in self._modules().items():
            module.load_state_dict(below(name, tensors))
        for name, optimiser in self._optimisers().items():
            load_optimiser_tensors(optimiser, below(name, tensors))
        for device, buffer in enumerate(self._buffers):
            buffer.load_state(tensors.get(f"buffer.{device}"), self._torch_device)
        self._random.set_state(tensors["random.buffers"])
        if self._next:
            self._next.result()
            self._next = self._before_next = None
        self._sampler.load_state(below("sampler", tensors), values["sampler_positions"])

    def save_weights(self, folder: Path, name: WeightsName, about: Mapping[str, Any]) -> list[Path]:
        """Write the averaged generator, or the two of a pair (the way back as `<name>-reverse`)."""
        ids = self._segments.devices
        paths = []
        for pair, generator in self.networks.average.generators().items():
            path = folder / (f"{name}.safetensors" if pair in (None, (0, 1)) else f"{name}-reverse.safetensors")
            description = {**about, "devices": list(ids)} | ({"pair": [ids[end] for end in pair]} if pair else {})
            save_generator(path, generator, self._segments.normalisation, description)
            paths.append(path)
        return paths

    @torch.no_grad()
    def draw(self, path: Path) -> None:
        """Draw one validated segment converted to up to three devices, as in the paper's Figure 4."""
        log_mel_db, own, _ = next(self._validated())
        others = [other for other in range(len(self._devices)) if other != own][:_PICTURED_TARGETS]
        normalised, offset_db = self._normalise(log_mel_db)
        converted = {
            self._devices[other].id: self._denormalise(
                self.networks.average(normalised, [own], [other]), offset_db
            )[0].cpu().numpy()
            for other in others
        }  # fmt: skip
        source = self._devices[own]
        draw_conversion_figure(
            path,
            log_mel_db[0].cpu().numpy(),
            {self._devices[other].id: fr_difference_db(source, self._devices[other]) for other in others},
            converted,
            source.id,
            source.band_centres_hz,
        )

    def _explained(self) -> AbstractContextManager[None]:
        if not self._is_compiled:
            return nullcontext()
        return explain_compiler_faults("the generator cannot be compiled here", "do without it (--no-compile)")

    def _batch(self) -> AdversarialBatch:
        """Draw the segments of a step."""
        drawn, levels = self._next.result() if self._next else self._draw()
        self._before_next = self._sampler.state()
        self._next = self._ahead.submit(self._draw)
        log_mel_db = sent(levels, self._torch_device).float()
        return AdversarialBatch(self._normalise(log_mel_db)[0], drawn.own, drawn.other)

    def _draw(self) -> tuple[Draw, Tensor]:
        """Return which segments the next step takes, and their levels [B, 80, 80] float16, pinned for a GPU."""
        drawn = self._sampler.draw(self._settings.batch_size // 2)
        levels = _stacked(self._segments.train, drawn.own, drawn.rows)
        return drawn, levels.pin_memory() if self._torch_device.type == "cuda" else levels

    def _validated(self) -> Iterator[tuple[Tensor, int, int]]:
        """Yield segments [1, 80, 80] in dB, the same ones each time, with their own and another device."""
        found = self._segments.held_out if any(map(len, self._segments.held_out)) else self._segments.train
        pairs = [pair for pair in permutations(range(len(found)), 2) if len(found[pair[0]])]
        for turn in range(VALIDATED_SEGMENTS):
            own, other = pairs[turn % len(pairs)]
            row = turn // len(pairs)
            if row < len(found[own]):
                yield self._read(found, [own], [row]), own, other

    def _read(self, source: Sequence[Any], own: Sequence[int], rows: Sequence[int]) -> Tensor:
        return _stacked(source, own, rows).to(self._torch_device).float()

    def _normalise(self, log_mel_db: Tensor) -> tuple[Tensor, Tensor]:
        return normalise(log_mel_db, self._segments.normalisation, self._settings.level)

    def _denormalise(self, normalised: Tensor, offset_db: Tensor) -> Tensor:
        return _in_db(normalised, offset_db, self._segments.normalisation)

    def _translator(self, settings: GeneratorSettings) -> Translator:
        if self._is_pair:
            return PairTranslator(settings)
        first = self._devices[0]
        responses_db = np.stack([condition_db(first, device, settings.condition) for device in self._devices])
        return UnifiedTranslator(settings, torch.from_numpy(responses_db))

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {
            "translator": self.networks.translator,
            "average": self.networks.average,
            "discriminators": self.networks.discriminators,
        }

    def _optimisers(self) -> dict[str, torch.optim.Adam]:
        return {
            "translator_optimiser": self.networks.translator_optimiser,
            "discriminator_optimiser": self.networks.discriminator_optimiser,
        }


def _stacked(source: Sequence[Any], own: Sequence[int], rows: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.stack([source[device][row] for device, row in zip(own, rows, strict=True)]))


def _in_db(normalised: Tensor, offset_db: Tensor, normalisation: Normalisation) -> Tensor:
    return denormalise(normalised.float(), offset_db, normalisation).clamp_min(FLOOR_DB)


def _parts(settings: AdversarialSettings) -> list[list[int]]:
    """Return the rows of a batch that are computed at once: whole pairs, whose second halves follow all first ones."""
    n_pairs, at_once = settings.batch_size // 2, (settings.micro_batch_size or settings.batch_size) // 2
    starts = range(0, n_pairs, at_once)
    firsts = [list(range(start, min(start + at_once, n_pairs))) for start in starts]
    return [[*rows, *(n_pairs + row for row in rows)] for rows in firsts]
