"""Reading from a disk or network that may not answer: nobody waits for it longer than asked."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from umc_cli.errors import InputError

Result = TypeVar("Result")

_WAITS = 10
"""A process that stood still for hours (Ctrl-Z) has lost one of these waits, not its whole time."""


class TimedOutError(InputError):
    """Reading took longer than it may."""


def within(timeout_s: float, read: Callable[[], Result]) -> Result:
    """Return what `read` returns, but wait no longer than `timeout_s`.

    A read that hangs cannot be ended: its thread is left behind, and does not keep the process from ending.

    Raises:
        TimedOutError: it took longer. Whatever `read` raises is raised too.
    """
    result: Future[Result] = Future()

    def run() -> None:
        try:
            result.set_result(read())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="umc-file", daemon=True).start()
    for _ in range(_WAITS):
        with suppress(TimeoutError):
            return result.result(timeout_s / _WAITS)
    raise TimedOutError(
        f"reading took longer than {timeout_s:g} s",
        "check the disk or the network that it lies on, then run again; --reader-timeout-s gives more time",
    )
