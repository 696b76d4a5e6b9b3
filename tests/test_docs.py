"""The pages say what the program does: help texts, settings, formats, plug-ins, examples and links."""

import functools
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import umc_cli
from tests.samples import Run
from umc_cli.config import SECTIONS, find_workspace
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.engines import ENGINES
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS, GeneratorSettings
from umc_cli.evaluation.conversion_measures import MEASURES
from umc_cli.evaluation.device_table import DeviceMean, RowScores, SourceMatrix, TableRow
from umc_cli.evaluation.macro_f1 import DeviceScores
from umc_cli.evaluation.mutual_information import Estimate, ProbedStatistic
from umc_cli.evaluation.paired_comparison import Comparison, McNemar, PairedDifference
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.response.synthesis import METHODS
from umc_cli.response.synthesis.coverage import CoverageReport, MethodCoverage
from umc_cli.response.synthesis_settings import LevelSettings
from umc_cli.sec.augmentations import AUGMENTATIONS
from umc_cli.sec.methods import METHODS as SEC_METHODS
from umc_cli.sec.predictions import EvaluatedDevice
from umc_cli.settings.convert import ConvertSettings
from umc_cli.settings.eval_conversion import EvaluateConversionSettings
from umc_cli.settings.eval_layers import EvaluateLayersSettings
from umc_cli.settings.eval_sec import EvaluateSecSettings
from umc_cli.settings.synth_fr import SynthFrSettings
from umc_cli.shards.schema import NUMBER_COLUMNS, TEXT_COLUMNS, ShardHeader
from umc_cli.silence import SILENT
from umc_cli.simulation.sound_events import write_sound_events
from umc_cli.workflows.convert import convert
from umc_cli.workflows.convert_report import ConvertReport
from umc_cli.workflows.evaluate_conversion import EvaluateConversionReport, MeasuredTarget
from umc_cli.workflows.evaluate_layers import EvaluateLayersReport
from umc_cli.workflows.evaluate_sec import EvaluateSecReport, ModelReport
from umc_cli.workflows.synth_fr import DrawnDifferences, SynthFrReport
from umc_cli.workflows.train import TrainReport

pytestmark = pytest.mark.xdist_group("examples")  # help texts and the workspace of the examples are made once

TABLE_PARTS = (TableRow, RowScores, DeviceMean, SourceMatrix, DeviceScores, Comparison, PairedDifference, McNemar)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
REFRESH = "renew the pages with: python docs/refresh_help.py"

HEAVY_MODULES = (
    "torch", "torchaudio", "librosa", "h5py", "hdf5plugin", "openvino", "matplotlib", "scipy", "soundfile", "soxr",
)  # fmt: skip


def _load_refresh_help() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh_help", DOCS / "refresh_help.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


refresh_help = _load_refresh_help()
COMMANDS: dict[tuple[str, ...], Any] = dict(refresh_help.commands())
shown_help = functools.cache(refresh_help.help_text)


def _command_line(name: tuple[str, ...]) -> str:
    return " ".join(("umc", *name))


def _page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w,.-]*\w", text))


def _help_blocks(page: Path) -> dict[str, re.Match[str]]:
    found = refresh_help.HELP_BLOCK.finditer(page.read_text(encoding="utf-8"))
    return {f"umc{match['command']}": match for match in found}


# Help texts


@pytest.mark.parametrize("name", COMMANDS, ids=_command_line)
def test_page_holds_the_help_text_of_its_command(name: tuple[str, ...]) -> None:
    page = refresh_help.page_of(name)
    assert page.is_file(), f"`{_command_line(name)}` has no page {_page_name(page)}"
    block = _help_blocks(page).get(_command_line(name))
    assert block, f"{_page_name(page)} lacks the comment <!-- help: {_command_line(name)} --> and a fenced block"
    if block["typer"] == version("typer"):
        assert block["text"] == shown_help(name), f"{_page_name(page)} is out of date; {REFRESH}"
    else:  # Another typer lays the same text out in another way.
        for parameter in COMMANDS[name].params:
            options = [option for option in parameter.opts if option.startswith("-")]
            missing = _words(" ".join([parameter.help, *options])) - _words(block["text"])
            assert not missing, f"{_page_name(page)} lacks {missing} of {parameter.name}; {REFRESH}"


