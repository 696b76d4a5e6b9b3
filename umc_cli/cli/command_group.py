"""The commands of `umc`, each loaded when it is called: to load all takes longer than most of them."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup

_MODULES = {
    "convert": "convert",
    "train": "train",
    "train-sec": "train_sec",
    "measure-ir": "measure_ir",
    "pair": "pair",
    "synth-fr": "synth_fr",
    "simulate": "simulate",
    "demo": "demo",
    "init": "init",
    "devices": "devices",
    "eval": "evaluate",
    "shards": "shards",
}
"""In the order of the help. A module of this folder holds `command`, or `app` where it has commands below it."""


class CommandGroup(TyperGroup):
    """`umc` itself; takes no commands but those above."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": Commands()})


class Commands(Mapping[str, Any]):
    """The commands by name."""

    def __getitem__(self, name: str) -> Any:
        if name not in _MODULES:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


@cache
def _load(name: str) -> Any:
    module: Any = import_module(f"umc_cli.cli.{_MODULES[name]}")
    around = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    around.callback()(lambda: None)  # else a single command would be all there is
    if hasattr(module, "app"):
        around.add_typer(module.app, name=name)
    else:
        around.command(name)(module.command)
    group: Any = typer.main.get_command(around)
    return group.commands[name]
