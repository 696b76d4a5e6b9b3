"""Training of the refiner with the truth: the same sounds as pairs of simulated devices record them.

Devices are drawn from a wide family and replaced all the time, so that the network learns the family and not its
members. Half of every batch starts from `eq_noise`, as for a device that was only measured, the other half from
`quantile`, as for one with recordings: one set of weights serves both.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.mel_scale import mel_band_edges_hz
from umc_cli.config import dump_settings
from umc_cli.conversion.converter_training.pretraining_settings import WORLDS_AT_START, PretrainingSettings
from umc_cli.conversion.converter_training.pretraining_world import TrainingWorld
from umc_cli.conversion.noise_aware_eq import signal_power
from umc_cli.conversion.quantile_mapping import level_at, locate
from umc_cli.conversion.refiner_checkpoint import save_refiner
from umc_cli.conversion.refiner_network import KnownPair, Refiner, refined, refiner_maps
from umc_cli.evaluation.report.conversion_figure import draw_conversion_figure
from umc_cli.training.moving_average import follow
from umc_cli.training.optimiser_state import below, load_optimiser_tensors, optimiser_tensors, under
from umc_cli.training.row_numbers import sent
from umc_cli.training.run import VALIDATION_SCORE, check_finite
from umc_cli.training.schedule import WeightsName

_CPU = torch.device("cpu")
_WARM_UP_STEPS = 100
_MOST_GRADIENT = 5.0
_SAME_FRAME_DB = 0.01
"""Keeps the root's slope finite where a frame is met exactly."""
_YOUNG_STEPS = 50
_PAIRS_DRAWN = 3
_SHARE_DB, _LEAST_START_DB = 8.0, 2.0
"""A segment whose start is 6 dB off weighs as much by either objective."""
_SAME_WAY_SHARE = 0.7
"""Of segments for which records and both level tables were learned in the same way."""


class Worlds(Protocol):
    """Where worlds come from; see `pretraining_world.WorldSource`."""

    def get(self, number: int) -> TrainingWorld:
        """Return world `number`, counted from 0; always the same one."""
        ...


@dataclass(frozen=True)
class RefinerBatch:
    """Segments of random pairs of devices, and what is known of the pairs."""

    source: Tensor
    """[B, 80, 80] float32, dB."""
    target: Tensor
    """[B, 80, 80] float32, dB: the truth."""
    pair: KnownPair
    source_quantiles_db: Tensor
    """[B, 80, 20]."""
    target_quantiles_db: Tensor

    def rows(self, chosen: slice) -> "RefinerBatch":
        """Return some of the segments."""
        pair = self.pair
        return RefinerBatch(
            self.source[chosen],
            self.target[chosen],
            KnownPair(pair.gain_db[chosen], pair.source_floor_db[chosen], pair.target_floor_db[chosen]),
            self.source_quantiles_db[chosen],
            self.target_quantiles_db[chosen],
        )