def test_no_page_shows_the_help_of_a_command_that_is_gone() -> None:
    known = {_command_line(name) for name in COMMANDS}
    for page in PAGES:
        assert set(_help_blocks(page)) <= known, _page_name(page)


@pytest.mark.parametrize("name", COMMANDS, ids=_command_line)
def test_every_command_and_option_has_a_help_text(name: tuple[str, ...]) -> None:
    command = COMMANDS[name]
    assert (command.help or "").strip(), f"`{_command_line(name)}` has no help text"
    for parameter in command.params:
        assert (getattr(parameter, "help", None) or "").strip(), f"{parameter.opts} of `{_command_line(name)}`"


@pytest.mark.parametrize("name", COMMANDS, ids=_command_line)
def test_no_word_of_a_help_text_is_lost_on_the_way_to_the_terminal(name: tuple[str, ...]) -> None:
    # rich takes [brackets] for markup and drops them.
    command = COMMANDS[name]
    written = " ".join([command.help or "", *(parameter.help for parameter in command.params)])
    lost = _words(written) - _words(shown_help(name))
    assert not lost, f"`{_command_line(name)} --help` does not show {sorted(lost)}: escape the bracket as \\\\["


@pytest.mark.parametrize("arguments", [(), ("--help",), ("convert", "--help"), ("--version",)], ids=str)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    script = f"""
import sys
sys.argv = ["umc", *{arguments!r}]
from umc_cli.cli.app import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write("loaded:" + ",".join(name for name in {HEAVY_MODULES!r} if name in sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr.rpartition("loaded:")[2] == ""
    assert "umc" in run.stdout


# Tables of settings


@pytest.mark.parametrize("section", [section for section in SECTIONS if section != "workspace"])
def test_table_of_settings_is_that_of_its_class(section: str) -> None:
    tables = [
        (page, match["table"])
        for page in PAGES
        for match in refresh_help.SETTINGS_TABLE.finditer(page.read_text(encoding="utf-8"))
        if match["section"] == section
    ]
    assert len(tables) == 1, f"no page, or several, hold the comment <!-- settings: {section} -->"
    page, table = tables[0]
    assert table == refresh_help.settings_table(section), f"{_page_name(page)} is out of date; {REFRESH}"


@pytest.mark.parametrize("section", [section for section in SECTIONS if section != "workspace"])
def test_every_setting_says_what_it_means(section: str) -> None:
    schema, _ = refresh_help.schemas()[section]
    assert not [name for name, field in schema.model_fields.items() if not (field.description or "").strip()]


def test_a_table_of_settings_has_presets_defaults_and_names() -> None:
    rows = refresh_help.settings_table("train").splitlines()
    assert "| `--epochs` |  | 100 | 30 | 100 | Passes over the training segments. |" in rows
    assert "| `beta1` | 0.5 |  |  |  | Adam's decay of the mean of the gradients. |" in rows
    assert refresh_help.settings_table("convert").splitlines()[2] == (
        "| `--source` | required | Device that made the recordings. |"
    )
    renamed = refresh_help.settings_table("make-stimulus").splitlines()[2]
    assert renamed == "| `--rate` (`sample_rate_hz`) | 48000 | Sample rate in Hz. |"


# Names that pages must explain


def test_train_sec_page_names_every_method_and_every_key_of_the_json_report() -> None:
    page = (DOCS / "commands" / "train-sec.md").read_text(encoding="utf-8")
    table = page.partition("\n## Methods\n")[2].partition("\n\n## ")[0]
    first_cells = "\n".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))
    assert not {name for name in SEC_METHODS if f"`{name}`" not in first_cells}
    assert not {name for name in TrainReport.__dataclass_fields__ if f"`{name}`" not in page}


def test_train_page_names_every_key_of_the_json_report() -> None:
    page = (DOCS / "commands" / "train.md").read_text(encoding="utf-8")
    assert not {name for name in TrainReport.__dataclass_fields__ if f"`{name}`" not in page}


@pytest.mark.parametrize(
    ("chapter", "settings", "reports"),
    [
        ("Classifiers", EvaluateSecSettings, [EvaluateSecReport, ModelReport, EvaluatedDevice, *TABLE_PARTS]),
        ("Conversions", EvaluateConversionSettings, [EvaluateConversionReport, MeasuredTarget]),
        ("Layers", EvaluateLayersSettings, [EvaluateLayersReport, ProbedStatistic, Estimate]),
    ],
    ids=str,
)
def test_eval_page_names_every_setting_and_every_key_of_the_json_reports(
    chapter: str, settings: Any, reports: list[Any]
) -> None:
    page = (DOCS / "commands" / "eval.md").read_text(encoding="utf-8")
    text = re.findall(rf"^## {chapter}\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)[0]
    rows = re.findall(r"^\| `--([a-z-]+)` \|", text, re.MULTILINE)
    assert {option.replace("-", "_") for option in rows} == set(settings.model_fields)
    keys = {name for report in reports for name in report.__dataclass_fields__}
    assert not {name for name in keys if f"`{name}`" not in text}


def test_synth_fr_page_names_every_setting_and_every_key_of_the_json_report() -> None:
    page = (DOCS / "commands" / "synth-fr.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--([a-z-]+)` \|", page, re.MULTILINE)
    options = {name.replace("-", "_") for name in rows} - {"setting"} | {"method_settings", "levels"}
    assert options == set(SynthFrSettings.model_fields)
    of_methods = {name for method in METHODS.values() for name in method.settings.model_fields}
    for_figures_only = {"nearest_db", "rank"}
    keys = {
        name
        for report in (SynthFrReport, DrawnDifferences, CoverageReport, MethodCoverage)
        for name in report.__dataclass_fields__
    }
    assert not {name for name in (keys - for_figures_only) | of_methods if f"`{name}`" not in page}
    assert not {name for name in LevelSettings.model_fields if f"\n{name} = " not in page}


def test_every_measure_of_a_conversion_is_defined() -> None:
    page = (DOCS / "conversion-metrics.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(MEASURES)


@pytest.mark.parametrize(
    ("chapter", "key"),
    [
        *(("Converters", key) for key in CONVERTERS),
        *(("Engines", key) for key in ENGINES),
        *(("Methods of synth-fr", key) for key in METHODS),
        *(("SEC methods", key) for key in AUGMENTATIONS),
    ],
)
def test_every_plugin_has_a_section_that_says_what_it_does_not_do(chapter: str, key: str) -> None:
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    chapters = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    sections = dict(re.findall(r"^### `([\w-]+)`\n(.*?)(?=^### |\Z)", chapters[chapter], re.MULTILINE | re.DOTALL))
    assert key in sections, f"docs/extending.md has no section `{key}` in the chapter {chapter}"
    assert "does not" in sections[key]


def test_no_section_is_left_of_a_plugin_that_is_gone() -> None:
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### `([\w-]+)`", page, re.MULTILINE)) == {
        *CONVERTERS, *ENGINES, *METHODS, *AUGMENTATIONS,
    }  # fmt: skip


@pytest.mark.parametrize("key", AUGMENTATIONS)
def test_section_of_a_sec_method_has_its_settings_and_their_defaults(key: str) -> None:
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    chapter = page.partition("\n## SEC methods\n")[2].partition("\n## ")[0]
    section = " ".join(chapter.partition(f"\n### `{key}`\n")[2].partition("\n### ")[0].split())
    for name, default in AUGMENTATIONS[key].settings().model_dump(mode="json").items():
        if isinstance(default, bool):
            shown = str(default).lower()
        elif isinstance(default, str):
            shown = f"`{default}`"
        else:
            shown = " to ".join(f"{value:g}" for value in (default if isinstance(default, list) else [default]))
        assert f"`{name}` {shown}" in section, f"{key}: {name} {shown}"


def test_file_formats_name_every_field() -> None:
    page = (DOCS / "file-formats.md").read_text(encoding="utf-8")
    fields = {*Device.model_fields, *TEXT_COLUMNS, *NUMBER_COLUMNS, *GeneratorSettings.model_fields}
    fields |= set(ShardHeader.__dataclass_fields__) - {"index"} | {"shard_index", "log_mel", "sha256"}
    assert not {name for name in fields if f"`{name}`" not in page}


def test_file_formats_name_every_key_of_a_real_run(example_workspace: Path) -> None:
    page = (DOCS / "file-formats.md").read_text(encoding="utf-8")
    plan = json.loads((example_workspace / "converted" / "run.json").read_text(encoding="utf-8"))
    names = {*plan, *plan["settings"], *plan["files"][0]}
    assert not {name for name in names if not re.search(rf"[`{{ ]{name}[`,}}]", page)}


def test_method_names_every_preset() -> None:
    page = (DOCS / "method.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in GENERATOR_PRESETS)


def test_every_device_of_the_library_is_in_its_page() -> None:
    page = (DOCS / "devices-library.md").read_text(encoding="utf-8")
    library = DeviceRegistry(ROOT / "no such folder").ids()
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == library


def test_convert_page_names_every_key_of_the_json_report() -> None:
    page = (DOCS / "commands" / "convert.md").read_text(encoding="utf-8")
    assert not {name for name in ConvertReport.__dataclass_fields__ if f"`{name}`" not in page}


def test_changelog_knows_this_version() -> None:
    assert f"## [{umc_cli.__version__}]" in (DOCS / "changelog.md").read_text(encoding="utf-8")


# Links


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{_page_name(page)}: {link}"
        assert not anchor or anchor in _anchors(target), f"{_page_name(page)}: {link}"


def test_every_page_can_be_reached_from_the_index() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"index.md"}
    decisions = {page for page in pages if page.startswith("decisions/")}
    assert decisions == _linked_pages(DOCS / "decisions.md"), "docs/decisions.md lists one page per topic"
    assert pages - decisions == _linked_pages(DOCS / "index.md")


def _linked_pages(page: Path) -> set[str]:
    links = re.findall(r"\]\(([^)#]+\.md)\)", page.read_text(encoding="utf-8"))
    return {link for link in links if not link.startswith("..")}


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_lines_are_short_outside_tables_and_fenced_blocks(page: Path) -> None:
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.lstrip().startswith("|")]
    assert not long


# Examples


def _blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language, also those inside lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


@pytest.fixture(scope="session")
def example_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace as the examples expect it: recordings of xperia1v, converted to two devices.

    Two recordings of a label in split train-sec: one to train on, one that may be held out.
    """
    folder = tmp_path_factory.mktemp("workspace")
    write_sound_events(folder / "data" / "xperia1v", clips_per_class=5, noise_level_dbfs=-75.0, seed=0)
    settings = ConvertSettings(source="xperia1v", targets=("pixel3", "xperia1"))
    convert(find_workspace(folder), settings, None, SILENT)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "python")], ids=_page_name)
