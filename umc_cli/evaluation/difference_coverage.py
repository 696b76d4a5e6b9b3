"""How well drawn frequency-response differences cover real ones that their method never saw.

Level stands apart from shape, so every difference first loses its mean over the bands; the distance of two differences
is the RMS over the bands of what is left, in dB.

- `nearest_db`: distance from a real difference to the nearest of the drawn ones.
- `rank`: conformal p-value of a real difference among the drawn ones (Laxhammar and Falkman, StreamKDD 2010), with
  the distance to the tenth nearest drawn one as nonconformity (Ramaswamy et al., SIGMOD 2000): the share of drawn
  ones that lie at least as far from their tenth nearest neighbour among the others. It is uniform over 0 to 1, with
  median 0.5, where real differences are distributed as drawn ones. Near 0: the real ones lie where next to none are
  drawn; near 1: they lie where the drawn ones are densest, as they spread wider than reality.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
