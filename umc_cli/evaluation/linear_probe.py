"""A linear probe: how well a class can be told from features, on recordings that the probe did not learn from.

The probe is Fisher's linear discriminant with a shrunk covariance: exact where classes are Gaussians that differ in
their means only, solved in closed form, and so the same on every machine and at every run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

SHRINKAGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Strongest first. The weakest sets how small a difference of means can be beside the spread within a class, and keeps
rounding errors from being read as one."""

TEMPERATURES = (8.0, 4.0, 2.0, 1.0, 0.5)
"""Highest first: what the logits are divided by, as a discriminant of few samples is too sure of itself."""

_CONSTANT = 1e-6
"""A feature that varies by less than this part of its mean is taken for constant."""


@dataclass(frozen=True)
class LinearDiscriminant:
    """Classes as Gaussians with one covariance, in the principal axes of that covariance."""

    mean: Values
    """[D]"""
    scale: Values
    """[D]; infinite where a feature is constant."""
    axes: Values
    """[D, D]: principal axes of the covariance within classes, one a column."""
    variances: Values
    """[D]: along them."""
    class_means: Values
    """[K, D]: along them."""
    log_priors: Values
    """[K]"""
    n_samples: int

    def log_probabilities(self, features: Values, shrinkage: float, temperature: float = 1.0) -> Values:
        """Return the log probability of each class. Shape: [N, D] -> [N, K], natural logarithm.

        `shrinkage`, 0 to 1: share of the mean variance in the covariance. No class gets less than a share
        1 / (samples + 1) of its prior, so that one surprise cannot outweigh everything.
        """
        (log_probabilities,) = self.tempered(self.logits(self.projected(features), shrinkage), (temperature,))
        of_classes: Values = log_probabilities.T
        return of_classes

    def projected(self, features: Values) -> Values:
        """Return features along the principal axes. Shape: [N, D] -> [N, D]."""
        along_axes: Values = ((features - self.mean) / self.scale) @ self.axes
        return along_axes

    def logits(self, projected: Values, shrinkage: float) -> Values:
        """Return what tells classes apart, without their priors. Shape: [N, D] of `projected` -> [K, N]."""
        mean_variance = max(float(self.variances.mean()), np.finfo(float).eps)
        variances = (1 - shrinkage) * self.variances + shrinkage * mean_variance
        weights = self.class_means / variances
        logits: Values = weights @ projected.T - 0.5 * (weights * self.class_means).sum(axis=1, keepdims=True)
        return logits

    def tempered(self, logits: Values, temperatures: Sequence[float]) -> Values:
        """Return the log probability of each class. Shape: [K, N] of `logits` -> [temperatures, K, N]."""
        logits = logits / np.asarray(temperatures)[:, None, None] + self.log_priors[:, None]
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        share = 1 / (self.n_samples + 1)
        log_probabilities: Values = np.log((1 - share) * probabilities + share * np.exp(self.log_priors)[:, None])
        return log_probabilities


def fit_linear_discriminant(features: Values, labels: NDArray[np.intp], n_classes: int) -> LinearDiscriminant:
    """Fit the discriminant. Shape: [N, D], [N] with values 0 to n_classes - 1.

    Raises:
        ValueError: a class has no sample.
    """
    counts = np.bincount(labels, minlength=n_classes)
    if not counts.all():
        raise ValueError(f"class {int(counts.argmin())} has no sample to learn from")
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > _CONSTANT * np.abs(mean), deviation, np.inf)
    standardised = (features - mean) / scale
    class_means = np.stack([standardised[labels == number].mean(axis=0) for number in range(n_classes)])
    residuals = standardised - class_means[labels]
    variances, axes = np.linalg.eigh(residuals.T @ residuals / len(features))
    return LinearDiscriminant(
        mean, scale, axes, variances.clip(min=0), class_means @ axes, np.log(counts / len(features)), len(features)
    )


def deal_folds(groups: Sequence[str], n_folds: int) -> NDArray[np.intp]:
    """Return the fold of each sample: groups are dealt at random, always in the same way. Shape: [N] -> [N].

    Raises:
        ValueError: fewer groups than folds, or fewer than three folds.
    """
    names = np.unique(groups)
    if not 3 <= n_folds <= len(names):
        raise ValueError(f"{len(names)} groups cannot be dealt to {n_folds} folds; at least three folds are needed")
    fold_of = dict(zip(np.random.default_rng(0).permutation(names), np.arange(len(names)) % n_folds, strict=True))
    return np.array([fold_of[name] for name in groups], dtype=np.intp)


def held_out_log_probabilities(
    features: NDArray[np.float32] | Values, labels: Sequence[int], groups: Sequence[str], n_folds: int = 5
) -> Values:
    """Return the log probability of each class for each sample, from a probe that saw nothing of the sample's group.

    The groups are dealt to the folds at random, always in the same way. Shrinkage and temperature are chosen, for each
    fold, by the cross-entropy in a cross-validation over the other folds.

    Shape: [N, D], [N] with values 0 to K - 1, [N] -> [N, K], natural logarithm.

    Raises:
        ValueError: fewer groups than folds, fewer than three folds, or a class that is missing in some of them.
    """
    folds = deal_folds(groups, n_folds)
    exact, numbers = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    n_classes = int(numbers.max()) + 1
    result = np.empty((len(exact), n_classes))
    for fold in range(n_folds):
        known, tested = folds != fold, folds == fold
        result[tested] = choose_linear(exact[known], numbers[known], folds[known], n_classes)(exact[tested])
    return result


def choose_linear(
    features: Values, labels: NDArray[np.intp], folds: NDArray[np.intp], n_classes: int
) -> Callable[[Values], Values]:
    """Fit a discriminant, and choose its shrinkage and temperature by a cross-validation over the folds.

    Shape: [N, D], [N], [N]; what is returned takes [M, D] and gives log probabilities [M, K].
    """
    shrinkage, temperature = _choose(features, labels, folds, n_classes)
    discriminant = fit_linear_discriminant(features, labels, n_classes)
    return lambda asked: discriminant.log_probabilities(asked, shrinkage, temperature)


def _choose(features: Values, labels: NDArray[np.intp], folds: NDArray[np.intp], n_classes: int) -> tuple[float, float]:
    """Return the shrinkage and the temperature of the least cross-entropy; the stronger ones of equals."""
    losses = np.zeros((len(SHRINKAGES), len(TEMPERATURES)))
    for fold in np.unique(folds):
        known, tested = folds != fold, folds == fold
        discriminant = fit_linear_discriminant(features[known], labels[known], n_classes)
        projected, rows = discriminant.projected(features[tested]), np.arange(int(tested.sum()))
        for number, shrinkage in enumerate(SHRINKAGES):
            log_probabilities = discriminant.tempered(discriminant.logits(projected, shrinkage), TEMPERATURES)
            losses[number] -= log_probabilities[:, labels[tested], rows].sum(axis=1)
    shrinkage, temperature = divmod(int(losses.argmin()), len(TEMPERATURES))
    return SHRINKAGES[shrinkage], TEMPERATURES[temperature]
