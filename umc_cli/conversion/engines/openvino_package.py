"""The package `openvino`, imported without its reports to an analytics server.

Its import, and every conversion of a model, send an event and keep a client id in the user's home folder; where there
is no home folder the import fails. Where the package `openvino_telemetry` is absent it does without either, so that
package is hidden from it. So is its converter of models at first, which takes longer to load than all else of it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"
_CONVERTER = "openvino.tools.ovc"


def is_installed() -> bool:
    """Tell whether OpenVINO is there; it is not made for every processor."""
    return importlib.util.find_spec("openvino") is not None


@cache
def core() -> Any:
    """Return OpenVINO's only core in this process, which is never dropped.

    The CPU plugin lets the thread that loads it handle signals on a stack of the plugin's own. Unloaded from another
    thread, or while a second core has one, it frees that stack and leaves it in use: the next Ctrl-C is a segmentation
    fault.
    """
    with without(_TELEMETRY), without(_CONVERTER):
        openvino = importlib.import_module("openvino")
    return openvino.Core()


@cache
def failure() -> str | None:
    """Say why an installed OpenVINO cannot be used here, if so: a library that is missing or of another system."""
    try:
        core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # Whatever its import runs into: the engine is one of several.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Let `import openvino_telemetry` fail inside the block, unless it was imported before."""
    with without(_TELEMETRY):
        yield


@contextmanager
def without(module: str) -> Iterator[None]:
    """Let the import of a module fail inside the block, unless it was imported before."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
