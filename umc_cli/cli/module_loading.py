"""Modules are loaded without garbage collection: torch's 600,000 objects stay, and looking through them takes time."""

import gc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_MANY = 10_000
"""Objects; a load of fewer is cheap to look through, and is not worth exempting."""


class _Loader(SourceFileLoader):
    """Loads one module, and whatever that imports."""

    def exec_module(self, module: ModuleType) -> None:
        gc.disable()
        try:
            super().exec_module(module)
        finally:
            if gc.get_count()[0] > _MANY:  # so many since the last collection
                gc.freeze()  # else the next collection looks through them all
            gc.enable()


class _Finder:
    """Finds what Python's own finder would find."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the module's spec; None, so that others look, where collection is off already."""
        if not gc.isenabled():
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def collect_no_garbage_while_modules_load() -> None:
    """Switch collection off while a module loads, from now on; what a large one leaves is never looked through."""
    if PathFinder in sys.meta_path and _Finder not in sys.meta_path:
        sys.meta_path.insert(sys.meta_path.index(PathFinder), _Finder)
