"""The converters as they are measured, next to what costs nothing: no conversion, and the level alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.known import gaps
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.response.difference import level_difference_db

BASELINES = ("no_conversion", "level_only")
MEASURED_CONVERTERS = (*BASELINES, *CONVERTERS)

_BATCH_SIZE = 32

Levels = NDArray[np.float32]


@dataclass(frozen=True)
class LevelGain:
    """What `level_only` adds."""

    gain_db: float
    origin: str


def level_gain(source: str, target: str, ingredients: Ingredients) -> LevelGain | None:
    """Return how much louder the target records, in dB; None where that is unknown.

    The difference of the sensitivities in the device records; where one is unknown, that of the mean levels (dB, over
    all bands and frames) of unpaired recordings.
    """
    records, tables = ingredients.devices, ingredients.level_quantiles
    if source in records and target in records:
        by_sensitivity = level_difference_db(records[source], records[target])
        if by_sensitivity is not None:
            return LevelGain(by_sensitivity, "sensitivities in the device records")
    if source in tables and target in tables:
        # The quantiles stand for equal shares of the frames, so their mean is the mean level.
        gain_db = float(tables[target].mean(dtype=np.float64) - tables[source].mean(dtype=np.float64))
        return LevelGain(gain_db, "mean levels of unpaired recordings")
    return None


def gaps_of(name: str, ingredients: Ingredients) -> dict[str, str]:
    """Return what is missing for each target that a converter or baseline cannot serve."""
    if name == "no_conversion":
        return {}
    if name == "level_only":
        source = ingredients.source
        unknown = [target for target in ingredients.targets if level_gain(source, target, ingredients) is None]
        return dict.fromkeys(unknown, "the sensitivities of both devices, or recordings of both")
    return gaps(name, ingredients)


def convert_segments(name: str, log_mel: Levels, targets: Sequence[str], ingredients: Ingredients) -> dict[str, Levels]:
    """Convert segments of `ingredients.source` to each target. Shape: [N, 80, 80] -> [N, 80, 80] each, dB."""
    if name == "no_conversion":
        return dict.fromkeys(targets, log_mel)
    if name == "level_only":
        return {target: _louder(log_mel, level_gain(ingredients.source, target, ingredients)) for target in targets}
    conversion = Conversion(name, replace(ingredients, targets=tuple(targets)))
    converted = {target: np.empty_like(log_mel) for target in targets}
    for first in range(0, len(log_mel), _BATCH_SIZE):
        rows = slice(first, first + _BATCH_SIZE)
        for target, levels in conversion(log_mel[rows]).items():
            converted[target][rows] = levels.float().cpu().numpy()
    return converted


def _louder(log_mel: Levels, level: LevelGain | None) -> Levels:
    if level is None:
        raise ValueError("level_only was run without a level")
    louder: Levels = np.maximum(log_mel + np.float32(level.gain_db), np.float32(FLOOR_DB))
    return louder
