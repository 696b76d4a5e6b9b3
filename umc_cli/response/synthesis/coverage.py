"""How well the differences that each method draws cover real ones of devices that it never saw.

Level stands apart from shape, so every difference first loses its mean over the bands; the distance of two differences
is the RMS over the bands of what is left, in dB.

- `nearest_db`: distance from a real difference to the nearest of the drawn ones.
- `rank`: conformal p-value of a real difference among the drawn ones (Laxhammar and Falkman, StreamKDD 2010), with
  the distance to the tenth nearest drawn one as nonconformity (Ramaswamy et al., SIGMOD 2000): the share of drawn
  ones that lie at least as far from their tenth nearest neighbour among the others. It is uniform over 0 to 1, with
  median 0.5, where real differences are distributed as drawn ones. Near 0: the real ones lie where next to none are
  drawn; near 1: they lie where the drawn ones are densest, as they spread wider than reality.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umc_cli.config import Settings
from umc_cli.errors import SettingsError
from umc_cli.response.learned_responses import LearnedResponses
from umc_cli.response.synthesis import METHODS
from umc_cli.response.synthesis.drawing import fit_method

NEIGHBOURS = 10
RARE_RANK = 0.05
"""Where differences are distributed as drawn ones, one in twenty has a rank below this."""


@dataclass(frozen=True)
class Coverage:
    """Measures of each real difference."""

    nearest_db: NDArray[np.float64]
    """[n real]."""
    rank: NDArray[np.float64]
    """[n real], above 0, to 1."""


@dataclass(frozen=True)
class OverSeeds:
    """A figure over seeds."""

    mean: float
    spread: float
    """Standard deviation over seeds."""


@dataclass(frozen=True)
class MethodCoverage:
    """How well one method covers real differences of left-out devices; quantiles are over all of these."""

    method: str
    nearest_median_db: OverSeeds
    nearest_90_db: OverSeeds
    """Nine in ten real differences have a drawn one as near as this."""
    rank_median: OverSeeds
    rare_share: OverSeeds
    """Share of real differences whose rank is below 0.05."""
    drawn_size_db: OverSeeds
    """Median size of drawn differences (distance to no difference)."""
    by_device: Mapping[str, float]
    """Median distance to the nearest, in dB, by left-out device; mean over seeds."""
    learned: Mapping[str, Any]
    """What the method says it learned from all devices."""
    nearest_db: NDArray[np.float64]
    """[seeds x real differences], for the figure."""
    rank: NDArray[np.float64]
    """[seeds x real differences], for the figure."""


@dataclass(frozen=True)
class CoverageReport:
    """All methods side by side."""

    devices: tuple[str, ...]
    n_differences: int
    """Real ones: of every device to each of the others."""
    n_drawn: int
    """By every method, for every left-out device and seed."""
    seeds: tuple[int, ...]
    n_bands: int
    """Trusted bands that were compared."""
    real_size_median_db: float
    """Distance of real differences to no difference at all."""
    methods: Sequence[MethodCoverage]


def compare_methods(
    responses: LearnedResponses,
    settings: Mapping[str, Settings],
    n_drawn: int,
    seeds: Sequence[int],
    say: Callable[[str], None],
) -> CoverageReport:
    """Leave each device out in turn, let every method learn from the others, and measure.

    Real differences are those to the left-out device from each other one.

    Raises:
        SettingsError: there are too few devices to leave one out.
    """
    least = 1 + max(method.least_devices for method in METHODS.values())
    n_devices = len(responses.names)
    if n_devices < least:
        raise SettingsError(
            f"coverage takes {least} or more measured devices; there are {n_devices}",
            "measure more, or learn from others: --learn-from library",
        )
    methods = []
    for method in METHODS:
        say(f"{method}: {n_devices} devices left out in turn, {len(seeds)} seeds")
        methods.append(_cover(method, responses, settings[method], n_drawn, seeds))
    trusted_db = responses.responses_db[:, responses.is_trusted]
    sizes_db = [size for left_out in range(n_devices) for size in _sizes(_real_differences(trusted_db, left_out))]
    return CoverageReport(
        devices=responses.names,
        n_differences=n_devices * (n_devices - 1),
        n_drawn=n_drawn,
        seeds=tuple(seeds),
        n_bands=int(responses.is_trusted.sum()),
        real_size_median_db=float(np.median(sizes_db)),
        methods=methods,
    )


def _cover(
    method: str, responses: LearnedResponses, settings: Settings, n_drawn: int, seeds: Sequence[int]
) -> MethodCoverage:
    everything: list[list[Coverage]] = [[] for _ in seeds]
    drawn_sizes_db: list[list[float]] = [[] for _ in seeds]
    trusted_db = responses.responses_db[:, responses.is_trusted]
    for left_out in range(len(responses.names)):
        sampler = fit_method(method, np.delete(responses.responses_db, left_out, axis=0), settings)
        real_db = _real_differences(trusted_db, left_out)
        for place, seed in enumerate(seeds):
            drawn_db = sampler.draw(n_drawn, np.random.default_rng((seed, left_out)))[:, responses.is_trusted]
            everything[place].append(measure_coverage(real_db, drawn_db))
            drawn_sizes_db[place].append(float(np.median(_sizes(drawn_db))))
    nearest_db = np.array([[one.nearest_db for one in seed] for seed in everything])  # [seeds, devices, differences]
    rank = np.array([[one.rank for one in seed] for seed in everything])
    by_device = np.median(nearest_db, axis=2).mean(axis=0)
    return MethodCoverage(
        method=method,
        nearest_median_db=_over_seeds(np.median(nearest_db, axis=(1, 2))),
        nearest_90_db=_over_seeds(np.quantile(nearest_db, 0.9, axis=(1, 2))),
        rank_median=_over_seeds(np.median(rank, axis=(1, 2))),
        rare_share=_over_seeds((rank < RARE_RANK).mean(axis=(1, 2))),
        drawn_size_db=_over_seeds(np.median(drawn_sizes_db, axis=1)),
        by_device=dict(zip(responses.names, by_device.round(3).tolist(), strict=True)),
        learned=fit_method(method, responses.responses_db, settings).describe(),
        nearest_db=nearest_db.ravel(),
        rank=rank.ravel(),
    )


def _real_differences(responses_db: NDArray[np.float64], left_out: int) -> NDArray[np.float64]:
    differences_db: NDArray[np.float64] = responses_db[left_out] - np.delete(responses_db, left_out, axis=0)
    return differences_db


def _sizes(differences_db: NDArray[np.floating]) -> NDArray[np.floating]:
    sizes: NDArray[np.floating] = differences_db.std(axis=1)
    return sizes


def _over_seeds(values: NDArray[np.float64]) -> OverSeeds:
    return OverSeeds(round(mean(values.tolist()), 4), round(pstdev(values.tolist()), 4))


def measure_coverage(real_db: NDArray[np.floating], drawn_db: NDArray[np.floating]) -> Coverage:
    """Measure how well `drawn_db` covers `real_db`. Shape: [n real, bands] and [n drawn, bands], dB.

    Raises:
        ValueError: there are not more drawn differences than `NEIGHBOURS`, or the bands differ.
    """
    if len(drawn_db) <= NEIGHBOURS or real_db.shape[1:] != drawn_db.shape[1:]:
        raise ValueError(f"cannot compare {list(real_db.shape)} real with {list(drawn_db.shape)} drawn differences")
    real, drawn = _shape_of(real_db), _shape_of(drawn_db)
    to_drawn = np.sqrt(_squared_distances(real, drawn))
    among_drawn = _squared_distances(drawn, drawn)
    np.fill_diagonal(among_drawn, np.inf)
    of_drawn = np.sqrt(np.partition(among_drawn, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1])
    of_real = np.partition(to_drawn, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
    n_farther = len(of_drawn) - np.searchsorted(np.sort(of_drawn), of_real)
    return Coverage(
        nearest_db=to_drawn.min(axis=1),
        rank=(1 + n_farther) / (1 + len(of_drawn)),
    )


def _shape_of(differences_db: NDArray[np.floating]) -> NDArray[np.float64]:
    shapes: NDArray[np.float64] = np.subtract(
        differences_db, differences_db.mean(axis=1, keepdims=True), dtype=np.float64
    )
    return shapes


def _squared_distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean squared distances over the bands. Shape: [n, bands], [m, bands] -> [n, m]."""
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    distances: NDArray[np.float64] = np.maximum(squares - 2 * first @ second.T, 0) / first.shape[1]
    return distances
