"""`pca`: differences of two devices drawn from the principal components of measured responses.

Responses are taken for normal with the measured covariance S, reduced to its first components. The difference of two
independent devices then has mean zero and covariance 2 S, which is exactly the covariance of all differences of two of
the measured devices, in both directions.

The number of components is the one under which devices that were left out are most likely, one at a time, with
probabilistic principal components (Tipping and Bishop, J. R. Stat. Soc. B 61, 1999), whose noise stands for the
components that were dropped. What these miss of the devices that were left out is drawn too: not as that noise, which
would make every band differ from its neighbours, but with the covariance of the missed parts. A new device is as far
from the measured ones as they are from each other, so what is drawn spreads a little wider than 2 S.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from umc_cli.config import Settings
from umc_cli.response.device import N_BANDS
from umc_cli.response.synthesis.contract import Differences, MethodSpec, Responses

_LEAST_VARIANCE = 0.01
"""dB squared: records are rounded to 0.1 dB, so that less is no knowledge."""


class PcaSettings(Settings):
    """Settings of `pca`."""

    most_components: Annotated[int, Field(ge=1)] = 12
    """Cross-validation chooses among as many, or the number of devices less 2 where that is smaller."""
    spread: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Differences are drawn this many times as large as the measured ones spread."""


@dataclass(frozen=True)
class Pca:
    """Draws along principal components."""

    n_components: int
    directions_db: NDArray[np.float32]
    """[n components + n devices, 128]: the principal components, then the missed part of every device that was left
    out, each as long as drawn differences spread along it (standard deviation)."""

    def draw(self, n: int, random: np.random.Generator) -> Differences:
        """See `Sampler.draw`."""
        differences_db: Differences = (
            random.standard_normal((n, len(self.directions_db)), np.float32) @ self.directions_db
        )
        return differences_db

    def describe(self) -> dict[str, Any]:
        """Return the number of components."""
        return {"n_components": self.n_components}


def _fit(responses_db: Responses, settings: PcaSettings) -> Pca:
    left_out = [_leave_out(responses_db, device) for device in range(len(responses_db))]
    n_components = _choose_number(left_out, min(settings.most_components, len(responses_db) - 2))
    _, axes, variances = _principal_axes(responses_db)
    kept = np.sqrt(variances[:n_components])[:, None] * axes[:n_components]
    missed = np.stack([each.missed(n_components) for each in left_out]) / np.sqrt(len(left_out))
    # Two devices differ: twice the variance of one.
    scale = settings.spread * np.sqrt(2)
    return Pca(n_components, (scale * np.concatenate([kept, missed])).astype(np.float32))


@dataclass(frozen=True)
class _LeftOut:
    """A device, seen from the components of the others."""

    deviation: Responses
    """[128], dB, from the mean of the others."""
    axes: Responses
    variances: Responses

    def missed(self, n: int) -> Responses:
        """Return what the first `n` components cannot say of it. Shape: [128], dB."""
        missed: Responses = self.deviation - self.axes[:n].T @ (self.axes[:n] @ self.deviation)
        return missed

    def log_likelihood(self, n: int) -> float:
        """Return its log-likelihood under `n` components, but for a constant (Tipping and Bishop, eq. 4 and 8)."""
        n_dropped = N_BANDS - n
        noise = max(self.variances[n:].sum() / n_dropped, _LEAST_VARIANCE)
        kept = np.maximum(self.variances[:n], noise)
        scores = self.axes[:n] @ self.deviation
        spread = np.log(kept).sum() + n_dropped * np.log(noise)
        return float(-0.5 * (spread + (scores**2 / kept).sum() + np.square(self.missed(n)).sum() / noise))


def _leave_out(responses_db: Responses, device: int) -> _LeftOut:
    mean, axes, variances = _principal_axes(np.delete(responses_db, device, axis=0))
    return _LeftOut(responses_db[device] - mean, axes, variances)


def _choose_number(left_out: list[_LeftOut], most: int) -> int:
    """Return the smallest number of components, 1 to `most`, under which left-out devices are most likely."""
    likelihoods = np.array([sum(each.log_likelihood(n) for each in left_out) for n in range(1, most + 1)])
    return int(np.argmax(likelihoods >= likelihoods.max() - 1e-6)) + 1


def _principal_axes(responses_db: Responses) -> tuple[Responses, Responses, Responses]:
    """Return mean [128], axes [n, 128] and variances [n] (dB squared), the largest first."""
    mean = responses_db.mean(axis=0)
    _, singular, axes = np.linalg.svd(responses_db - mean, full_matrices=False)
    return mean, axes, singular**2 / (len(responses_db) - 1)


SPEC = MethodSpec(
    summary="principal components of measured responses",
    settings=PcaSettings,
    least_devices=3,
    fit=_fit,
)
