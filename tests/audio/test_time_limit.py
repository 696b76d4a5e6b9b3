import gc
import subprocess
import sys
import threading
import time
import weakref
from functools import partial

import pytest

from umc_cli.audio.time_limit import TimedOutError, within
from umc_cli.errors import InputError


def test_one_thread_reads_for_a_caller_until_it_hangs() -> None:
    release = threading.Event()
    first = within(10, threading.current_thread)
    assert within(10, threading.current_thread) is first
    assert first is not threading.current_thread()
    with pytest.raises(TimedOutError, match=r"reading took longer than 0\.1 s"):
        within(0.1, release.wait)
    second = within(10, threading.current_thread)
    assert second is not first
    release.set()
    first.join(10)  # nobody asks it any more
    assert not first.is_alive()


def test_each_caller_has_a_thread_that_ends_with_it() -> None:
    found: list[threading.Thread] = []
    caller = threading.Thread(target=lambda: found.append(within(10, threading.current_thread)))
    caller.start()
    caller.join(10)
    found[0].join(10)
    assert not found[0].is_alive()
    assert within(10, threading.current_thread) is not found[0]


def test_what_a_failed_read_held_goes_with_it() -> None:
    """Files and resamplers, not some time later: libraries complain of what is left when Python ends."""

    class Held:
        pass

    def read(held: Held) -> None:
        raise InputError("is broken", f"{held}")

    held = Held()
    still_there = weakref.ref(held)
    gc.disable()
    try:
        with pytest.raises(InputError, match="is broken"):
            within(10, partial(read, held))
        del held
        deadline = time.monotonic() + 10
        while still_there() is not None and time.monotonic() < deadline:
            time.sleep(0.01)  # the reading thread lets go of it in its own time
        assert still_there() is None
    finally:
        gc.enable()


def test_what_reading_raises_is_raised_at_once() -> None:
    def refused() -> None:
        raise TimeoutError("of the network")

    started = time.monotonic()
    with pytest.raises(TimeoutError, match="of the network"):
        within(60, refused)
    assert time.monotonic() - started < 5


def test_the_end_of_the_process_wakes_no_thread() -> None:
    """Python ends a thread that runs then by force, and one that is freeing a tensor takes the process down (-6)."""
    script = """
import atexit, threading, time
def look():
    time.sleep(0.2)
    print(sorted(thread.name for thread in threading.enumerate()))
atexit.register(look)  # the first to be registered is the last to be called
from umc_cli.audio.time_limit import within
within(10, int)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['MainThread', 'umc-file']\n"
