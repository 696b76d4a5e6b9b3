"""McNemar's exact test and the paired bootstrap."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.evaluation.scored_models import scored_model
from umc_cli.evaluation.macro_f1 import Predictions
from umc_cli.evaluation.paired_comparison import McNemar, compare, mcnemar, paired_difference


def rights(both: int, only_first: int, only_second: int, none: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, True, False, False], [both, only_first, only_second, none])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, none])
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 2 / 2**5),
        (10, 0, 2 / 2**10),
        (1, 9, 2 * (1 + 10) / 2**10),  # binomial coefficients of 10: 1, 10, 45, ...
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
        (6, 6, 1.0),
    ],
)
def test_mcnemar_against_the_binomial_coefficients(only_first: int, only_second: int, p_value: float) -> None:
    found = mcnemar(*rights(30, only_first, only_second, 7))
    assert found == McNemar(only_first, only_second, pytest.approx(p_value))


def test_mcnemar_against_the_binomial_test_of_scipy() -> None:
    for only_first, only_second in ((3, 14), (25, 40), (101, 77)):
        p_value = binomtest(only_first, only_first + only_second).pvalue
        assert mcnemar(*rights(5, only_first, only_second, 5)).p_value == pytest.approx(p_value)


def test_mcnemar_wants_the_same_segments() -> None:
    with pytest.raises(ValueError, match="2 and 3 segments are not the same ones"):
        mcnemar(np.ones(2, bool), np.ones(3, bool))


def test_a_model_does_not_differ_from_itself() -> None:
    replicates = np.random.default_rng(0).random(100)
    found = paired_difference(0.7, 0.7, replicates, replicates)
    assert found.difference == 0
    assert found.p_value == 1
    assert found.bootstrap
    assert (found.bootstrap.low, found.bootstrap.high) == (0, 0)


def test_paired_bootstrap_counts_the_replicates_of_the_other_sign() -> None:
    second = np.random.default_rng(0).random(99)
    always = paired_difference(0.8, 0.7, second + 0.1, second)
    assert always.p_value == pytest.approx(2 / 100)  # the least there can be
    mostly = second + np.where(np.arange(99) < 4, -0.1, 0.1)
    assert paired_difference(0.8, 0.7, mostly, second).p_value == pytest.approx(2 * 5 / 100)
    assert paired_difference(0.7, 0.8, second, mostly).p_value == pytest.approx(2 * 5 / 100)


def test_replicates_that_are_unknown_are_left_out() -> None:
    found = paired_difference(0.8, 0.7, np.array([np.nan, 0.8, 0.9]), np.array([0.7, np.nan, 0.7]))
    assert found.p_value == 1
    assert found.bootstrap
    assert found.bootstrap.low == pytest.approx(0.2)


def test_without_replicates_only_the_difference_is_known() -> None:
    found = paired_difference(0.8, 0.7, np.empty(0), np.empty(0))
    assert found.difference == pytest.approx(0.1)
    assert (found.bootstrap, found.p_value) == (None, None)


def as_replicates(scores: Mapping[str, float]) -> dict[str, list[float]]:
    return {device: [score] for device, score in scores.items()}


def said(right: str) -> Predictions:
    """Return predictions that are right where `right` has a 1."""
    true = np.zeros(len(right), int)
    return Predictions(true, np.array([0 if digit == "1" else 1 for digit in right]), tuple("r" * len(right)))


def test_two_models_device_by_device_and_over_those_that_neither_was_trained_on() -> None:
    of_first, of_second = {"S": 1.0, "a": 0.8, "b": 0.6}, {"S": 1.0, "a": 0.5, "b": 0.7}
    first = scored_model(of_first, "S", name="first", replicates=as_replicates(of_first))
    second = scored_model(of_second, "a", name="second", replicates=as_replicates(of_second))
    answers = {
        "first": {"S": said("11"), "a": said("1101"), "b": said("10")},
        "second": {"S": said("11"), "a": said("0001"), "b": said("01")},
    }
    found = compare(("A", "B"), [first], [second], answers)
    assert (found.first, found.second) == ("A", "B")
    assert list(found.devices) == ["S", "a", "b"]
    assert found.devices["a"].macro_f1.difference == pytest.approx(0.3)
    assert found.devices["a"].mcnemar == McNemar(2, 0, 0.5)
    assert found.without_sources  # over b alone: S and a are sources
    assert found.without_sources.macro_f1.difference == pytest.approx(-0.1)
    assert found.without_sources.mcnemar == McNemar(1, 1, 1.0)


def test_mcnemar_is_left_out_where_a_side_has_several_seeds() -> None:
    scores = [{"S": 1.0, "a": score} for score in (0.5, 0.7, 0.4)]
    *seeds, other = (scored_model(each, replicates=as_replicates(each)) for each in scores)
    found = compare(("A", "B"), seeds, [other], {})
    assert found.devices["a"].mcnemar is None
    assert found.devices["a"].macro_f1.difference == pytest.approx(0.2)


def test_models_of_other_classes_cannot_be_compared() -> None:
    first, second = scored_model({"a": 0.5}), scored_model({"a": 0.5}, classes=("cat", "dog"))
    with pytest.raises(ValueError, match="different classes"):
        compare(("A", "B"), [first], [second], {})
