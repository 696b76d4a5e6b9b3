"""Put the real help texts of the commands into the pages.

    python docs/refresh_help.py

A page names a command in a comment, `<!-- help: umc devices show -->`; the fenced block behind it is replaced by what
`umc devices show --help` prints 100 columns wide and without colours. The comment also gets the version of typer that
laid the text out, because layouts differ from version to version; `tests/test_docs.py` compares letter by letter where
that version is installed, and word by word elsewhere.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent

HELP_BLOCK = re.compile(
    r"<!-- help: umc(?P<command>[a-z -]*?)(?: \(typer (?P<typer>\S+)\))? -->\n+```text\n(?P<text>.*?)```", re.DOTALL
)
"""A marked place in a page: the comment, then a fenced block."""

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


def page_of(name: tuple[str, ...]) -> Path:
    """Return the page on which a command's help text belongs."""
    return DOCS / "commands" / f"{name[0]}.md" if name else DOCS / "index.md"


def refreshed(page: str) -> str:
    """Return a page with all its help texts renewed."""

    def renew(match: re.Match[str]) -> str:
        command = match["command"].strip()
        name = tuple(command.split())
        marker = f"<!-- help: {' '.join(('umc', *name))} (typer {version('typer')}) -->"
        return f"{marker}\n\n```text\n{help_text(name)}```"

    return HELP_BLOCK.sub(renew, page)


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
