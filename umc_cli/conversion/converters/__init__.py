"""The converters, by the name that `umc convert --converter` takes. To add one, see docs/extending.md."""

from umc_cli.conversion.converters import eq, eq_noise, film_gan, quantile, refiner
from umc_cli.conversion.converters.contract import ConverterSpec

CONVERTERS: dict[str, ConverterSpec] = {
    "refiner_quantile": refiner.QUANTILE_SPEC,
    "refiner": refiner.SPEC,
    "quantile": quantile.SPEC,
    "eq_noise": eq_noise.SPEC,
    "eq": eq.SPEC,
    "film_gan": film_gan.SPEC,
}
