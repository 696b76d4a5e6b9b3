"""Scores of a classifier on one device, and their bootstrap over recordings."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from umc_cli.evaluation.macro_f1 import (
    Interval,
    Predictions,
    bootstrap_macro_f1,
    macro_f1_of_counts,
    percentile_interval,
    resample_recordings,
    score_device,
)

NAN = float("nan")


def drawn(n_segments: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true = random.integers(0, n_classes, n_segments)
    predicted = np.where(random.random(n_segments) < 0.6, true, random.integers(0, n_classes, n_segments))
    return true, predicted


@pytest.mark.parametrize(("n_segments", "n_classes", "seed"), [(5, 2, 0), (40, 7, 1), (300, 30, 2), (12, 40, 3)])
def test_scores_are_those_of_scikit_learn(n_segments: int, n_classes: int, seed: int) -> None:
    true, predicted = drawn(n_segments, n_classes, seed)
    scores = score_device(true, predicted, n_classes)
    # Without labels scikit-learn, too, leaves out the classes that occur neither in truth nor among predictions.
    assert scores.macro_f1 == pytest.approx(f1_score(true, predicted, average="macro", zero_division=0), abs=1e-12)
    assert scores.weighted_f1 == pytest.approx(
        f1_score(true, predicted, average="weighted", zero_division=0), abs=1e-12
    )
    assert scores.accuracy == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    labels = list(range(n_classes))
    np.testing.assert_array_equal(scores.confusion, confusion_matrix(true, predicted, labels=labels))
    by_class = f1_score(true, predicted, average=None, labels=labels, zero_division=0)
    occurs = [label in true or label in predicted for label in labels]
    assert [f1 is not None for f1 in scores.per_class_f1] == occurs
    for f1, expected in zip(scores.per_class_f1, by_class, strict=True):
        assert f1 is None or f1 == pytest.approx(expected, abs=1e-12)


def test_a_class_that_never_occurs_is_no_part_of_the_mean_and_one_wrongly_said_is() -> None:
    true, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    assert score_device(true, predicted, 5).macro_f1 == 1
    scores = score_device(true, np.array([0, 0, 1, 4]), 5)
    assert scores.per_class_f1 == (1, pytest.approx(2 / 3), None, None, 0)
    assert scores.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert scores.accuracy == 0.75


def test_one_class_alone_is_always_right() -> None:
    scores = score_device(np.zeros(3, int), np.zeros(3, int), 1)
    assert (scores.macro_f1, scores.accuracy, scores.confusion) == (1, 1, ((3,),))


@pytest.mark.parametrize(("true", "predicted"), [([], []), ([0, 1], [0])])
def test_nothing_to_score_is_refused(true: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot be scored"):
        score_device(np.array(true, int), np.array(predicted, int), 2)


def test_macro_f1_of_counts_is_that_of_the_segments() -> None:
    true, predicted = drawn(60, 6, seed=4)
    counts = [np.bincount(each, minlength=6) for each in (true[true == predicted], true, predicted)]
    assert macro_f1_of_counts(np.array(counts, np.float32)) == pytest.approx(
        f1_score(true, predicted, average="macro", zero_division=0)
    )
    assert math.isnan(macro_f1_of_counts(np.zeros((3, 6), np.float32)))


def test_bootstrap_is_that_of_segments_drawn_one_by_one() -> None:
    n_classes, n_recordings = 5, 12
    true, predicted = drawn(50, n_classes, seed=5)
    owner = np.random.default_rng(6).integers(0, n_recordings - 2, 50)  # two recordings have no segment here
    names = tuple(f"recording {number}" for number in owner)
    row_of = {f"recording {number}": number for number in range(n_recordings)}
    draws = resample_recordings(n_recordings, 300, seed=7)
    assert draws.shape == (300, n_recordings)
    assert (draws.sum(axis=1) == n_recordings).all()
    replicates = bootstrap_macro_f1(Predictions(true, predicted, names), n_classes, row_of, draws)
    for counts, replicate in zip(draws, replicates, strict=True):
        rows = np.repeat(np.arange(50), counts[owner])
        expected = f1_score(true[rows], predicted[rows], average="macro", zero_division=0)
        assert replicate == pytest.approx(expected, abs=1e-6)


def test_a_replicate_without_any_recording_of_the_device_is_unknown() -> None:
    said = Predictions(np.array([0, 1]), np.array([0, 1]), ("a", "a"))
    draws = np.array([[0, 2], [1, 1]], np.int16)
    replicates = bootstrap_macro_f1(said, 2, {"a": 0, "b": 1}, draws)
    np.testing.assert_array_equal(replicates, [NAN, 1])
    assert percentile_interval(replicates) == Interval(1, 1)


def test_draws_depend_on_the_seed_alone() -> None:
    np.testing.assert_array_equal(resample_recordings(9, 20, seed=1), resample_recordings(9, 20, seed=1))
    assert (resample_recordings(9, 20, seed=1) != resample_recordings(9, 20, seed=2)).any()


def test_without_replicates_there_is_no_interval() -> None:
    said = Predictions(np.array([0]), np.array([0]), ("a",))
    assert percentile_interval(bootstrap_macro_f1(said, 2, {"a": 0}, resample_recordings(1, 0, seed=0))) is None


def test_percentile_interval_holds_95_percent() -> None:
    assert percentile_interval(np.append(np.arange(1001.0), NAN)) == Interval(pytest.approx(25), pytest.approx(975))