def test_python_examples_run(page: Path, example_workspace: Path, run_script: Callable[..., Run]) -> None:
    # As one program, so that a later block may use what an earlier one made.
    script = example_workspace / f"{page.stem}.py"
    script.write_text("\n\n".join(_blocks(page, "python")), encoding="utf-8")
    run = run_script(str(script), cwd=example_workspace)
    assert run.exit_code == 0, run.stderr


def _umc_calls() -> list[tuple[str, str]]:
    calls = []
    for page in PAGES:
        for block in _blocks(page, "sh"):
            for line in block.splitlines():
                for part in re.split(r"&&|\||;", line.partition("#")[0]):
                    if part.split()[:1] == ["umc"]:
                        calls.append((_page_name(page), part.strip()))
    return calls


@pytest.mark.parametrize(("page", "call"), _umc_calls())
def test_shell_examples_use_commands_and_options_that_exist(page: str, call: str) -> None:
    words = shlex.split(call.partition(">")[0])[1:]
    name: tuple[str, ...] = ()
    arguments: list[str] = []
    while words:
        word, *words = words
        if word.startswith("-") and word != "-":
            option = word.partition("=")[0]
            parameter = next(
                (each for each in COMMANDS[name].params if option in (*each.opts, *each.secondary_opts)), None
            )
            assert parameter or option in ("-h", "--help"), f"{page}: `{_command_line(name)}` has no option {option}"
            if parameter and not parameter.is_flag and "=" not in word:
                words = words[1:]
        elif (*name, word) in COMMANDS:
            name = (*name, word)
        else:
            arguments.append(word)
            if name == ("shards",):  # `umc shards ROOT` is short for `umc shards list ROOT`
                name = ("shards", "list")
    places = [each.nargs for each in COMMANDS[name].params if each.param_type_name == "argument"]
    assert -1 in places or len(arguments) <= sum(places), f"{page}: `{_command_line(name)}` cannot take {arguments}"


def test_there_are_shell_examples_of_every_command() -> None:
    shown = "\n".join(call for page, call in _umc_calls())
    for name in COMMANDS:
        assert not name or f"umc {' '.join(name)}".replace(" list", "") in shown, _command_line(name)
