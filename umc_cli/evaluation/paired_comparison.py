"""Whether one classifier is better than another on the same recordings: McNemar's test and a paired bootstrap.

The two answer different questions. McNemar's test asks whether the models are right equally often, and takes segments
for independent; segments of one recording are not, so its p-values are too small where recordings hold many. The paired
bootstrap asks whether the macro F1 differs, and draws whole recordings: read it first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from umc_cli.evaluation.device_table import ScoredModel, mean_over_devices, mean_replicates
from umc_cli.evaluation.macro_f1 import Interval, Predictions, percentile_interval

Values = NDArray[np.float64]


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test, two-sided."""

    only_first_right: int
    """Segments."""
    only_second_right: int
    p_value: float


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two macro F1, first minus second."""

    difference: float
    bootstrap: Interval | None
    """95 % interval over recordings; None without bootstrap."""
    p_value: float | None
    """Two-sided; never below 2 / (replicates + 1)."""


@dataclass(frozen=True)
class DeviceComparison:
    """Two models on one device, or over several."""

    macro_f1: PairedDifference
    mcnemar: McNemar | None
    """None where one side is several seeds: the test needs one prediction of a segment from either side."""


@dataclass(frozen=True)
class Comparison:
    """Two models, or rows of seeds, on the same segments."""

    first: str
    second: str
    devices: dict[str, DeviceComparison]
    without_sources: DeviceComparison | None
    """Over all devices that neither was trained on; None where there are none."""


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """Test whether two classifiers are right equally often on the same segments. Shape: [N], [N].

    Of the segments on which exactly one is right, the number that is the first's is binomial with probability 1/2 if
    neither is better; p is twice the smaller tail, at most 1 (McNemar 1947, exact form). 1 where they never differ.

    Raises:
        ValueError: the arrays differ in length.
    """
    if len(first_right) != len(second_right):
        raise ValueError(f"{len(first_right)} and {len(second_right)} segments are not the same ones")
    only_first = int(np.count_nonzero(first_right & ~second_right))
    only_second = int(np.count_nonzero(second_right & ~first_right))
    tail = binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return McNemar(only_first, only_second, min(1.0, 2 * float(tail)))


def paired_difference(
    first: float, second: float, first_replicates: Values, second_replicates: Values
) -> PairedDifference:
    """Compare two scores whose replicates come from the same draws. Shape: [B], [B].

    p is twice the smaller share of replicates whose difference has the other sign or is zero, with one added to both
    counts, at most 1.
    """
    differences = first_replicates - second_replicates
    known = differences[np.isfinite(differences)]
    p_value = None
    if len(known):
        smaller = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
        p_value = min(1.0, 2 * (1 + float(smaller)) / (1 + len(known)))
    return PairedDifference(first - second, percentile_interval(known), p_value)


def compare(
    names: tuple[str, str],
    first: Sequence[ScoredModel],
    second: Sequence[ScoredModel],
    predictions: Mapping[str, Mapping[str, Predictions]],
) -> Comparison:
    """Compare two rows of models on the devices that both were scored on.

    `said`: predictions by name of model and by device; all models classify the same segments into the same classes.

    Raises:
        ValueError: their classes differ.
    """
    models = [*first, *second]
    if len({model.classes for model in models}) > 1:
        raise ValueError("models of different classes cannot be compared")
    devices = [device for device in first[0].devices if all(device in model.devices for model in models)]
    others = [device for device in devices if device not in {model.source for model in models}]
    return Comparison(
        *names,
        devices={device: _on_devices(first, second, [device], predictions) for device in devices},
        without_sources=_on_devices(first, second, others, predictions) if others else None,
    )


def _on_devices(
    first: Sequence[ScoredModel],
    second: Sequence[ScoredModel],
    devices: Sequence[str],
    predictions: Mapping[str, Mapping[str, Predictions]],
) -> DeviceComparison:
    means = [mean_over_devices(models, devices) for models in (first, second)]
    scores = [each.mean for each in means if each]
    difference = paired_difference(
        scores[0], scores[1], mean_replicates(first, devices), mean_replicates(second, devices)
    )
    if len(first) > 1 or len(second) > 1:
        return DeviceComparison(difference, None)
    right = [_is_right(predictions[models[0].name], devices) for models in (first, second)]
    return DeviceComparison(difference, mcnemar(*right))


def _is_right(predictions: Mapping[str, Predictions], devices: Sequence[str]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = np.concatenate(
        [predictions[device].true == predictions[device].predicted for device in devices]
    )
    return right
