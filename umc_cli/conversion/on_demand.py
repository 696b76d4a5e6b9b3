"""Classes that are imported when they are called: whoever only wants to know what there is loads no torch."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def on_demand(module: str, name: str) -> Callable[..., Any]:
    """Return a function that calls `name` of the module `umc_cli.conversion.<module>`, which it imports."""

    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(import_module(f"umc_cli.conversion.{module}"), name)(*arguments, **named)

    return call
