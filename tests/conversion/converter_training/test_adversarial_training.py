import math
from pathlib import Path

import pytest
import torch

from tests.conversion.training_data import TINY, Watcher, names_in, training_devices, training_segments, without_time
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS, AdversarialSettings
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision
from umc_cli.training.metrics import read_metrics
from umc_cli.training.run import VALIDATION_SCORE, NonFiniteLossError, check_finite, run_training
from umc_cli.training.schedule import ScheduleSettings

CPU = torch.device("cpu")
EVERY_STEP = ScheduleSettings(epochs=1000, max_steps=8, log_every=1, validate_every=4, save_every=2)


def training(settings: AdversarialSettings = TINY, n_devices: int = 3, is_pair: bool = False) -> AdversarialTraining:
    return AdversarialTraining(settings, training_segments(n_devices), training_devices(n_devices), is_pair, CPU)


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in module.parameters()])


def test_paper_is_exactly_the_papers() -> None:
    """Paper, section 4.2; FACTS of the CycleGAN code for what it leaves open."""
    paper = ADVERSARIAL_PRESETS["paper"]
    assert (paper.ngf, paper.n_blocks, paper.ndf, paper.level, paper.film_encoder) == (64, 9, 64, "lost", "paper")
    assert (paper.batch_size, paper.epochs, paper.buffer_size) == (400, 100, 50)
    assert (paper.beta1, paper.beta2) == (0.5, 0.999)
    assert (paper.condition, paper.average_decay, paper.held_out_share, paper.keep) == ("shape_and_level", 0, 0, "last")
    assert paper.loss_weights == {"adversarial_loss": 1, "cycle_consistency_loss": 10, "identity_loss": 0}
    rates = [paper.learning_rate_at(epoch) for epoch in (0, 29, 30, 59, 60, 99)]
    assert rates == pytest.approx([5e-4, 5e-4, 5e-5, 5e-5, 5e-6, 5e-7])


def test_a_step_returns_named_losses_and_moves_all_networks() -> None:
    subject = training()
    before = {name: weights(module) for name, module in subject._modules().items()}
    losses = subject.step(0)
    assert set(losses) == {
        "adversarial_loss", "cycle_consistency_loss", "discriminator_loss", "generator_gradient_norm",
        "discriminator_gradient_norm", "learning_rate",
    }  # fmt: skip
    assert all(math.isfinite(value) for value in losses.values())
    assert losses["learning_rate"] == 5e-4
    for name, module in subject._modules().items():
        assert (weights(module) != before[name]).any(), name


def test_the_cycle_term_alone_learns_to_give_back_what_came_in() -> None:
    settings = TINY.model_copy(update={"ngf": 8, "adversarial_weight": 0.0, "learning_rate": 2e-3})
    subject = training(settings)
    losses = [subject.step(index)["cycle_consistency_loss"] for index in range(18)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_discriminators_learn_to_tell_devices_conversions_apart() -> None:
    settings = TINY.model_copy(update={"ndf": 8, "learning_rate": 2e-3, "adversarial_weight": 0.0, "cycle_weight": 0.0})
    subject = training(settings)
    losses = [subject.step(index)["discriminator_loss"] for index in range(15)]
    assert losses[-1] < 0.2 < losses[0]  # 0.25 is what knowing nothing gives


def gradients(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in module.parameters() if weight.grad is not None])


