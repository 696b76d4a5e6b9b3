"""Linear optimal transport between the segments of two devices, as far as their recordings speak for it.

Segments of both devices are described by a few principal components. The map of Monge between two normal distributions
turns the covariance of the source's components into that of the target's. Two covariances that were estimated from
recordings differ by chance too: the difference is shrunk by the share that chance explains, and where chance may
explain all of it, nothing is moved.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = ("origin", "components", "lowest", "highest", "matrix", "shift")
"""Arrays of a map."""
N_COMPONENTS = 60
CHANCE = 2.0
"""A difference counts as far as it exceeds this multiple of what chance is expected to give (squares)."""
_SMALLEST = 1e-3
"""Share of the mean variance that is added to every variance, so that a map stays bounded."""

Levels = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Segments of one device."""

    log_mel: Levels
    """[N, 80, 80], dB."""
    recordings: Sequence[str]
    """[N]: segments of one recording say less than as many recordings do. Devices that recorded the same sounds share
    names."""
    labels: Sequence[str]
    """[N]"""


@dataclass(frozen=True)
class Transport:
    """A map of segments, close to the identity: `x + clip((x - origin) @ components.T) @ matrix @ components + shift`.

    A segment unlike all that were learned from (silence, say) moves as far as the nearest of these does.
    """

    origin: Levels
    """[6400], dB."""
    components: Levels
    """[k, 6400], orthonormal; k = 0 moves nothing."""
    lowest: Levels
    """[k]: of the source's components that were learned from; likewise below."""
    highest: Levels
    matrix: Levels
    """[k, k]: what is added to the components."""
    shift: Levels
    """[6400], dB."""
    strength: float
    """Share of the measured difference of covariances that is left after shrinking, 0-1."""

    def __call__(self, log_mel: Levels) -> Levels:
        """Return moved segments. Shape: [N, 80, 80] -> [N, 80, 80], dB, not limited."""
        flat = log_mel.reshape(len(log_mel), -1).astype(np.float64)
        found = ((flat - self.origin) @ self.components.T).clip(self.lowest, self.highest)
        moved = flat + found @ self.matrix @ self.components + self.shift
        return moved.reshape(log_mel.shape).astype(np.float32)


def sha256_of(transport: Transport) -> str:
    """Return the hash of a map."""
    digest = hashlib.sha256()
    for name in PARTS:
        digest.update(np.ascontiguousarray(getattr(transport, name)).tobytes())
    return digest.hexdigest()


def no_transport(n_values: int) -> Transport:
    """Return the map that moves nothing."""
    nothing, none = np.zeros(n_values, np.float32), np.zeros(0, np.float32)
    return Transport(nothing, none.reshape(0, n_values), none, none, none.reshape(0, 0), nothing, 0.0)


def fit_transport(source: Sample, target: Sample, n_components: int = N_COMPONENTS) -> Transport:
    """Return the map from segments of the source to those of the target.

    Labels that one side holds more of count less there, so that both sides hold the mixture that they have in common.
    """
    n_values = int(np.prod(source.log_mel.shape[1:]))
    weights = common_mixture(source.labels, target.labels)
    flat = [sample.log_mel.reshape(len(sample.log_mel), -1) for sample in (source, target)]
    used = [values[weight > 0] for values, weight in zip(flat, weights, strict=True)]
    if min(map(len, used)) < 2:
        return no_transport(n_values)
    origin, components = _principal_components(np.concatenate(used), n_components)
    if not len(components):
        return no_transport(n_values)
    described = [(values - origin) @ components.T for values in flat]
    ours, theirs = (
        _moments(values, weight, sample.recordings)
        for values, weight, sample in zip(described, weights, (source, target), strict=True)
    )
    middle = (ours.covariance + theirs.covariance) / 2
    half_difference = (theirs.covariance - ours.covariance) / 2
    # Of how far a map moves segments: the square of a covariance's difference over the two variances.
    scale = 1 / (np.diag(middle)[:, None] + np.diag(middle)[None])
    chance = _variance_of_difference(ours.covariance_parts, theirs.covariance_parts)
    strength = _kept(float((scale * chance).sum()), float((scale * (2 * half_difference) ** 2).sum()))
    moved = theirs.mean - ours.mean
    chance_of_means = float(_variance_of_difference(ours.mean_parts, theirs.mean_parts).sum())
    of_means = _kept(chance_of_means, float(moved @ moved))
    if strength == 0 and of_means == 0:
        return no_transport(n_values)
    matrix = np.zeros_like(middle)
    if strength > 0:
        matrix = _monge(middle - strength * half_difference, middle + strength * half_difference) - np.eye(len(middle))
    shift = (of_means * moved - matrix @ ours.mean) @ components
    parts = (origin, components, described[0].min(axis=0), described[0].max(axis=0), matrix.T, shift)
    arrays = {name: part.astype(np.float32) for name, part in zip(PARTS, parts, strict=True)}
    return Transport(**arrays, strength=strength)


