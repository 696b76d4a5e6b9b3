"""What can go wrong, as the user should read it: what failed, and what to do about it."""

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