def relative_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return how far gradients lie apart; rounding turns some signs of the L1 terms, so 0.01 is equal."""
    return float((one - other).norm() / other.norm())


def test_the_step_equals_a_plain_one_written_out() -> None:
    """The gradients of a step against a loop with one call per segment, direction and network."""
    plain, subject = training(), training()
    networks, part = plain.networks, plain._batch()
    responses = torch.tensor([device.frequency_response_db for device in plain._devices])
    losses, scores = [], []
    for row, (own, other) in enumerate(zip(part.own, part.other, strict=True)):
        x = part.normalised[row : row + 1]
        difference = (responses[other] - responses[own])[None]
        fake = networks.translator.generator(x, difference)
        back = networks.translator.generator(fake, -difference)
        score = networks.discriminators.of_device[other](fake)
        losses.append((score - 1).square().mean() + 10 * (back - x).abs().mean())
        real_score = networks.discriminators.of_device[own](x)
        fake_score = networks.discriminators.of_device[other](fake.detach())
        scores.append(0.5 * (real_score - 1).square().mean() + 0.5 * fake_score.square().mean())
    torch.stack(losses).mean().backward()
    expected = gradients(networks.translator)
    networks.discriminators.zero_grad()
    torch.stack(scores).mean().backward()
    subject.step(0)
    assert relative_distance(gradients(subject.networks.translator), expected) < 0.01
    assert relative_distance(gradients(subject.networks.discriminators), gradients(networks.discriminators)) < 0.01


@pytest.mark.parametrize("micro_batch_size", [2, 4, 6])
def test_a_step_in_parts_is_the_whole_step(micro_batch_size: int) -> None:
    """The same pairs, the same draws of the image buffers, and so the same losses over steps that fill the buffers."""
    settings = TINY.model_copy(update={"batch_size": 10, "buffer_size": 3})
    whole, parts = training(settings), training(settings.model_copy(update={"micro_batch_size": micro_batch_size}))
    for index in range(3):
        expected = whole.step(index)
        # Steps of Adam blow rounding up where a gradient is nearly zero, so the first one shows the sums.
        tolerance = 1e-3 if index == 0 else 0.05
        assert parts.step(index) == pytest.approx(expected, rel=tolerance)
        if index == 0:
            for name in ("translator", "discriminators"):
                found, wanted = (gradients(getattr(subject.networks, name)) for subject in (parts, whole))
                assert relative_distance(found, wanted) < 0.01
    assert torch.equal(parts._random.get_state(), whole._random.get_state())
    assert parts._sampler.state()[1] == whole._sampler.state()[1]
    for one, other in zip(parts._buffers, whole._buffers, strict=True):
        torch.testing.assert_close(one.state(), other.state(), rtol=0, atol=0.05)


def test_the_condition_is_the_difference_of_responses_and_of_levels_if_that_is_wanted() -> None:
    levels = (-40.0, -33.0, -51.0)
    devices = [
        device.model_copy(update={"sensitivity_dbfs": level})
        for device, level in zip(training_devices(3), levels, strict=True)
    ]
    responses = torch.tensor([device.frequency_response_db for device in devices])
    for condition, expected in (
        ("shape", responses), ("shape_and_level", responses + torch.tensor(levels)[:, None])
    ):  # fmt: skip
        settings = TINY.model_copy(update={"condition": condition})
        told = AdversarialTraining(settings, training_segments(3), devices, False, CPU).networks.translator.responses_db
        torch.testing.assert_close(told - told[1], expected - expected[1], atol=1e-4, rtol=0)


def test_identity_is_off_unless_it_has_a_weight() -> None:
    subject = training(TINY.model_copy(update={"identity_weight": 5.0}))
    assert subject.step(0)["identity_loss"] > 0


def test_the_average_follows_the_weights() -> None:
    subject = training(TINY.model_copy(update={"average_decay": 0.0}))
    subject.step(0)
    assert torch.equal(weights(subject.networks.average), weights(subject.networks.translator))
    slow = training(TINY.model_copy(update={"average_decay": 0.999}))
    start = weights(slow.networks.translator)
    slow.step(0)  # a young average follows with 1 - 1/10
    expected = start + 0.9 * (weights(slow.networks.translator) - start)
    torch.testing.assert_close(weights(slow.networks.average), expected)


def test_bf16_gives_about_the_same_losses() -> None:
    exact, rounded = training(), training(TINY.model_copy(update={"precision": Precision.BF16}))
    first, second = exact.step(0), rounded.step(0)
    assert first["cycle_consistency_loss"] != second["cycle_consistency_loss"]
    for name in ("adversarial_loss", "cycle_consistency_loss", "discriminator_loss"):
        assert second[name] == pytest.approx(first[name], rel=0.05)


def test_level_carried_hides_the_level_from_generator_and_discriminators() -> None:
    subject = training(TINY.model_copy(update={"level": "carried"}))
    part = subject._batch()
    torch.testing.assert_close(part.normalised.mean(dim=(1, 2)), torch.zeros(4), atol=1e-4, rtol=0)
    lost = training(TINY.model_copy(update={"level": "lost"}))
    assert lost._batch().normalised.mean(dim=(1, 2)).abs().max() > 1e-3


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("is_pair", [False, True])
def test_an_interrupted_run_gives_the_losses_of_one_that_was_not(tmp_path: Path, is_pair: bool) -> None:
    n_devices = 2 if is_pair else 3
    settings = TINY.model_copy(update={"buffer_size": 4, "average_decay": 0.9})

    def subject() -> AdversarialTraining:
        return training(settings, n_devices, is_pair)

    whole, second = Watcher(), Watcher()
    run_training(tmp_path / "whole", subject(), EVERY_STEP, {}, whole)
    with pytest.raises(KeyboardInterrupt):  # the state is of step 4: step 5 is done again
        run_training(tmp_path / "parts", subject(), EVERY_STEP, {}, Watcher(kill_after=5))
    assert run_training(tmp_path / "parts", subject(), EVERY_STEP, {}, second).is_finished
    assert [without_time(row) for row in whole.rows[4:]] == [without_time(row) for row in second.rows]
    rows = [[without_time(row) for row in read_metrics(tmp_path / name)] for name in ("whole", "parts")]
    assert len(rows[0]) == 8
    assert rows[0] == rows[1]
    for name in ("best", "last"):
        contents = [load_generator(tmp_path / folder / f"{name}.safetensors") for folder in ("whole", "parts")]
        assert torch.equal(weights(contents[0].generator), weights(contents[1].generator))


@pytest.mark.usefixtures("no_pictures")
def test_stopping_in_order_loses_no_step(tmp_path: Path) -> None:
    whole, first, second = Watcher(), Watcher(), Watcher(stop_after=3)
    run_training(tmp_path / "whole", training(), EVERY_STEP, {}, whole)
    stopped = run_training(tmp_path / "parts", training(), EVERY_STEP, {}, second)
    assert (stopped.n_steps, stopped.is_finished) == (3, False)
    assert run_training(tmp_path / "parts", training(), EVERY_STEP, {}, first).is_finished
    assert [without_time(row) for row in whole.rows] == [without_time(row) for row in second.rows + first.rows]


def test_a_run_folder_holds_weights_metrics_pictures_and_state(tmp_path: Path) -> None:
    schedule = ScheduleSettings(epochs=1000, max_steps=2, log_every=2, validate_every=2, save_every=2)
    result = run_training(tmp_path, training(), schedule, {"run": "test"}, Watcher())
    assert names_in(tmp_path) - {"tensorboard"} == {
        "best.safetensors", "last.safetensors", "metrics.csv", "pictures", "state.safetensors",
    }  # fmt: skip
    assert (tmp_path / "pictures/step-0000002.png").read_bytes().startswith(b"\x89PNG")
    trained = load_generator(tmp_path / "best.safetensors")
    assert trained.training["devices"] == ["d0", "d1", "d2"]
    assert trained.training["best_score"] == result.best_score
    [row] = read_metrics(tmp_path)
    assert row["validation_score"] == pytest.approx(row["validation_cycle_db"] + row["validation_response_db"])


def test_a_pair_has_a_checkpoint_for_each_direction(tmp_path: Path) -> None:
    subject = training(n_devices=2, is_pair=True)
    subject.step(0)
    there, back = subject.save_weights(tmp_path, "best", {})
    assert (there.name, back.name) == ("best.safetensors", "best-reverse.safetensors")
    assert load_generator(there).training["pair"] == ["d0", "d1"]
    assert load_generator(back).training["pair"] == ["d1", "d0"]
    assert (weights(load_generator(there).generator) != weights(load_generator(back).generator)).any()
    own = load_generator(there).generator
    x = torch.randn(1, 80, 80)
    torch.testing.assert_close(own(x, torch.zeros(1, 128)), subject.networks.average(x, [0], [1]))


@pytest.mark.parametrize("is_pair", [False, True])
@pytest.mark.parametrize("level", ["carried", "lost"])
def test_weights_score_in_another_training_what_they_scored_in_their_own(
    tmp_path: Path, is_pair: bool, level: str
) -> None:
    own = training(TINY.model_copy(update={"level": level}), 2 if is_pair else 3, is_pair)
    own.step(0)
    trained = [load_generator(path) for path in own.save_weights(tmp_path, "best", {})]
    other_level = {"ngf": 4, "level": "carried" if level == "lost" else "lost"}
    other = training(TINY.model_copy(update=other_level), 2 if is_pair else 3, is_pair)
    assert other.score_of(trained) == pytest.approx(own.validate()[VALIDATION_SCORE], rel=1e-6)
    assert other.validate()[VALIDATION_SCORE] != pytest.approx(own.validate()[VALIDATION_SCORE])


def test_weights_of_a_pair_are_not_scored_as_those_for_all_devices(tmp_path: Path) -> None:
    pair = training(n_devices=2, is_pair=True)
    trained = [load_generator(path) for path in pair.save_weights(tmp_path, "best", {})]
    with pytest.raises(SettingsError, match="another kind of training"):
        training(n_devices=2).score_of(trained[:1])


def test_a_loss_that_is_not_finite_stops_before_any_weight_changes(tmp_path: Path) -> None:
    subject = training()
    schedule = ScheduleSettings(epochs=1000, max_steps=10, log_every=1, validate_every=100, save_every=2)
    run_training(tmp_path, subject, schedule.model_copy(update={"max_steps": 4}), {}, Watcher())
    good = (tmp_path / "state.safetensors").read_bytes()
    with torch.no_grad():
        subject.networks.discriminators.of_device[0].layers[0].bias.fill_(math.inf)
        subject.networks.discriminators.of_device[1].layers[0].bias.fill_(math.inf)
    before = weights(subject.networks.translator)
    with pytest.raises(NonFiniteLossError, match="diverged at step 5: adversarial_loss is nan"):
        subject.step(4)
    assert torch.equal(weights(subject.networks.translator), before)
    assert (tmp_path / "state.safetensors").read_bytes() == good
    fresh = training()
    fresh.step = lambda index: check_finite({"discriminator_loss": math.inf}, index) or {}  # type: ignore[assignment,method-assign,func-returns-value]
    with pytest.raises(NonFiniteLossError, match="step 5: discriminator_loss is inf"):
        run_training(tmp_path, fresh, schedule, {}, Watcher())
    assert (tmp_path / "state.safetensors").read_bytes() == good


def test_a_state_of_other_networks_is_refused(tmp_path: Path) -> None:
    run_training(tmp_path, training(), ScheduleSettings(max_steps=1), {}, Watcher())
    with pytest.raises(SettingsError, match="does not belong to these networks"):
        run_training(tmp_path, training(TINY.model_copy(update={"ngf": 3})), ScheduleSettings(), {}, Watcher())


def test_devices_over_other_mel_bands_are_refused() -> None:
    devices = training_devices()
    moved = tuple(centre + 5 for centre in devices[2].band_centres_hz)
    devices[2] = devices[2].model_copy(update={"band_centres_hz": moved})
    with pytest.raises(SettingsError, match="d0 and d2 are over different mel bands"):
        AdversarialTraining(TINY, training_segments(), devices, False, CPU)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"batch_size": 5}, "must be even"), ({"precision": "fp16"}, "lose small gradients")],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdversarialSettings.model_validate(values)
