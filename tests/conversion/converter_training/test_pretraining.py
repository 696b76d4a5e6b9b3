"""The refiner's training with the truth: it learns, and going on is the same as never having stopped."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.samples import noise
from umc_cli.conversion.converter_training.pretraining import (
    RefinerPretraining,
    distribution_loss,
    draw_batch,
    log_spectral_loss,
    pretraining_step,
    start_from_quantile,
)
from umc_cli.conversion.converter_training.pretraining_settings import PretrainingSettings
from umc_cli.conversion.converter_training.pretraining_world import (
    TrainingWorld,
    WorldSettings,
    WorldSource,
    make_training_world,
)
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.response.device import N_BANDS
from umc_cli.training.run import VALIDATION_SCORE, NonFiniteLossError

RESPONSES_DB = np.stack([np.zeros(N_BANDS), np.linspace(-5, 5, N_BANDS)])
SOUNDS = [noise(1.0, seed=index) * np.linspace(1, 0, 22_050, dtype=np.float32) for index in range(4)]
SIZE = WorldSettings(n_devices=3, n_sounds=3)
SETTINGS = PretrainingSettings(
    refiner=RefinerSettings(widths=(4, 6, 8, 8)), n_worlds=3, steps_per_world=2, worlds_kept=4, batch_size=4
)


def with_weights(**weights: object) -> PretrainingSettings:
    return SETTINGS.model_copy(update=weights)


@pytest.fixture(scope="module")
def world() -> TrainingWorld:
    return make_training_world(SOUNDS, RESPONSES_DB, SIZE, seed=0)


def test_the_loss_is_the_log_spectral_distance() -> None:
    truth = torch.zeros(1, 80, 80)
    assert log_spectral_loss(truth + 3, truth).item() == pytest.approx(3.0, abs=1e-3)
    half = truth.clone()
    half[:, :, :40] = 4  # half of the frames are 4 dB off
    assert log_spectral_loss(half, truth).item() == pytest.approx(2.0, abs=0.01)


def test_a_batch_pairs_the_same_segment_on_different_devices(world: TrainingWorld) -> None:
    batch = draw_batch(world, 32, np.random.default_rng(0))
    rows = world.log_mel.float().flatten(0, 1).flatten(1)  # device * segments + segment
    n_segments = world.log_mel.shape[1]
    for source, target in zip(batch.source.flatten(1), batch.target.flatten(1), strict=True):
        here, there = (int((rows == one).all(dim=1).nonzero()[0]) for one in (source, target))
        assert here % n_segments == there % n_segments
        assert here != there


def test_the_gain_of_a_pair_is_target_minus_source(world: TrainingWorld) -> None:
    batch = draw_batch(world, 8, np.random.default_rng(1))
    segments = world.log_mel.float()

    def device_of(segment: torch.Tensor) -> int:
        return next(number for number, own in enumerate(segments) if (own == segment).flatten(1).all(dim=1).any())

    for index in range(8):
        number = {"source": device_of(batch.source[index]), "target": device_of(batch.target[index])}
        expected = world.level_db[0, number["target"]] - world.level_db[0, number["source"]]
        torch.testing.assert_close(batch.pair.gain_db[index], expected)
        torch.testing.assert_close(batch.pair.target_floor_db[index], world.floor_db[0, number["target"]])


def test_steps_reduce_the_loss_on_a_batch(world: TrainingWorld) -> None:
    torch.manual_seed(0)
    refiner = Refiner(SETTINGS.refiner)
    optimiser = torch.optim.Adam(refiner.parameters(), 3e-3)
    batch = draw_batch(world, 8, np.random.default_rng(3))
    losses = [pretraining_step(refiner, optimiser, batch, SETTINGS, index) for index in range(40)]
    assert losses[-1]["refiner_loss"] < 0.8 * losses[0]["refiner_loss"]
    assert losses[-1]["refiner_quantile_loss"] < losses[0]["refiner_quantile_loss"]


def test_the_distribution_of_levels_counts_whatever_their_order() -> None:
    truth = torch.randn(2, 80, 80, generator=torch.Generator().manual_seed(0))
    assert distribution_loss(truth.flip(2), truth) == 0
    torch.testing.assert_close(distribution_loss(truth + 3, truth), torch.tensor(3.0))
    # The mean of levels that are -10 or 10 dB is ten dB from each of them.
    two = torch.tensor([-10.0, 10.0]).repeat(40).expand(1, 80, 80)
    torch.testing.assert_close(distribution_loss(torch.zeros(1, 80, 80), two), torch.tensor(10.0))


def test_the_distribution_weighs_in_the_half_with_recordings_only(world: TrainingWorld) -> None:
    batch = draw_batch(world, 8, np.random.default_rng(2))

    def change(distribution_weight: float) -> torch.Tensor:
        torch.manual_seed(0)
        refiner = Refiner(SETTINGS.refiner)
        optimiser = torch.optim.SGD(refiner.parameters(), 1e-3)
        pretraining_step(refiner, optimiser, batch, with_weights(distribution_weight=distribution_weight), 0)
        return refiner.last.bias.detach()

    assert not torch.equal(change(0.0), change(2.0))
    losses = pretraining_step(Refiner(SETTINGS.refiner), torch.optim.SGD([torch.zeros(1)]), batch, SETTINGS, 0)
    mapped = start_from_quantile(batch.rows(slice(4, None)))[1]
    assert losses["distribution_loss"] == pytest.approx(distribution_loss(mapped, batch.target[4:]).item())


def test_training_begins_with_the_weights_it_is_given(world: TrainingWorld, tmp_path: Path) -> None:
    torch.manual_seed(9)
    start = Refiner(SETTINGS.refiner)
    torch.nn.init.normal_(start.last.weight)
    training = RefinerPretraining(SETTINGS, Worlds(), world, start)
    training.save_weights(tmp_path, "best", {})
    saved = load_refiner(tmp_path / "best.safetensors").refiner
    assert all(torch.equal(one, other) for one, other in zip(start.parameters(), saved.parameters(), strict=True))


def test_weights_score_in_another_training_what_they_scored_in_their_own(world: TrainingWorld, tmp_path: Path) -> None:
    own = RefinerPretraining(SETTINGS, Worlds(), world)
    own.step(0)
    (path,) = own.save_weights(tmp_path, "best", {})
    size = {"refiner": RefinerSettings(widths=(5, 6, 8, 8)), "seed": 1}
    other = RefinerPretraining(SETTINGS.model_copy(update=size), Worlds(), world)
    assert other.score_of(load_refiner(path).refiner) == pytest.approx(own.validate()[VALIDATION_SCORE], rel=1e-6)


def test_a_loss_that_is_not_finite_changes_no_weight(world: TrainingWorld) -> None:
    refiner = Refiner(SETTINGS.refiner)
    batch = draw_batch(world, 4, np.random.default_rng(3))
    batch.source[0] = float("nan")
    before = [weight.clone() for weight in refiner.parameters()]
    with pytest.raises(NonFiniteLossError, match="step 8: refiner_loss is nan"):
        pretraining_step(refiner, torch.optim.Adam(refiner.parameters()), batch, SETTINGS, 7)
    assert all(torch.equal(one, other) for one, other in zip(before, refiner.parameters(), strict=True))


@pytest.mark.usefixtures("forked_worlds")
def test_worlds_made_ahead_are_those_of_their_seeds() -> None:
    with WorldSource(SOUNDS, RESPONSES_DB, SIZE, seed=5, workers=1) as source:
        for number in range(2):
            expected = make_training_world(SOUNDS, RESPONSES_DB, SIZE, seed=5 + number)
            assert torch.equal(source.get(number).log_mel, expected.log_mel)


@cache
def make_world(number: int) -> TrainingWorld:
    return make_training_world(SOUNDS, RESPONSES_DB, SIZE, seed=5 + number)


class Worlds:
    """Hands out worlds that are made when they are first asked for."""

    def get(self, number: int) -> TrainingWorld:
        return make_world(number)


def test_going_on_gives_the_losses_of_never_having_stopped(world: TrainingWorld, tmp_path: Path) -> None:
    def run(first: int, last: int, state: tuple | None) -> tuple[list[dict[str, float]], tuple]:
        training = RefinerPretraining(SETTINGS, Worlds(), world)
        if state:
            training.load_state(*state)
        losses = [training.step(index) for index in range(first, last)]
        tensors, values = training.state()
        kept = {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(values))
        if last == 6:
            assert training.validate()["validation_score"] > 0
            training.save_weights(tmp_path, "best", {"step": 6})
            training.draw(tmp_path / "picture.png")
            assert (tmp_path / "picture.png").stat().st_size > 10_000
        return losses, kept

    whole, _ = run(0, 6, None)
    first, state = run(0, 3, None)
    second, _ = run(3, 6, state)
    assert first + second == whole
