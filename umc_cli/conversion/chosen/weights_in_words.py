"""Which weights a conversion takes, in words: the shipped ones, or the run, its steps and the date."""

from collections.abc import Mapping
from pathlib import Path

from umc_cli.checkpoint import read_metadata
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients, Need
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER


def weights_of(converter: str, ingredients: Ingredients) -> str | None:
    """Return what weights `converter` computes with, in words; None if it has none.

    Raises:
        SettingsError: they cannot be read.
    """
    needs = CONVERTERS[converter].needs
    if Need.REFINER in needs and ingredients.refiner:
        adapted = [weights_in_words(path) for path in dict.fromkeys(ingredients.adapted.values())]
        others = {*ingredients.targets} - ingredients.adapted.keys()
        return "; ".join([*adapted, *([weights_in_words(ingredients.refiner)] if others else [])])
    return weights_in_words(ingredients.checkpoint) if Need.CHECKPOINT in needs and ingredients.checkpoint else None


def made_with_in_words(made_with: Mapping[str, str]) -> str:
    """Return what a converter says of itself (engine, precision, checksums) in a line; checksums begin only."""
    texts = (f"{name} {value[:12] if name.endswith('_sha256') else value}" for name, value in made_with.items())
    return ", ".join(texts) or "nothing to choose"


def weights_in_words(path: Path) -> str:
    """Return the run that a checkpoint is of, how many steps it was trained for, when, and where it is.

    Raises:
        SettingsError: the checkpoint cannot be read.
    """
    if path in (SHIPPED_GENERATOR, SHIPPED_REFINER):
        return "the weights that ship with umc"
    training = read_metadata(path).get("training", {})
    name, step, date = (training.get(key) for key in ("name", "step", "date"))
    parts = [f"run {name!r}" if isinstance(name, str) else "weights without a run name"]
    if isinstance(step, int):
        parts.append(f"{step} step{'' if step == 1 else 's'}")
    if isinstance(date, str):
        parts.append(date)
    return f"{', '.join(parts)} ({path})"
