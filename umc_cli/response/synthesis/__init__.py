"""The methods of `umc synth-fr`, by the name that `--method` takes. To add one, see docs/extending.md."""

from umc_cli.response.synthesis import mixture, pca, piecewise
from umc_cli.response.synthesis.contract import MethodSpec

METHODS: dict[str, MethodSpec] = {
    "piecewise": piecewise.SPEC,
    "pca": pca.SPEC,
    "mixture": mixture.SPEC,
}

DEFAULT_METHOD = "mixture"
"""What covers real differences best (measured: docs/synthetic-differences.md)."""
