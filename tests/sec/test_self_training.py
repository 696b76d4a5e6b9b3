"""Rounds of self-training: which labels are learned from, and that each round begins anew."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.samples import Run, noise, write_audio
from umc_cli.errors import SettingsError
from umc_cli.sec.classifier_settings import SecSettings
from umc_cli.sec.classifier_training import SecTraining
from umc_cli.sec.dataset import SecSegments, TrainingBatches
from umc_cli.sec.method_parts import SampleAlterations
from umc_cli.sec.network import predict_logits
from umc_cli.sec.sec_checkpoint import SecNetworkSettings
from umc_cli.sec.self_training import ROUND_SHARES, SAMPLE_SHARE, GivenLabels, UnlabeledSegments, surest
from umc_cli.training.run import VALIDATION_SCORE

CPU = torch.device("cpu")


def test_the_surest_of_every_device_and_class_are_taken() -> None:
    sureness = torch.tensor([0.9, 0.6, 0.8, 0.7, 0.99, 0.55, 0.95])
    label = torch.tensor([0, 0, 0, 1, 1, 0, 0])
    device = np.array([0, 0, 0, 0, 0, 1, 1])
    likely = torch.stack([1 - sureness, sureness], dim=1)
    logits = torch.where(label[:, None] == 0, likely.flip(1), likely).log()
    half = surest(logits, device, 0.5)
    assert half.row.tolist() == [0, 2, 4, 6]  # 2 of 3, 1 of 2, 1 of 2
    assert half.label.tolist() == [0, 0, 1, 0]
    assert surest(logits, device, 0.01).row.tolist() == [0, 4, 6]  # one of each at least
    assert surest(logits, device, 1.0).row.tolist() == [0, 1, 2, 3, 4, 5, 6]


def _segments(n: int, seed: int) -> SecSegments:
    """Two classes, which differ by which half of the bands is loud."""
    random = np.random.default_rng(seed)
    label = np.arange(n) % 2
    loud = (np.arange(80) // 40)[None, :, None] == label[:, None, None]
    return SecSegments((random.normal(-60, 5, (n, 80, 80)) + 12 * loud).astype(np.float16), label)


def _batches(**others: object) -> TrainingBatches:
    return replace(TrainingBatches(_segments(12, 0), 2, 8, 0, SampleAlterations()), **others)


def _unlabeled() -> UnlabeledSegments:
    return UnlabeledSegments((_segments(10, 1).log_mel + np.float16(15)), np.arange(10) // 5)


def _training(settings: SecSettings) -> SecTraining:
    network = SecNetworkSettings(
        backbone="strided", classes=("a", "b"), mean_db=-54.0, std_db=8.0, source="pixel3", method="self-training"
    )
    return SecTraining(settings, network, _batches(unlabeled=_unlabeled()), _segments(6, 2), CPU)


SETTINGS = SecSettings(backbone="strided", epochs=2, batch_size=8, learning_rate=1e-3, learning_rate_epochs=1)


def test_a_third_of_the_samples_are_those_with_given_labels() -> None:
    levels = np.full((3, 80, 80), -5, np.float16)
    given = GivenLabels(np.array([1, 2]), np.array([1, 0]))
    levels[1:] += np.array([1, 2], np.float16)[:, None, None]
    batches = _batches(unlabeled=UnlabeledSegments(levels, np.zeros(3, np.int64)), given=given)
    seen = [batches.get(index) for index in range(600)]
    levels_db = torch.cat([batch.log_mel for batch in seen])
    is_given = levels_db[:, 0, 0] > -10
    n = len(levels_db)
    assert abs(int(is_given.sum()) - SAMPLE_SHARE * n) < 5 * (n * SAMPLE_SHARE * (1 - SAMPLE_SHARE)) ** 0.5
    label = torch.cat([batch.targets for batch in seen]).argmax(dim=1)[is_given]
    assert torch.equal(label, (levels_db[is_given][:, 0, 0] == -4).long())
    assert set(levels_db[is_given].unique().tolist()) == {-4.0, -3.0}
    # Without labels the batches are those of a training without.
    assert torch.equal(_batches(unlabeled=_unlabeled()).get(3).log_mel, _batches().get(3).log_mel)


def test_what_has_a_given_label_is_not_converted() -> None:
    def louder(log_mel: torch.Tensor, rows: np.ndarray, random: torch.Generator) -> torch.Tensor:
        return log_mel + 100

    levels = np.zeros((1, 80, 80), np.float16)
    given = GivenLabels(np.array([0]), np.array([1]))
    options = {"unlabeled": UnlabeledSegments(levels, np.zeros(1, np.int64)), "given": given}
    batches = _batches(**options, converter=louder, converted_share=1.0)
    for index in range(20):
        batch = batches.get(index)
        assert set(batch.log_mel[:, 0, 0].sign().tolist()) <= {0.0, 1.0}  # given, or converted
        assert batch.n_converted == int((batch.log_mel[:, 0, 0] > 0).sum())


def test_a_round_begins_with_fresh_weights_and_the_labels_of_the_round_before() -> None:
    training = _training(SETTINGS)
    fresh = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
    rates = [training.step(index)["learning_rate"] for index in range(4)]
    scores = [training.validate()[VALIDATION_SCORE]]
    logits = predict_logits(training.network, _unlabeled().log_mel, CPU, 256)
    expected = surest(logits, _unlabeled().device, ROUND_SHARES[0])
    rates += [training.step(index)["learning_rate"] for index in range(4, 8)]
    tensors, values = training.state()
    assert values == {"round": 1, "steps_per_round": 4}
    assert tensors["given.row"].tolist() == expected.row.tolist()
    assert tensors["given.label"].tolist() == expected.label.tolist()
    assert rates[:4] == rates[4:]
    assert rates[0] > rates[2]
    # As a training that never was in round 0, with these labels.
    other = _training(SETTINGS)
    assert all(torch.equal(fresh[name], tensor) for name, tensor in other.network.state_dict().items())
    begun = other.state()[0] | {
        "given.row": tensors["given.row"], "given.label": tensors["given.label"],
    }  # fmt: skip
    other.load_state(begun, values)
    for index in range(4, 8):
        other.step(index)
    assert all(torch.equal(tensor, other.state()[0][name]) for name, tensor in tensors.items())
    scores.append(training.validate()[VALIDATION_SCORE])
    assert scores[1] < scores[0]  # whatever the source says


@pytest.mark.parametrize("stop", [3, 4, 9])
def test_a_training_that_goes_on_ends_with_the_same_weights(stop: int) -> None:
    whole, first, second = (_training(SETTINGS) for _ in range(3))
    n_steps = 4 * (1 + len(ROUND_SHARES))
    for index in range(n_steps):
        whole.step(index)
    for index in range(stop):
        first.step(index)
    second.load_state(*first.state())
    for index in range(stop, n_steps):
        second.step(index)
    ends = [each.state() for each in (whole, second)]
    assert ends[0][1] == ends[1][1]
    assert ends[0][0].keys() == ends[1][0].keys()
    assert all(torch.equal(tensor, ends[1][0][name]) for name, tensor in ends[0][0].items())


def test_rounds_of_another_length_are_refused() -> None:
    training, longer = _training(SETTINGS), _training(SETTINGS.model_copy(update={"epochs": 3}))
    training.step(0)
    with pytest.raises(SettingsError, match="rounds of 4 steps, not of 6"):
        longer.load_state(*training.state())


Umc = Callable[..., Run]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Clips of two labels; one device says nothing of its labels."""
    root = tmp_path / "workspace"
    for number in range(12):
        write_audio(root / f"data/xperia1v/{('hiss', 'thud')[number % 2]}/{number}.wav", noise(1.0, seed=number))
        write_audio(root / f"data/pixel3/whatever/{number}.wav", noise(1.0, seed=number))
    return root


