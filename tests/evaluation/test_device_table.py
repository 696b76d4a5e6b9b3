"""Means over devices, intervals and gaps, against the figures that the paper prints."""

import numpy as np
import pytest

from tests.evaluation.scored_models import scored_model
from umc_cli.evaluation.device_table import (
    TableRow,
    gap_closed,
    half_width_over_devices,
    source_matrices,
    table_row,
    with_gap_closed,
)
from umc_cli.evaluation.macro_f1 import Interval

DEVICES = ("iPhone 14", "Galaxy S22", "iPad 7", "Galaxy Tab A8", "Apple Watch SE", "MacBook Pro", "LG Gram")
SOURCE = DEVICES[0]

# Table 2 of the paper: the source S, then T1 to T6.
PRINTED = {
    "Baseline": (0.982, 0.409, 0.709, 0.248, 0.471, 0.687, 0.491),
    "MC-100-Gen": (0.981, 0.958, 0.912, 0.894, 0.899, 0.831, 0.852),
    "MC-200-Gen": (0.982, 0.969, 0.909, 0.903, 0.912, 0.859, 0.887),
    "Unified-MC-Real": (0.975, 0.967, 0.936, 0.939, 0.885, 0.913, 0.913),
    "Unified-MC-Synth": (0.974, 0.968, 0.936, 0.938, 0.883, 0.912, 0.917),
    "Ideal": (0.983, 0.982, 0.972, 0.985, 0.979, 0.983, 0.986),
}
# Its last column is called "Overall (- S)"; in both Unified rows it is the mean with the source.
WITHOUT_SOURCE = {
    "Baseline": (0.503, 0.167),
    "MC-100-Gen": (0.891, 0.043),
    "MC-200-Gen": (0.907, 0.035),
    "Ideal": (0.981, 0.005),
}
WITH_SOURCE = {"Unified-MC-Real": (0.933, 0.027), "Unified-MC-Synth": (0.933, 0.027)}

# Table 1 of the paper: a row for each source.
REAL = (
    (0.974, 0.968, 0.936, 0.938, 0.883, 0.912, 0.917),
    (0.964, 0.966, 0.920, 0.903, 0.888, 0.916, 0.879),
    (0.945, 0.928, 0.964, 0.928, 0.903, 0.863, 0.904),
    (0.953, 0.940, 0.930, 0.973, 0.868, 0.802, 0.869),
    (0.894, 0.882, 0.874, 0.795, 0.967, 0.907, 0.735),
    (0.918, 0.922, 0.862, 0.741, 0.914, 0.977, 0.852),
    (0.907, 0.913, 0.878, 0.809, 0.823, 0.849, 0.974),
)
SYNTH = (
    (0.974, 0.962, 0.943, 0.928, 0.910, 0.914, 0.901),
    (0.945, 0.970, 0.881, 0.878, 0.878, 0.905, 0.858),
    (0.950, 0.929, 0.964, 0.909, 0.902, 0.869, 0.890),
    (0.942, 0.922, 0.906, 0.972, 0.837, 0.801, 0.818),
    (0.896, 0.865, 0.860, 0.752, 0.970, 0.891, 0.764),
    (0.928, 0.908, 0.870, 0.786, 0.913, 0.973, 0.858),
    (0.813, 0.842, 0.791, 0.701, 0.668, 0.806, 0.975),
)


def row_of(method: str, scores: tuple[float, ...], source: str = SOURCE) -> TableRow:
    return table_row([scored_model(dict(zip(DEVICES, scores, strict=True)), source, method)], method)


ROWS = {method: row_of(method, scores) for method, scores in PRINTED.items()}


@pytest.mark.parametrize("method", WITHOUT_SOURCE)
def test_printed_rows_without_source_give_the_printed_mean_and_interval(method: str) -> None:
    mean, half_width = WITHOUT_SOURCE[method]
    found = ROWS[method].mean_without_source
    assert found
    assert found.n_devices == 6
    # The cells are rounded to three digits, and so is what is printed.
    assert found.mean == pytest.approx(mean, abs=0.0011)
    assert found.half_width == pytest.approx(half_width, abs=0.0011)


@pytest.mark.parametrize("method", WITH_SOURCE)
def test_the_unified_rows_were_printed_with_the_source(method: str) -> None:
    mean, half_width = WITH_SOURCE[method]
    found = ROWS[method].mean_with_source
    assert found
    assert found.n_devices == 7
    assert found.mean == pytest.approx(mean, abs=0.0011)
    assert found.half_width == pytest.approx(half_width, abs=0.0011)


def test_the_unified_rows_without_the_source() -> None:
    real, synth = (ROWS[method].mean_without_source for method in WITH_SOURCE)
    assert real
    assert synth
    assert (real.mean, real.half_width) == (pytest.approx(0.9255, abs=5e-5), pytest.approx(0.027, abs=5e-4))
    assert (synth.mean, synth.half_width) == (pytest.approx(0.9257, abs=5e-5), pytest.approx(0.0275, abs=5e-4))
    best_rival = ROWS["MC-200-Gen"].mean_without_source
    assert best_rival
    assert real.mean - best_rival.mean == pytest.approx(0.019, abs=5e-4)  # the paper says .026


def test_shares_of_the_gap_that_the_paper_closes() -> None:
    closed = {method: with_gap_closed(row, ROWS["Baseline"], ROWS["Ideal"]).gap_closed for method, row in ROWS.items()}
    assert closed["Baseline"] == 0
    assert closed["Ideal"] == 1
    assert closed["MC-200-Gen"] == pytest.approx(0.844, abs=5e-4)
    assert closed["Unified-MC-Real"] == pytest.approx(0.884, abs=5e-4)