def common_mixture(source: Sequence[str], target: Sequence[str]) -> tuple[Matrix, Matrix]:
    """Return the weight of every segment, so that both sides hold each label to the share that both have of it."""
    shares = [{label: n / len(labels) for label, n in Counter(labels).items()} for labels in (source, target)]
    common = {label: min(share, shares[1].get(label, 0.0)) for label, share in shares[0].items()}
    ours, theirs = (
        np.array([common.get(label, 0.0) / own[label] for label in labels])
        for labels, own in zip((source, target), shares, strict=True)
    )
    return ours, theirs


@dataclass(frozen=True)
class _Moments:
    mean: Matrix
    covariance: Matrix
    mean_parts: dict[str, Matrix]
    """By recording: its part in how far the estimate is off; likewise below."""
    covariance_parts: dict[str, Matrix]


def _moments(values: Matrix, weights: Matrix, recordings: Sequence[str]) -> _Moments:
    share = weights / weights.sum()
    mean = share @ values
    off = values - mean
    covariance = (off * share[:, None]).T @ off
    names, owner = np.unique(np.asarray(recordings), return_inverse=True)
    mean_parts, covariance_parts = {}, {}
    for number, name in enumerate(names.tolist()):
        own = owner == number
        weighted = off[own] * share[own, None]
        mean_parts[name] = weighted.sum(axis=0)
        covariance_parts[name] = weighted.T @ off[own] - share[own].sum() * covariance
    return _Moments(mean, covariance, mean_parts, covariance_parts)


def _variance_of_difference(ours: dict[str, Matrix], theirs: dict[str, Matrix]) -> Matrix:
    """Return the variance of the difference of two estimates, entry by entry: that between recordings.

    What both devices recorded moves both estimates alike.
    """
    nothing = np.zeros_like(next(iter(ours.values())))
    total = np.zeros_like(nothing)
    for name in sorted({*ours, *theirs}):
        total += (theirs.get(name, nothing) - ours.get(name, nothing)) ** 2
    return total


def _kept(chance: float, found: float) -> float:
    return max(0.0, 1 - CHANCE * chance / found) if found > 0 else 0.0


def _principal_components(values: Levels, n_components: int) -> tuple[Matrix, Matrix]:
    """Return the mean [n] and the first components [k, n], fewer where the values have no more."""
    from scipy.linalg import eigh  # conversions that learn nothing from recordings load no scipy

    origin = values.mean(axis=0, dtype=np.float64)
    off = (values - origin).astype(np.float32)
    is_tall = len(off) > off.shape[1]
    products = (off.T @ off if is_tall else off @ off.T).astype(np.float64)
    most = min(n_components, len(products) - (not is_tall))
    variances, vectors = eigh(products, subset_by_index=(len(products) - most, len(products) - 1))
    kept = variances > 1e-6 * max(variances[-1], 1e-9)
    variances, vectors = variances[kept], vectors[:, kept]
    components = vectors.T if is_tall else (vectors.T @ off.astype(np.float64)) / np.sqrt(variances)[:, None]
    return origin, np.ascontiguousarray(components[::-1])


def _monge(source: Matrix, target: Matrix) -> Matrix:
    """Return the symmetric map that turns one covariance into another."""
    least = _SMALLEST * np.trace(source + target) / 2 / len(source) * np.eye(len(source))
    source, target = _positive(source) + least, _positive(target) + least
    root = _power(source, 0.5)
    inverse = _power(source, -0.5)
    return inverse @ _power(root @ target @ root, 0.5) @ inverse


def _positive(covariance: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(covariance)
    positive: Matrix = (vectors * np.maximum(values, 0)) @ vectors.T
    return positive


def _power(covariance: Matrix, exponent: float) -> Matrix:
    values, vectors = np.linalg.eigh(covariance)
    power: Matrix = (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T
    return power