COMMAND = ("train-sec", "--source", "xperia1v", "--preset", "smoke", "--max-steps", "2", "--batch-size", "4",
           "--quiet")  # fmt: skip


def test_the_command_trains_in_rounds_and_learns_no_label_of_the_targets(umc: Umc, workspace: Path) -> None:
    run = umc(*COMMAND, "--method", "quantile+self-training", "--json")
    assert (run.exit_code, run.json["n_steps"], run.json["total_steps"]) == (0, 6, 6), run.stderr
    assert run.json["devices"] == ["xperia1v"]
    resumed = umc(*COMMAND, "--method", "quantile+self-training", "--max-steps", "3", "--resume")
    assert resumed.exit_code == 2
    assert "rounds of 2 steps, not of 3" in resumed.stderr
    assert umc("eval", "--bootstrap", "0", "--quiet").exit_code == 0


def test_a_dry_run_of_rounds_of_one_step_counts_them(umc: Umc, workspace: Path) -> None:
    dry = umc(*COMMAND, "--method", "self-training", "--max-steps", "1", "--dry-run", "--json")
    assert (dry.exit_code, dry.json["total_steps"]) == (0, 3), dry.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "ideal+self-training"), "has nothing to add"),
        (("--method", "self-training", "--targets", "xperia1v"), "none in split train-converter"),
    ],
)
def test_what_it_cannot_learn_from_is_said(umc: Umc, workspace: Path, options: tuple[str, ...], message: str) -> None:
    refused = umc(*COMMAND, *options)
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())
