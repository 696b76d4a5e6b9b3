"""Put the real help texts and settings of the commands into the pages.

    python docs/refresh_help.py

A page names a command in a comment, `<!-- help: umc devices show -->`; the fenced block behind it is replaced by what
`umc devices show --help` prints 100 columns wide and without colours. The comment also gets the version of typer that
laid the text out, because layouts differ from version to version; `tests/test_docs.py` compares letter by letter where
that version is installed, and word by word elsewhere.

A comment `<!-- settings: convert -->` names a section of umc.toml; the table after it is replaced by one made from the
settings class.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent

HELP_BLOCK = re.compile(
    r"<!-- help: umc(?P<command>[a-z -]*?)(?: \(typer (?P<typer>\S+)\))? -->\n+```text\n(?P<text>.*?)```", re.DOTALL
)
"""A marked place in a page: the comment, then a fenced block."""

SETTINGS_TABLE = re.compile(r"<!-- settings: (?P<section>[a-z-]+) -->\n+(?P<table>(?:\|.*\n)*)\n*")
"""A marked place in a page: the comment, then a table."""

_RUN_UMC = "import sys; sys.argv[0] = 'umc'; from umc_cli.cli.app import main; main()"


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command of `umc` with its name, `("devices", "show")` for example; `()` is `umc` itself."""
    import typer.main

    from umc_cli.cli.app import app

    def walk(name: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield name, command
        for word, below in sorted(getattr(command, "commands", {}).items()):
            yield from walk((*name, word), below)

    return walk((), typer.main.get_command(app))


def help_text(name: tuple[str, ...]) -> str:
    """Return what `umc <name> --help` prints, without empty lines around it and spaces at line ends."""
    environment = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "GITHUB_ACTIONS")}
    environment |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUTF8": "1"}
    arguments = [sys.executable, "-c", _RUN_UMC, *name, "--help"]
    shown = subprocess.run(arguments, env=environment, capture_output=True, encoding="utf-8", check=True).stdout
    return "\n".join(line.rstrip() for line in shown.strip("\n").splitlines()).strip() + "\n"


def schemas() -> dict[str, tuple[type[Any], Mapping[str, Any]]]:
    """Return the settings class of every section of umc.toml, and its presets."""
    from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
    from umc_cli.conversion.converter_training.pretraining_settings import PRETRAINING_PRESETS
    from umc_cli.sec.classifier_settings import SEC_PRESETS
    from umc_cli.settings.convert import ConvertSettings
    from umc_cli.settings.eval_conversion import EvaluateConversionSettings
    from umc_cli.settings.eval_layers import EvaluateLayersSettings
    from umc_cli.settings.eval_sec import EvaluateSecSettings
    from umc_cli.settings.measure_ir import MakeStimulusSettings, MeasureIrSettings
    from umc_cli.settings.pair import PairSettings
    from umc_cli.settings.pretrain import PretrainSettings
    from umc_cli.settings.simulate import SimulateSettings
    from umc_cli.settings.synth_fr import SynthFrSettings
    from umc_cli.settings.train import TrainSettings
    from umc_cli.settings.train_sec import TrainSecSettings

    return {
        "convert": (ConvertSettings, {}),
        "train": (TrainSettings, ADVERSARIAL_PRESETS),
        "pretrain": (PretrainSettings, PRETRAINING_PRESETS),
        "train-sec": (TrainSecSettings, SEC_PRESETS),
        "measure-ir": (MeasureIrSettings, {}),
        "make-stimulus": (MakeStimulusSettings, {}),
        "pair": (PairSettings, {}),
        "synth-fr": (SynthFrSettings, {}),
        "simulate": (SimulateSettings, {}),
        "eval": (EvaluateSecSettings, {}),
        "eval-conversion": (EvaluateConversionSettings, {}),
        "eval-layers": (EvaluateLayersSettings, {}),
    }


def settings_table(section: str) -> str:
    """Return the table of a section's settings: options first, settings that are none after them."""
    from umc_cli.cli.settings_options import own_first
    from umc_cli.config import Option

    schema, presets = schemas()[section]
    fields = sorted(own_first(schema), key=lambda item: (Option.of(item[1]) is None, not item[1].is_required()))
    of_presets = {name for preset in presets.values() for name in preset.model_fields_set}
    rows = [["option or setting", "default", *(f"`{name}`" for name in presets), "meaning"]]
    rows.append(["---"] * len(rows[0]))
    for name, field in fields:
        mark = Option.of(field)
        option = mark.name_of(name) if mark else name
        values = [_shown(getattr(preset, name)) if name in of_presets else "" for preset in presets.values()]
        default = "" if name in of_presets else _default(field, mark)
        is_renamed = option.strip("-").replace("-", "_") != name
        called = f"`{option}`" + (f" (`{name}`)" if is_renamed else "")
        rows.append([called, default, *values, " ".join((field.description or "").split())])
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _default(field: Any, mark: Any) -> str:
    if field.is_required():
        return "required"
    return mark.default if mark and mark.default else _shown(field.get_default(call_default_factory=True))


def _shown(value: Any) -> str:
    """Return a value as a table shows it."""
    value = getattr(value, "value", value)
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    if hasattr(value, "model_dump"):
        return "; ".join(f"`{name}` {_shown(inner)}" for name, inner in value)
    return str(value)


def page_of(name: tuple[str, ...]) -> Path:
    """Return the page on which a command's help text belongs."""
    return DOCS / "commands" / f"{name[0]}.md" if name else DOCS / "index.md"


def refreshed(page: str) -> str:
    """Return a page with all its help texts and tables of settings renewed."""

    def renew(match: re.Match[str]) -> str:
        command = match["command"].strip()
        name = tuple(command.split())
        marker = f"<!-- help: {' '.join(('umc', *name))} (typer {version('typer')}) -->"
        return f"{marker}\n\n```text\n{help_text(name)}```"

    def renew_table(match: re.Match[str]) -> str:
        return f"<!-- settings: {match['section']} -->\n\n{settings_table(match['section'])}\n"

    return SETTINGS_TABLE.sub(renew_table, HELP_BLOCK.sub(renew, page))


def main() -> None:
    """Renew all pages and name those that changed."""
    for path in sorted(DOCS.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"renewed {path.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()
