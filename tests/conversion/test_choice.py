from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.conversion.devices import device
from umc_cli.conversion.chosen import choice
from umc_cli.conversion.chosen.choice import DEFAULT_ORDER
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.errors import SettingsError
from umc_cli.response.device import Device

FULL = {name: device(name, 0.0, -80.0) for name in ("a", "b", "c")}
NO_FLOOR = {name: device(name) for name in ("a", "b", "c")}


class Known(NamedTuple):
    devices: dict[str, Device]
    recorded: str = ""
    checkpoint: Path = Path("missing")
    refiner: Path = Path("no_refiner")


def choose(names: tuple[str, ...], source: str, targets: tuple[str, ...], is_all: bool, facts: Known) -> Conversion:
    devices, recorded, checkpoint, refiner = facts
    wanted = Ingredients(source, targets, devices, torch.device("cpu"), checkpoint=checkpoint, refiner=refiner)
    return choice.choose(names, wanted, recorded, is_all)


@pytest.mark.parametrize(
    ("facts", "converter", "targets"),
    [
        (Known(FULL, "abc"), "quantile", ("b", "c")),
        (Known(FULL), "eq_noise", ("b", "c")),
        (Known(NO_FLOOR), "eq", ("b", "c")),
        (Known(FULL | {"c": device("c")}), "eq", ("b", "c")),  # serves both, eq_noise only one
        (Known(FULL, "ab"), "eq_noise", ("b", "c")),
        (Known({}, "ab"), "quantile", ("b",)),
    ],
)
def test_auto_takes_what_serves_most_targets_and_the_best_of_equals(
    facts: Known, converter: str, targets: tuple[str, ...]
) -> None:
    chosen = choose(DEFAULT_ORDER, "a", ("b", "c"), True, facts)
    assert (chosen.converter, chosen.targets) == (converter, targets)


def test_all_leaves_out_what_cannot_be_served_and_says_why() -> None:
    chosen = choose(("quantile",), "a", ("b", "c"), True, Known(FULL, "ab"))
    assert chosen.targets == ("b",)
    assert chosen.left_out == {"c": "recordings of c in split train-converter or train"}


@pytest.mark.parametrize(
    ("converter", "facts", "message", "hint"),
    [
        ("quantile", Known(FULL), "lacks recordings of a in split train-conv", "would work: eq_noise, eq"),
        ("eq_noise", Known(NO_FLOOR), "lacks a noise floor in the record of a", "would work: eq "),
        ("film_gan", Known(FULL), "lacks a checkpoint at missing", "would work: eq_noise, eq"),
        ("auto", Known({}), "no record of a: what its microphone does", "umc measure-ir CURVE.csv --device a"),
        ("auto", Known({"a": FULL["a"]}), "no record of b: what its", "umc measure-ir CURVE.csv --device b"),
        ("eq", Known({"a": FULL["a"]}, "ab"), "lacks a device record of b", "quantile for 1 of 2 targets"),
    ],
)
def test_what_is_missing_is_named_with_what_would_work(converter: str, facts: Known, message: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        choose(DEFAULT_ORDER if converter == "auto" else (converter,), "a", ("b", "c"), False, facts)
    assert hint in error.value.hint


def test_what_gets_a_record_stands_in_the_hint_quickest_first() -> None:
    with pytest.raises(SettingsError) as error:
        choose(DEFAULT_ORDER, "a", ("b",), True, Known({"b": FULL["b"]}))
    first, *ways = error.value.hint.splitlines()
    commands = [way.partition(": ")[2].strip() for way in ways]
    assert first.startswith("measure it, the quickest first")
    assert commands[0] == "umc measure-ir CURVE.csv --device a"
    assert commands[1].startswith("umc measure-ir --make-stimulus sweep sweep.wav")
    assert commands[2] == "umc pair a=A.wav OTHER=B.wav --reference-device a"
    assert commands[3].startswith("not yet: it needs those of a second phone")
    assert commands[4] == "umc convert --source a --targets synth:20 (train-sec: unified-synth)"
    with pytest.raises(SettingsError, match=r"no record of a") as error:
        choose(DEFAULT_ORDER, "a", ("b",), True, Known({"b": FULL["b"]}, "b"))
    assert "umc measure-ir --device a --blind --reference-device b" in error.value.hint


def test_a_checkpoint_makes_film_gan_possible(tmp_path: Path) -> None:
    weights = tmp_path / "generator.safetensors"
    weights.touch()
    assert choose(("film_gan",), "a", ("b",), False, Known(NO_FLOOR, checkpoint=weights)).converter == "film_gan"


def test_a_refiner_is_preferred_to_what_it_refines(tmp_path: Path) -> None:
    weights = tmp_path / "refiner.safetensors"
    weights.touch()
    chosen = [
        choose(DEFAULT_ORDER, "a", ("b",), False, Known(FULL, recorded, refiner=weights)).converter
        for recorded in ("ab", "")
    ]
    assert chosen == ["refiner_transport", "refiner"]
    assert choose(DEFAULT_ORDER, "a", ("b",), False, Known(NO_FLOOR, "ab", refiner=weights)).converter == "quantile"


def test_no_other_device_is_an_error() -> None:
    with pytest.raises(SettingsError, match="no device besides a"):
        choose(DEFAULT_ORDER, "a", (), True, Known(FULL))
