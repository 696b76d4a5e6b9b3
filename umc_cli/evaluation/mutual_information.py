"""How much features tell of a class: mutual information, bounded from below by what a probe makes of them.

The bound of Barber and Agakov (2003): I(h; y) >= H(y) - E[-log q(y | h)] for whatever q, here a probe that is asked
only about recordings that it did not learn from. Wang et al. (ICLR 2021), whom the paper follows for its Figure 3,
bound it in the same way by an auxiliary classifier that they train. It is tight where q is the true posterior. The
linear probe is that for Gaussian classes of one covariance, is solved exactly, and counts nothing that is not linear; a
small network counts that too, and needs more samples for what the linear probe reads exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umc_cli.evaluation.linear_probe import Values, held_out_log_probabilities
from umc_cli.evaluation.network_probe import network_log_probabilities


@dataclass(frozen=True)
class Estimate:
    """A mean over samples, and its standard error over groups (recordings)."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class ProbedStatistic:
    """What features tell of the class."""

    n_features: int
    information_bits: Estimate
    """Lower bound by the linear probe, from 0 to the entropy of the class."""
    accuracy: Estimate
    """Share of held-out samples whose class the linear probe finds."""
    network_information_bits: Estimate | None = None
    """Lower bound by a small network; None if none was trained."""
    network_accuracy: Estimate | None = None


def probe_statistic(
    features: NDArray[np.float32] | Values,
    labels: Sequence[int],
    groups: Sequence[str],
    n_folds: int = 5,
    with_network: bool = False,
) -> ProbedStatistic:
    """Measure what features tell of the class. Shape: [N, D], [N] with values 0 to K - 1, [N].

    `with_network`: by a small network too.

    Raises:
        ValueError: see `held_out_log_probabilities`.
    """
    linear = _estimates(held_out_log_probabilities(features, labels, groups, n_folds), labels, groups)
    if not with_network:
        return ProbedStatistic(features.shape[1], *linear)
    network = _estimates(network_log_probabilities(features, labels, groups, n_folds), labels, groups)
    return ProbedStatistic(features.shape[1], *linear, *network)


def _estimates(log_probabilities: Values, labels: Sequence[int], groups: Sequence[str]) -> tuple[Estimate, Estimate]:
    """Return the bound in bits, and the accuracy."""
    right = (log_probabilities.argmax(axis=1) == np.asarray(labels)).astype(np.float64)
    return information_bound_bits(log_probabilities, labels, groups), _mean(right, groups)


def entropy_bits(labels: Sequence[int]) -> float:
    """Return H(y) of the classes as often as they occur, in bits: log2 K for K equally frequent ones."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def information_bound_bits(log_probabilities: Values, labels: Sequence[int], groups: Sequence[str]) -> Estimate:
    """Return H(y) - cross-entropy in bits; 0 where that is negative, as information is not.

    Shape: [N, K] natural logarithm, of held-out samples; [N]; [N].
    """
    own = log_probabilities[np.arange(len(labels)), np.asarray(labels)] / np.log(2)
    mean = _mean(own, groups)
    return Estimate(max(0.0, entropy_bits(labels) + mean.value), mean.standard_error)


def _mean(values: Values, groups: Sequence[str]) -> Estimate:
    """Return the mean over samples; groups, not samples, count as independent for its error."""
    _, group_of = np.unique(groups, return_inverse=True)
    n_groups = int(group_of.max()) + 1
    mean = float(values.mean())
    sums = np.bincount(group_of, values - mean, minlength=n_groups)
    factor = n_groups / (n_groups - 1) if n_groups > 1 else np.nan
    return Estimate(mean, float(np.sqrt(factor * np.square(sums).sum()) / len(values)))
