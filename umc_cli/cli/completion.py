"""What the shell completes."""

from collections.abc import Callable


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """Return a function that completes one of a few words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def complete_device_ids(incomplete: str) -> list[str]:
    """Return the device ids that begin with what was typed after the last comma."""
    from pathlib import Path

    from umc_cli.config import find_workspace
    from umc_cli.response.device import DeviceRegistry

    ids = DeviceRegistry(find_workspace(Path.cwd()).devices).ids()
    typed, _, last = incomplete.rpartition(",")
    return [f"{typed},{name}" if typed else name for name in ids if name.startswith(last)]
