"""What `torchrun` says to the processes that it starts, read without torch."""

import os

from umc_cli.errors import SettingsError


def n_processes() -> int:
    """Return how many processes train together."""
    return number_of("WORLD_SIZE", 1)


def is_first_process() -> bool:
    """Tell whether this process is the first, or the only one, of those that torchrun started."""
    return number_of("RANK", 0) == 0


def refuse_several(what: str) -> None:
    """Refuse to do alone in several processes what each of them would do.

    Raises:
        SettingsError: torchrun started more than one process.
    """
    if n_processes() > 1:
        raise SettingsError(f"{what} works in one process only", "start it without torchrun")


def number_of(name: str, default: int) -> int:
    """Return the value of a variable of torchrun's.

    Raises:
        SettingsError: it is not a number.
    """
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise SettingsError(f"the variable {name} is {text!r}, not a number", "start the training with torchrun")
    return int(text)
