from pathlib import Path

import pytest

from tests.conversion.devices import device
from umc_cli.conversion.chosen.choice import DEFAULT_ORDER, choose
from umc_cli.conversion.chosen.known import Known
from umc_cli.errors import SettingsError

FULL = {name: device(name, 0.0, -80.0) for name in ("a", "b", "c")}
NO_FLOOR = {name: device(name) for name in ("a", "b", "c")}


def known(
    devices: dict, recorded: str = "", checkpoint: Path = Path("missing"), refiner: Path = Path("no_refiner")
) -> Known:
    return Known(devices, frozenset(recorded), checkpoint, refiner)


@pytest.mark.parametrize(
    ("facts", "converter", "targets"),
    [
        (known(FULL, "abc"), "quantile", ("b", "c")),
        (known(FULL), "eq_noise", ("b", "c")),
        (known(NO_FLOOR), "eq", ("b", "c")),
        (known(FULL | {"c": device("c")}), "eq", ("b", "c")),  # serves both, eq_noise only one
        (known(FULL, "ab"), "eq_noise", ("b", "c")),
        (known({}, "ab"), "quantile", ("b",)),
    ],
)
def test_auto_takes_what_serves_most_targets_and_the_best_of_equals(
    facts: Known, converter: str, targets: tuple[str, ...]
) -> None:
    choice = choose(DEFAULT_ORDER, "a", ("b", "c"), True, facts)
    assert (choice.converter, choice.targets) == (converter, targets)


def test_all_leaves_out_what_cannot_be_served_and_says_why() -> None:
    choice = choose(("quantile",), "a", ("b", "c"), True, known(FULL, "ab"))
    assert choice.targets == ("b",)
    assert choice.left_out == {"c": "recordings of c in split train-mc"}


@pytest.mark.parametrize(
    ("converter", "facts", "message", "hint"),
    [
        ("quantile", known(FULL), "lacks recordings of a in split train-mc", "would work: eq_noise, eq"),
        ("eq_noise", known(NO_FLOOR), "lacks a noise floor in the record of a", "would work: eq "),
        ("film_gan", known(FULL), "lacks a checkpoint at missing", "would work: eq_noise, eq"),
        ("auto", known({}), "quantile lacks recordings.*eq lacks a device record of a", "no converter would work"),
        ("eq", known({"a": FULL["a"]}, "ab"), "lacks a device record of b", "quantile for 1 of 2 targets"),
    ],
)
def test_what_is_missing_is_named_with_what_would_work(converter: str, facts: Known, message: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        choose(DEFAULT_ORDER if converter == "auto" else (converter,), "a", ("b", "c"), False, facts)
    assert hint in error.value.hint


def test_a_checkpoint_makes_film_gan_possible(tmp_path: Path) -> None:
    weights = tmp_path / "generator.safetensors"
    weights.touch()
    assert choose(("film_gan",), "a", ("b",), False, known(NO_FLOOR, checkpoint=weights)).converter == "film_gan"


def test_a_refiner_is_preferred_to_what_it_refines(tmp_path: Path) -> None:
    weights = tmp_path / "refiner.safetensors"
    weights.touch()
    chosen = [
        choose(DEFAULT_ORDER, "a", ("b",), False, known(FULL, recorded, refiner=weights)).converter
        for recorded in ("ab", "")
    ]
    assert chosen == ["refiner_quantile", "refiner"]
    assert choose(DEFAULT_ORDER, "a", ("b",), False, known(NO_FLOOR, "ab", refiner=weights)).converter == "quantile"


def test_no_other_device_is_an_error() -> None:
    with pytest.raises(SettingsError, match="no device besides a"):
        choose(DEFAULT_ORDER, "a", (), True, known(FULL))
