"""`piecewise`: straight lines between random values at random places (paper, section 3.3).

The mel axis is cut into a few bands; each boundary gets a value whose magnitude is uniform in a range and whose sign is
random; between boundaries the difference is linear. The paper gives no numbers. The defaults are the nearest
published ones, those of FilterAugment's linear filter (Nam et al., ICASSP 2022).
"""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from umc_cli.config import Settings
from umc_cli.response.device import N_BANDS
from umc_cli.response.synthesis.contract import Differences, MethodSpec, Responses

_LAST = N_BANDS - 1


class PiecewiseSettings(Settings):
    """Settings of `piecewise`."""

    least_bands: Annotated[int, Field(ge=1)] = 3
    most_bands: Annotated[int, Field(ge=1)] = 5
    least_width: Annotated[int, Field(ge=1)] = 10
    """Width of a band in steps of the 128 mel bands: 6 of 80 are 9.6 of 128."""
    least_db: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Smallest magnitude at a boundary."""
    most_db: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 6.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.least_bands > self.most_bands:
            raise ValueError("least_bands must not be above most_bands")
        if self.least_db > self.most_db:
            raise ValueError("least_db must not be above most_db")
        if self.most_bands * self.least_width > _LAST:
            raise ValueError(f"most_bands times least_width must not be above {_LAST}: the bands do not fit")
        return self


@dataclass(frozen=True)
class Piecewise:
    """Draws straight lines between random boundaries."""

    settings: PiecewiseSettings

    def draw(self, n: int, random: np.random.Generator) -> Differences:
        """See `Sampler.draw`. Boundaries lie on band centres, the first and the last one included."""
        settings = self.settings
        places = self._draw_boundaries(n, random)
        magnitude = random.uniform(settings.least_db, settings.most_db, places.shape)
        values = (magnitude * random.choice((-1.0, 1.0), places.shape)).astype(np.float32)
        widths = np.diff(places, axis=1)
        slopes = np.diff(values, axis=1) / np.maximum(widths, 1)
        bands = np.arange(N_BANDS, dtype=np.float32)
        differences_db = np.repeat(values[:, :1], N_BANDS, axis=1)
        for band in range(settings.most_bands):
            # How far each of the 128 bands reaches into this piece; a piece that a row lacks has width 0.
            within = np.clip(bands - places[:, band, None], 0, widths[:, band, None])
            within *= slopes[:, band, None]
            differences_db += within
        return differences_db

    def describe(self) -> dict[str, Any]:
        """Nothing is learned."""
        return {}

    def _draw_boundaries(self, n: int, random: np.random.Generator) -> Differences:
        """Return the boundaries, uniform over all that keep the least width. Shape: [n, most_bands + 1], in bands."""
        settings = self.settings
        counts = random.integers(settings.least_bands, settings.most_bands, n, endpoint=True)
        places = np.full((n, settings.most_bands + 1), _LAST, np.float32)
        places[:, 0] = 0
        for count in range(settings.least_bands, settings.most_bands + 1):
            rows = np.flatnonzero(counts == count)
            slack = _LAST - count * settings.least_width
            cuts = np.sort(random.integers(0, slack, (len(rows), count - 1), endpoint=True), axis=1)
            places[rows, 1:count] = cuts + settings.least_width * np.arange(1, count)
        return places


def _fit(_: Responses, settings: PiecewiseSettings) -> Piecewise:
    return Piecewise(settings)


SPEC = MethodSpec(
    summary="straight lines between random values at random boundaries (the paper's)",
    settings=PiecewiseSettings,
    least_devices=0,
    fit=_fit,
)
