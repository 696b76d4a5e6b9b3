"""What a converter that is measured knows on its way there, and on its way back."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.chosen.transport_start import transport_start
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.kept_knowledge import NOT_KEPT
from umc_cli.conversion.level_quantiles import ReadSegments
from umc_cli.conversion.transport_files import Learning, load_transports


def with_transports(
    converter: str,
    ingredients: Ingredients,
    clips: Sequence[Clip],
    warnings: list[str],
    learning: Learning,
    read: ReadSegments,
) -> Ingredients:
    """Return the ingredients with the maps to all targets, learned from `clips`, where the converter rests on maps."""
    if converter not in CONVERTERS or CONVERTERS[converter].moves is None:
        return ingredients
    start = transport_start(converter, ingredients)
    maps = load_transports(NOT_KEPT, start, clips, SegmentSettings(), warnings, learning, read)
    return replace(ingredients, transports=maps)


def way_back(
    converter: str,
    ingredients: Ingredients,
    target: str,
    clips: Sequence[Clip],
    say: Callable[[str], None],
    read: ReadSegments,
) -> Ingredients:
    """Return what the converter knows from a target to the source: as much as on the way there."""
    source = ingredients.source
    adapted = ingredients.adapted.get(target)
    back = replace(
        ingredients,
        source=target,
        targets=(source,),
        transports={},
        adapted={source: adapted} if adapted else {},  # weights are adapted to two devices, in both directions
    )

    def learning(_: str, __: int, ___: int) -> None:
        say(f"learning what {converter} moves from {target} back to {source}")

    return with_transports(converter, back, clips, [], learning, read)
