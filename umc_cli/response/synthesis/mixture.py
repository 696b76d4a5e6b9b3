"""`mixture`: convex mixtures of measured differences, bent a little.

One to a few differences of two measured devices, of random direction, are averaged with random weights (uniform over
all that add up to 1); a ripple, linear between evenly spaced random values, is added.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from umc_cli.config import Settings
from umc_cli.response.device import N_BANDS
from umc_cli.response.synthesis.contract import Differences, MethodSpec, Responses


class MixtureSettings(Settings):
    """Settings of `mixture`."""

    most_mixed: Annotated[int, Field(ge=1)] = 3
    """Measured differences in a mixture: 1 to this many."""
    jitter_db: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Standard deviation of the ripple at its knots; each difference draws its own between 0 and this."""
    knots: Annotated[int, Field(ge=2, le=N_BANDS)] = 12
    """Places of the ripple's values, evenly over the 128 bands."""


@dataclass(frozen=True)
class Mixture:
    """Draws mixtures of measured differences."""

    settings: MixtureSettings
    responses_db: NDArray[np.float32]
    """[n devices, 128]."""
    ripple: NDArray[np.float32]
    """[knots, 128]: what a value of 1 at each knot adds to the bands."""

    def draw(self, n: int, random: np.random.Generator) -> Differences:
        """See `Sampler.draw`."""
        settings, n_devices = self.settings, len(self.responses_db)
        shape = (n, settings.most_mixed)
        weights = random.standard_exponential(shape, np.float32)
        weights[np.arange(settings.most_mixed) >= random.integers(1, settings.most_mixed, (n, 1), endpoint=True)] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        targets = random.integers(n_devices, size=shape)
        sources = (targets + random.integers(1, n_devices, shape)) % n_devices
        roughness_db = random.uniform(0, settings.jitter_db, (n, 1)).astype(np.float32)
        bends = roughness_db * random.standard_normal((n, settings.knots), np.float32)
        differences_db: Differences = (bends @ self.ripple).astype(np.float32, copy=False)
        for part in range(settings.most_mixed):
            measured = self.responses_db[targets[:, part]] - self.responses_db[sources[:, part]]
            measured *= weights[:, part, None]
            differences_db += measured
        return differences_db

    def describe(self) -> dict[str, Any]:
        """Nothing beyond the devices."""
        return {}


def _fit(responses_db: Responses, settings: MixtureSettings) -> Mixture:
    knots = np.linspace(0, N_BANDS - 1, settings.knots)
    ripple = [np.interp(np.arange(N_BANDS), knots, one) for one in np.eye(settings.knots)]
    return Mixture(settings, responses_db.astype(np.float32), np.array(ripple, np.float32))


SPEC = MethodSpec(
    summary="convex mixtures of measured differences, bent a little",
    settings=MixtureSettings,
    least_devices=2,
    fit=_fit,
)
