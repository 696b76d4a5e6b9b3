"""Options that several commands share."""

from collections.abc import Callable
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: every failed input, what was left out.")]


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """Return a function that completes one of a few words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def complete_device_ids(incomplete: str) -> list[str]:
    """Return the device ids that begin with what was typed, for shell completion."""
    from pathlib import Path

    from umc_cli.config import find_workspace
    from umc_cli.response.device import DeviceRegistry

    ids = DeviceRegistry(find_workspace(Path.cwd()).devices).ids()
    typed, _, last = incomplete.rpartition(",")
    return [f"{typed},{name}" if typed else name for name in ids if name.startswith(last)]