@pytest.mark.parametrize(("method", "table", "mean"), [("real", REAL, 0.889), ("synth", SYNTH, 0.869)])
def test_table_1_as_a_matrix_and_its_mean_off_the_diagonal(
    method: str, table: tuple[tuple[float, ...], ...], mean: float
) -> None:
    rows = [row_of(method, scores, source) for source, scores in zip(DEVICES, table, strict=True)]
    (matrix,) = source_matrices(rows, DEVICES)
    assert matrix.devices == DEVICES
    assert list(matrix.macro_f1.values()) == list(table)
    assert matrix.mean_without_source == pytest.approx(mean, abs=5e-4)


def test_no_matrix_of_a_method_with_one_source_or_with_two_rows_of_one_source() -> None:
    one, other = row_of("none", REAL[0]), row_of("none", REAL[1], DEVICES[1])
    assert source_matrices([one, row_of("ideal", REAL[1], DEVICES[1])], DEVICES) == []
    assert source_matrices([one, row_of("none", REAL[2]), other], DEVICES) == []


def test_a_device_that_one_source_was_not_scored_on_is_unknown_in_the_matrix() -> None:
    rows = [
        table_row([scored_model({"a": 0.9, "b": 0.5}, "a")], "none"),
        table_row([scored_model({"b": 0.8}, "b")], "none"),
    ]
    (matrix,) = source_matrices(rows, ["a", "b"])
    assert matrix.macro_f1 == {"a": (0.9, 0.5), "b": (None, 0.8)}
    assert matrix.mean_without_source == 0.5


def test_half_width_divides_by_n_as_the_paper_does() -> None:
    scores = [0.2, 0.4]
    t_of_one_degree = 12.7062
    assert half_width_over_devices(scores) == pytest.approx(t_of_one_degree * 0.1 / np.sqrt(2), rel=1e-5)
    assert half_width_over_devices([0.5]) is None


def test_source_is_never_the_worst_device() -> None:
    row = table_row([scored_model({"S": 0.1, "a": 0.9, "b": 0.5})], "none")
    assert row.worst_device == "b"
    assert row.mean_without_source
    assert row.mean_without_source.mean == pytest.approx(0.7)
    assert row.mean_with_source
    assert row.mean_with_source.mean == pytest.approx(0.5)


def test_a_source_that_was_not_classified_leaves_no_mean_with_source() -> None:
    row = table_row([scored_model({"a": 0.9, "b": 0.5})], "none")
    assert row.mean_with_source is None
    assert row.mean_without_source
    assert row.mean_without_source.n_devices == 2


def test_the_source_alone_has_no_mean_without_it() -> None:
    row = table_row([scored_model({"S": 0.9})], "none")
    assert row.mean_without_source is None
    assert row.worst_device is None
    assert row.mean_with_source
    assert (row.mean_with_source.mean, row.mean_with_source.half_width) == (0.9, None)


def test_seeds_make_one_row_of_means_with_their_spread() -> None:
    first = scored_model({"S": 1.0, "a": 0.6, "b": 0.4}, name="0", replicates={"S": [1], "a": [0.5], "b": [0.1]})
    second = scored_model({"S": 0.8, "a": 0.8, "b": 0.6}, name="1", replicates={"S": [1], "a": [0.7], "b": [0.3]})
    row = table_row([first, second], "none")
    assert row.label == "none (2 seeds)"
    assert row.models == ("0", "1")
    scores = row.devices["a"]
    assert (scores.macro_f1, scores.weighted_f1, scores.accuracy) == pytest.approx((0.7, 0.6, 0.8))
    assert scores.seed_spread == pytest.approx(np.std([0.6, 0.8], ddof=1))
    mean = row.mean_without_source
    assert mean
    assert mean.mean == pytest.approx(0.6)
    assert mean.seed_spread == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert mean.half_width == pytest.approx(half_width_over_devices([0.7, 0.5]))
    assert mean.bootstrap == Interval(pytest.approx(0.4), pytest.approx(0.4))


def test_the_gap() -> None:
    assert gap_closed(0.8, baseline=0.5, ideal=0.9) == pytest.approx(0.75)
    assert gap_closed(0.4, baseline=0.5, ideal=0.9) == pytest.approx(-0.25)
    assert gap_closed(1.0, baseline=0.5, ideal=0.9) == pytest.approx(1.25)
    assert gap_closed(0.8, baseline=0.9, ideal=0.9) is None
    assert gap_closed(0.8, baseline=0.9, ideal=0.5) is None


@pytest.mark.parametrize(
    ("baseline", "ideal"),
    [
        (scored_model({"S": 0.9, "a": 0.1}, source="a"), scored_model({"S": 0.9, "a": 0.9})),  # another source
        (scored_model({"S": 0.9}), scored_model({"S": 0.9, "a": 0.9})),  # not scored on all devices
        (scored_model({"S": 0.9, "a": 0.9}), scored_model({"S": 0.9, "a": 0.1})),  # no gap
    ],
)
def test_no_share_of_a_gap_that_is_none(baseline: object, ideal: object) -> None:
    row = table_row([scored_model({"S": 0.9, "a": 0.5})], "eq")
    assert with_gap_closed(row, table_row([baseline], "none"), table_row([ideal], "ideal")).gap_closed is None