def log_spectral_loss(converted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean log-spectral distance: root mean square over bands, mean over frames. Shape: [B, 80, 80] dB."""
    return _distances(converted, truth).mean()


def distribution_loss(converted: Tensor, truth: Tensor) -> Tensor:
    """Return how far the levels of a band are from those of the truth in any order over time. Shape: [B, 80, 80] dB.

    The mean absolute difference of the sorted levels (1-Wasserstein distance) of each segment and band. The
    log-spectral distance alone makes the network predict means where noise or a codec decides.
    """
    return _sorted_distances(converted, truth).mean()


def texture_loss(converted: Tensor, truth: Tensor) -> Tensor:
    """Return how far steps between neighbours are from those of the truth in any order. Shape: [B, 80, 80] dB.

    `distribution_loss` of the differences of neighbouring frames and of neighbouring bands: blurring makes both small.
    """
    return _textures(converted, truth).mean()


def _distances(converted: Tensor, truth: Tensor) -> Tensor:
    """Shape: [B, 80, 80] dB -> [B]."""
    return (converted - truth).square().mean(dim=1).add(_SAME_FRAME_DB**2).sqrt().mean(dim=1)


def _sorted_distances(converted: Tensor, truth: Tensor) -> Tensor:
    return (converted.sort(dim=2).values - truth.sort(dim=2).values).abs().mean(dim=(1, 2))


def _textures(converted: Tensor, truth: Tensor) -> Tensor:
    steps = (_sorted_distances(converted.diff(dim=dim), truth.diff(dim=dim)) for dim in (1, 2))
    return sum(steps, start=converted.new_zeros(len(converted)))


def start_from_eq_noise(batch: RefinerBatch) -> tuple[Tensor, Tensor]:
    """Return maps and start of every segment, as for devices without recordings."""
    return refiner_maps(signal_power(batch.source, batch.pair.source_floor_db), batch.source, batch.pair, None)


def start_from_quantile(batch: RefinerBatch) -> tuple[Tensor, Tensor]:
    """Return maps and start of every segment, as for devices with recordings."""
    mapped = level_at(locate(batch.source, batch.source_quantiles_db), batch.target_quantiles_db)
    return refiner_maps(signal_power(batch.source, batch.pair.source_floor_db), batch.source, batch.pair, mapped)


def pretraining_step(
    refiner: Refiner, optimiser: torch.optim.Optimizer, batch: RefinerBatch, settings: PretrainingSettings, index: int
) -> dict[str, float]:
    """Do one step on half of the batch with either start, and return the named losses in dB.

    Raises:
        NonFiniteLossError: no weight was changed.
    """
    half = len(batch.source) // 2
    plain_maps, plain_start = start_from_eq_noise(batch.rows(slice(half)))
    mapped_maps, mapped_start = start_from_quantile(batch.rows(slice(half, None)))
    maps = torch.cat([plain_maps, mapped_maps]).contiguous(memory_format=torch.channels_last)
    start, truth = torch.cat([plain_start, mapped_start]), batch.target
    with torch.autocast(truth.device.type, torch.bfloat16, enabled=settings.bf16):
        residual = refiner(maps)
    converted = refined(start, residual.float())
    distance, spread = _distances(converted, truth), _sorted_distances(converted, truth)
    losses = {
        "refiner_loss": distance[:half].mean(),
        "refiner_quantile_loss": distance[half:].mean(),
        "distribution_loss": spread[half:].mean(),
    }
    weights = sent(torch.tensor([settings.plain_distribution_weight, settings.distribution_weight]), spread.device)
    each = distance + weights.repeat_interleave(half) * spread
    if settings.texture_weight:
        texture = _textures(converted, truth)
        losses["texture_loss"] = texture.mean()
        each = each + settings.texture_weight * texture
    if settings.objective == "share":
        each = each * _SHARE_DB / (_distances(start, truth) + _LEAST_START_DB)
    loss = each[:half].mean() + each[half:].mean()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    gradient_norm = nn.utils.clip_grad_norm_(refiner.parameters(), _MOST_GRADIENT)
    losses["gradient_norm"] = gradient_norm
    measured = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
    check_finite(measured, index)
    optimiser.step()
    return measured


class RefinerPretraining:
    """A refiner in training, as a training run sees it (`run.Training`). `start`: weights to begin with.

    Worlds lie on `torch_device`, where the steps are done; batches are drawn on the host, equally for every device.
    """

    columns = (
        *("refiner_loss", "refiner_quantile_loss", "distribution_loss", "texture_loss", "gradient_norm"),
        *("eq_noise_lsd", "quantile_lsd", "refiner_lsd", "refiner_quantile_lsd", VALIDATION_SCORE),
    )

    def __init__(
        self,
        settings: PretrainingSettings,
        worlds: Worlds,
        validation: TrainingWorld,
        start: Refiner | None = None,
        torch_device: torch.device = _CPU,
    ) -> None:
        self._settings = settings
        self._source = worlds
        self._torch_device = torch_device
        self._validation = validation.on(torch_device)
        self._worlds: deque[TrainingWorld] = deque(maxlen=settings.worlds_kept)
        self._next_world = 0
        torch.manual_seed(settings.seed)
        self._refiner = self._placed(Refiner(settings.refiner))
        if start is not None:
            self._refiner.load_state_dict(start.state_dict())
        self._average = {name: tensor.clone() for name, tensor in self._refiner.state_dict().items()}
        self._optimiser = torch.optim.Adam(self._refiner.parameters(), settings.learning_rate)
        self._random = np.random.default_rng(settings.seed)

    @property
    def steps_per_epoch(self) -> int:
        """An epoch brings one new world."""
        return self._settings.steps_per_world

    def step(self, index: int) -> dict[str, float]:
        """Do step `index`."""
        self._bring_worlds(index)
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate(index)
        batch = draw_batch(
            self._worlds[self._random.integers(len(self._worlds))], self._settings.batch_size, self._random
        )
        losses = pretraining_step(self._refiner, self._optimiser, batch, self._settings, index)
        weights = self._refiner.state_dict()
        averages = [self._average[name] for name in weights]
        follow(averages, weights.values(), self._settings.ema_decay, index, _YOUNG_STEPS)
        return losses

    def validate(self) -> dict[str, float]:
        """Measure the averaged weights on sounds and devices that are never trained on.

        The score is the mean of the distances of `refiner` and `refiner_quantile` over those of their starts.
        """
        return self._measure(self._averaged())

    def score_of(self, refiner: Refiner) -> float:
        """Return the validation score of other weights, on the same sounds and devices."""
        return self._measure(self._placed(refiner))[VALIDATION_SCORE]

    def _measure(self, refiner: Refiner) -> dict[str, float]:
        sums = dict.fromkeys(("eq_noise_lsd", "quantile_lsd", "refiner_lsd", "refiner_quantile_lsd"), 0.0)
        batches = list(_all_pairs(self._validation))
        for batch in batches:
            with torch.inference_mode():
                for name, (maps, start) in (
                    ("", start_from_eq_noise(batch)),
                    ("_quantile", start_from_quantile(batch)),
                ):
                    rival = "quantile_lsd" if name else "eq_noise_lsd"
                    converted = refined(start, refiner(maps.contiguous(memory_format=torch.channels_last)))
                    sums[rival] += log_spectral_loss(start, batch.target).item()
                    sums[f"refiner{name}_lsd"] += log_spectral_loss(converted, batch.target).item()
        means = {name: total / len(batches) for name, total in sums.items()}
        ratios = (means["refiner_lsd"] / means["eq_noise_lsd"], means["refiner_quantile_lsd"] / means["quantile_lsd"])
        return means | {VALIDATION_SCORE: sum(ratios) / 2}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return weights, averages, moments and the random state; worlds are made again from their seeds."""
        tensors = under("refiner", self._refiner.state_dict()) | under("average", self._average)
        tensors |= under("adam", optimiser_tensors(self._optimiser))
        return tensors, {"random": self._random.bit_generator.state, "next_world": self._next_world}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Become what `state` was taken of."""
        self._refiner.load_state_dict(below("refiner", tensors))
        self._average = {name: tensor.to(self._torch_device) for name, tensor in below("average", tensors).items()}
        load_optimiser_tensors(self._optimiser, below("adam", tensors))
        self._random.bit_generator.state = values["random"]
        self._next_world = max(0, int(values["next_world"]) - self._settings.worlds_kept)
        self._fetch(int(values["next_world"]))

    def save_weights(self, folder: Path, name: WeightsName, about: Mapping[str, Any]) -> list[Path]:
        """Write the averaged weights."""
        path = folder / f"{name}.safetensors"
        save_refiner(path, self._averaged(), {"settings": dump_settings(self._settings), **about})
        return [path]

    def draw(self, path: Path) -> None:
        """Draw one segment of the validation world on three devices, beside what they recorded."""
        world = self._validation
        targets = range(1, min(1 + _PAIRS_DRAWN, len(world.log_mel)))
        row = int(world.log_mel[0].float().amax(dim=(1, 2)).argmax())
        refiner = self._averaged()
        converted, recorded, differences = {}, {}, {}
        for target in targets:
            batch = _batch(
                world, torch.tensor([0]), torch.tensor([target]), torch.tensor([row]), torch.zeros(3, 1).long()
            )
            maps, start = start_from_eq_noise(batch)
            with torch.inference_mode():
                converted[f"device {target}"] = refined(start, refiner(maps))[0].cpu().numpy()
            recorded[f"device {target}"] = batch.target[0].cpu().numpy()
            differences[f"device {target}"] = batch.pair.gain_db[0, :, 0].cpu().numpy()
        draw_conversion_figure(
            path,
            input_log_mel=world.log_mel[0, row].float().cpu().numpy(),
            differences=differences,
            converted=converted,
            source="device 0",
            band_centres_hz=mel_band_edges_hz(LOG_MEL_SETTINGS.n_mels)[1:-1],
            recorded=recorded,
        )

    def _bring_worlds(self, index: int) -> None:
        self._fetch(index // self._settings.steps_per_world + WORLDS_AT_START)

    def _fetch(self, stop: int) -> None:
        for number in range(self._next_world, stop):
            self._worlds.append(self._source.get(number).on(self._torch_device))
            self._next_world = number + 1

    def _learning_rate(self, index: int) -> float:
        done = index / (self._settings.n_worlds * self._settings.steps_per_world)
        warm = min(1.0, (index + 1) / _WARM_UP_STEPS)
        return self._settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def _averaged(self) -> Refiner:
        refiner = Refiner(self._settings.refiner)
        refiner.load_state_dict(self._average)
        return self._placed(refiner.eval().requires_grad_(False))

    def _placed(self, refiner: Refiner) -> Refiner:
        return refiner.to(self._torch_device).to(memory_format=torch.channels_last)


def draw_batch(world: TrainingWorld, size: int, random: np.random.Generator) -> RefinerBatch:
    """Draw `size` segments, each with an ordered pair of different devices of the world and a way of knowing them."""
    n_devices = world.log_mel.shape[0]
    source = random.integers(n_devices, size=size)
    target = (source + 1 + random.integers(n_devices - 1, size=size)) % n_devices
    ways, rows = np.empty((3, size), np.int64), np.empty(size, np.int64)
    for index in range(size):
        way = int(random.integers(len(world.learned_from)))
        # What is used together was learned from the same half.
        alike = np.flatnonzero((world.learned_from == world.learned_from[way]).numpy())
        other = random.choice(alike, size=2) if random.random() >= _SAME_WAY_SHARE else way
        ways[0, index], ways[1:, index] = way, other
        rows[index] = random.choice(world.rows_for(way).numpy())
    return _batch(world, *map(torch.from_numpy, (source, target, rows, ways)))


def _batch(world: TrainingWorld, source: Tensor, target: Tensor, rows: Tensor, ways: Tensor) -> RefinerBatch:
    """`ways`: [3, B], of knowing the records, the source's level table and the target's."""
    choice = sent(torch.stack([source, target, rows, *ways]), world.log_mel.device)
    source, target, rows, record, source_table, target_table = choice
    return RefinerBatch(
        source=world.log_mel[source, rows].float(),
        target=world.log_mel[target, rows].float(),
        pair=KnownPair(
            world.level_db[record, target] - world.level_db[record, source],
            world.floor_db[record, source],
            world.floor_db[record, target],
        ),
        source_quantiles_db=world.quantiles_db[source_table, source],
        target_quantiles_db=world.quantiles_db[target_table, target],
    )


def _all_pairs(world: TrainingWorld) -> "list[RefinerBatch]":
    """Return a batch for every ordered pair of devices: all pairs weigh the same. The ways of knowing take turns."""
    n_devices = world.log_mel.shape[0]
    pairs = [(source, target) for source in range(n_devices) for target in range(n_devices) if source != target]
    batches = []
    for index, (source, target) in enumerate(pairs):
        way = index % len(world.learned_from)
        rows = world.rows_for(way)
        rows = rows[:: max(1, len(rows) // _SEGMENTS_A_PAIR)][:_SEGMENTS_A_PAIR]
        ways = torch.full((3, len(rows)), way)
        batches.append(_batch(world, torch.full_like(rows, source), torch.full_like(rows, target), rows, ways))
    return batches


_SEGMENTS_A_PAIR = 12
_FIRST_WAY = torch.zeros(3, 1, dtype=torch.int64)
