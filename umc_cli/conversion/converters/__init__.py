"""The converters, by the name that `umc convert --converter` takes. To add one, see docs/extending.md."""

from dataclasses import replace

from umc_cli.conversion.converters.contract import ConverterSpec, Need, describes_nothing
from umc_cli.conversion.engines import describe_refiner
from umc_cli.conversion.on_demand import on_demand

_move = on_demand("converters.transport", "Transporter")

_QUANTILE = ConverterSpec(
    summary="maps each band's level distribution onto that of the target's recordings",
    needs=frozenset({Need.RECORDINGS}),
    build=on_demand("converters.quantile", "QuantileMapper"),
    foretell=describes_nothing,
)
_REFINER_QUANTILE = ConverterSpec(
    summary="corrects the result of `quantile` with a trained network that also knows responses and noise floors",
    needs=frozenset({Need.RESPONSE, Need.NOISE_FLOOR, Need.RECORDINGS, Need.REFINER}),
    build=on_demand("converters.refiner", "quantile_refiner"),
    foretell=lambda given: describe_refiner(given.refiner, given.engine, given.torch_device),
)

CONVERTERS: dict[str, ConverterSpec] = {
    "refiner_transport": replace(
        _REFINER_QUANTILE,
        summary="converts as `refiner_quantile` does, then moves what bands and frames have to do with each other",
        build=lambda given: _move(_REFINER_QUANTILE.build(given), given),
        moves="refiner_quantile",
    ),
    "refiner_quantile": _REFINER_QUANTILE,
    "refiner": ConverterSpec(
        summary="corrects the result of `eq_noise` with a trained network",
        needs=frozenset({Need.RESPONSE, Need.NOISE_FLOOR, Need.REFINER}),
        build=on_demand("converters.refiner", "plain_refiner"),
        foretell=lambda given: describe_refiner(given.refiner, given.engine, given.torch_device),
    ),
    "transport": replace(
        _QUANTILE,
        summary="maps levels as `quantile` does, then moves what bands and frames have to do with each other",
        build=lambda given: _move(_QUANTILE.build(given), given),
        moves="quantile",
    ),
    "quantile": _QUANTILE,
    "eq_noise": ConverterSpec(
        summary="equalizes what rises above the source's noise floor and adds the target's noise floor",
        needs=frozenset({Need.RESPONSE, Need.NOISE_FLOOR}),
        build=on_demand("converters.eq_noise", "NoiseAwareEqualizer"),
        foretell=describes_nothing,
    ),
    "eq": ConverterSpec(
        summary="adds the difference of the frequency responses",
        needs=frozenset({Need.RESPONSE}),
        build=on_demand("converters.eq", "Equalizer"),
        foretell=describes_nothing,
    ),
    "film_gan": ConverterSpec(
        summary="converts with a trained generator, conditioned on the difference of the frequency responses",
        needs=frozenset({Need.RESPONSE, Need.CHECKPOINT}),
        build=on_demand("converters.film_gan", "GeneratorConverter"),
    ),
}
"""`refiner` and `refiner_quantile`: a trained network corrects what `eq_noise` or `quantile` makes of a recording.

Listing them loads no torch; each loads it when it is built.
"""
