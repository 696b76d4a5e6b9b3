"""Reading from a disk or network that may not answer: nobody waits for it longer than asked."""

import os
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

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
    hand = _of_this_thread.__dict__.pop("hand", None) or _Hand()
    hand.tasks.put((read, result))
    for _ in range(_WAITS):
        with suppress(TimeoutError):
            result.exception(timeout_s / _WAITS)
        if result.done():
            _of_this_thread.hand = hand  # one that hangs is not asked again
            try:
                return result.result()
            finally:
                del result  # else it and what was raised keep each other, with all that was being read
    raise TimedOutError(
        f"reading took longer than {timeout_s:g} s",
        "check the disk or the network that it lies on, then run again; --reader-timeout-s gives more time",
    )


class _Hand:
    """A thread that reads for another one, again and again: to start one costs as much as to decode half a second.

    It ends when nobody can ask it any more.
    """

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        weakref.finalize(self, self.tasks.put, None).atexit = False  # woken then, a thread may end the process badly
        threading.Thread(target=_do, args=(self.tasks,), name="umc-file", daemon=True).start()


def _do(tasks: "queue.SimpleQueue[Any]") -> None:
    while (task := tasks.get()) is not None:
        read, result = task
        try:
            result.set_result(read())
        except BaseException as error:
            result.set_exception(error)
        del task, read, result  # or a long recording would be kept until the next one


_of_this_thread = threading.local()

if hasattr(os, "register_at_fork"):  # the threads stay in the parent
    os.register_at_fork(after_in_child=lambda: _of_this_thread.__dict__.clear())
