"""What can go wrong, as the user should read it: what failed, and what to do about it."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class UmcError(Exception):
    """A failure that the user can act on.

    `message` names what failed and where (the file, the option, the value); `hint` says what to do.
    `exit_code` is what the process ends with if nothing above handles it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(UmcError):
    """Wrong usage: an option, a setting, a manifest or a device record that does not make sense."""


class InputError(UmcError):
    """One input cannot be used; a batch lists it and goes on with the others."""

    exit_code = 1


class EnvironmentFault(UmcError):  # noqa: N818 - a fault, not an error of the user
    """The machine failed, not the input: disk full, folder read-only, device lost, output locked."""

    exit_code = 3


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` most likely was meant to be, if any is near."""
    by_lower = {name.lower(): name for name in known}
    return next((by_lower[name] for name in get_close_matches(word.lower(), by_lower, n=1)), None)


def did_you_mean(word: str, known: Iterable[str], things: str) -> str:
    """Return a hint for a word that is not among the `known` ones: a guess if one is near, and all of them."""
    names = list(known)
    return f"{guess(word, names)}known {things}: {', '.join(names) or 'none'}"


def guess(word: str, known: Iterable[str]) -> str:
    """Return a question to begin a hint with: what `word` most likely was meant to be; empty if nothing is near."""
    near = closest(word, known)
    return f"did you mean {near!r}? " if near else ""
