"""What the maps of `transport` and `refiner_transport` are learned from, beside recordings."""

from dataclasses import replace

from umc_cli.conversion.chosen.verdict import known_sha256
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients, Need
from umc_cli.conversion.measuring.converters import convert_segments
from umc_cli.conversion.transport import Levels
from umc_cli.conversion.transport_files import TransportStart
from umc_cli.precision import Precision
from umc_cli.runtime import cpu_count


def transport_start(converter: str, ingredients: Ingredients) -> TransportStart:
    """Return the results that `converter` moves.

    Networks are computed by torch in fp32, whatever engine and precision convert later: a map does not depend on these,
    so that a run in another engine, or on other machines, finds the same one.
    """
    moved = CONVERTERS[converter].moves
    if moved is None:
        raise ValueError(f"converter {converter} moves nothing")
    engine = EngineSettings(engine="torch", precision=Precision.FP32, threads=cpu_count())
    learning = replace(ingredients, engine=engine)

    def convert(log_mel: Levels, target: str) -> Levels:
        return convert_segments(moved, log_mel, (target,), learning)[target]

    def also_from(target: str) -> tuple[str, ...]:
        return (known_sha256(ingredients, target),) if Need.REFINER in CONVERTERS[moved].needs else ()

    return TransportStart(
        moved_by=converter,
        converter=moved,
        source=ingredients.source,
        targets=ingredients.targets,
        tables=ingredients.level_quantiles,
        convert=convert,
        also_from=also_from,
    )
