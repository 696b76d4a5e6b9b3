"""Options of commands come from settings classes."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import Names, Option, Settings


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inherited(Settings):
    hop: Annotated[int, Option("Recordings")] = 20480
    """Samples from one segment to the next."""
    ending: Annotated[Literal["pad", "drop"], Option("Recordings")] = "pad"
    """What to do at the end."""


class Example(Inherited):
    source: Annotated[str, Option()]
    """Device that made the recordings."""
    targets: Annotated[Names, Option()] = ("all",)
    """Devices to convert to."""
    models: Annotated[Names, Option(is_repeated=True, default="all")] = ()
    """Models."""
    label: Annotated[Names, Option(is_whole=True, default="all")] = ()
    """Only this label."""
    output: Annotated[Path | None, Option("Result", ("-o",), default="converted")] = None
    """Output folder."""
    size: Annotated[float, Option("Result", ("--extent",))] = 0.5
    """Extent in m."""
    color: Annotated[Color, Option()] = Color.RED
    """Color of `all`."""
    overwrite: Annotated[bool, Option()] = False
    """Replace what is there."""
    probe: Annotated[bool, Option()] = True
    """Ask, or do not."""
    epochs: Annotated[int, Option()] = 3
    """Passes."""
    ending: Literal["pad", "drop"] = "drop"
    only_in_files: int = 7
    """Not an option."""


def run(*arguments: str, presets: dict[str, Settings] | None = None) -> tuple[dict[str, Any], str]:
    received: dict[str, Any] = {}

    @with_options(Example, "train-sec", presets)
    def command(files: Annotated[list[str] | None, typer.Argument(help="Files.")] = None, *, given: Given) -> None:
        """Do something."""
        received.update(given, files=files)

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return received, " ".join(result.output.split())


def test_what_was_not_typed_is_none() -> None:
    given, _ = run()
    assert set(given) == set(Example.model_fields) - {"only_in_files"} | {"files"}
    assert set(given.values()) == {None}


def test_values_arrive_as_the_settings_take_them() -> None:
    given, _ = run(
        "a.wav", "--source", "x", "--targets", "x", "--targets", "a,b", "--models", "a,b", "--models", "c",
        "--label", "bell, big", "--label", "dog", "-o", "there", "--extent", "2", "--overwrite", "--no-probe",
        "--hop", "300", "--color", "blue",
    )  # fmt: skip
    assert given.pop("files") == ["a.wav"]
    settings = Example.model_validate({name: value for name, value in given.items() if value is not None})
    assert settings == Example(
        source="x", targets=("a", "b"), models=("a", "b", "c"), label=("bell, big", "dog"), output=Path("there"),
        size=2.0, overwrite=True, probe=False, hop=300, color=Color.BLUE,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "Samples from one segment to the next. (default: 20480)",
        "What to do at the end. (default: drop)",
        "Device that made the recordings. │",
        "Devices to convert to. (default: all)",
        "Only this label. (default: all)",
        "Output folder. (default: converted)",
        "Extent in m. (default: 0.5)",
        "Color of all. (default: red)",
        "Replace what is there. │",
        "Ask, or do not. (default: yes)",
        'section "train-sec" of umc.toml or in a variable UMC_TRAIN_SEC_<OPTION>',
    ],
)
def test_the_help_is_the_description_and_the_default(text: str) -> None:
    assert text in run("--help")[1]


def test_a_default_that_presets_decide_is_named_so() -> None:
    _, shown = run("--help", presets={"cpu": Example(source="", epochs=5)})
    assert "Passes. (preset)" in shown


def test_a_setting_without_the_mark_is_no_option() -> None:
    assert "only-in-files" not in run("--help")[1]


def test_a_default_that_says_nothing_must_be_explained() -> None:
    class Vague(Settings):
        level: Annotated[float | None, Option()] = None
        """Level."""

    with pytest.raises(TypeError, match=r"default is None says in Option\(default=...\)"):
        with_options(Vague, "convert")


def test_words_that_the_shell_completes_are_all_that_there_are() -> None:
    """They are typed again in modules that do not load torch."""
    from umc_cli.conversion.chosen.conversion_settings import (
        CONVERTER_NAMES,
        CONVERTERS_WITH_NETWORK,
        ConverterEngineSettings,
    )
    from umc_cli.conversion.converters import CONVERTERS
    from umc_cli.conversion.converters.contract import Need
    from umc_cli.conversion.engines import ENGINES
    from umc_cli.response.synthesis import METHODS as SYNTHESIS_METHODS
    from umc_cli.sec.methods import METHODS as SEC_METHODS
    from umc_cli.settings.synth_fr import SynthFrSettings
    from umc_cli.settings.train_sec import TrainSecSettings

    def words_of(schema: type[BaseModel], setting: str) -> set[str]:
        mark = Option.of(schema.model_fields[setting])
        return set(mark.words) if mark else set()

    def described(schema: type[BaseModel], setting: str) -> set[str]:
        return set(re.split(r"[\s,.;]+", schema.model_fields[setting].description or ""))

    assert set(CONVERTER_NAMES) == set(CONVERTERS)
    with_network = {name for name, spec in CONVERTERS.items() if {Need.REFINER, Need.CHECKPOINT} & spec.needs}
    assert set(CONVERTERS_WITH_NETWORK) == with_network
    assert words_of(ConverterEngineSettings, "engine") == {"auto", *ENGINES}
    assert set(SYNTHESIS_METHODS) <= words_of(SynthFrSettings, "method")
    assert set(SEC_METHODS) <= described(TrainSecSettings, "method")
