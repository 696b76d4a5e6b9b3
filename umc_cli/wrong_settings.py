"""What is wrong with a setting, in words that a user knows."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from umc_cli.errors import closest

COMMAND_LINE = "the command line"
"""Where a value came from that was typed."""

_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not a known name",
    "literal_error": lambda about: f"must be {about['expected']}",
    "enum": lambda about: f"must be {about['expected']}",
    "greater_than_equal": lambda about: f"must be at least {_plain(about['ge'])}",
    "greater_than": lambda about: f"must be more than {_plain(about['gt'])}",
    "less_than_equal": lambda about: f"must be at most {_plain(about['le'])}",
    "less_than": lambda about: f"must be less than {_plain(about['lt'])}",
    "finite_number": lambda _: "must be a finite number",
    "int_from_float": lambda _: "must be a whole number",
    "int_parsing_size": lambda _: "is too long for a number",
    "too_short": lambda about: f"must have at least {about['min_length']} items",
    "too_long": lambda about: f"must have at most {about['max_length']} items",
    "value_error": lambda about: str(about["error"]),
}
"""By the kind of error."""

_TYPES = {
    "int": "a whole number", "float": "a number", "string": "text", "bool": "true or false", "path": "a path",
    "tuple": "a list", "list": "a list", "dict": "a table of settings", "model": "a table of settings",
    "mapping": "a table of settings",
}  # fmt: skip


def _plain(limit: Any) -> str:
    """Return a limit without needless digits: `0`, not `0.0`."""
    return str(int(limit)) if isinstance(limit, float) and limit.is_integer() else str(limit)


def explain(error: ValidationError, origins: Mapping[str, str], names: Mapping[str, str], section: str) -> str:
    """Return every fault that `error` found in the settings of a `section`, and where each value came from.

    `names`: of all settings, and the option of each; empty for one that has none.
    """
    return "; ".join(_explain_one(item, origins, names, section) for item in error.errors())


def first_fault(error: ValidationError) -> str:
    """Return where the first fault of a document is, and what is wrong there: `hop: must be a whole number`."""
    item = error.errors()[0]
    where = ".".join(str(part) for part in item["loc"])
    return f"{where}: {_reason(item)}" if where else _reason(item)


def _explain_one(item: ErrorDetails, origins: Mapping[str, str], names: Mapping[str, str], section: str) -> str:
    path = [str(part) for part in item["loc"]]
    if not path:
        return f"settings of {section}: {_reason(item)}"
    option, origin = names.get(path[0], ""), origins.get(path[0], "")
    is_typed = origin == COMMAND_LINE and option
    setting = option if is_typed else f"setting {'.'.join(path)!r}" + (f" from {origin}" if origin else "")
    if item["type"] == "extra_forbidden":
        guess = closest(path[0], names) if len(path) == 1 else None
        return f"{setting}: there is no such setting of {section}" + (f"; did you mean {guess!r}?" if guess else "")
    if item["type"] == "missing":
        return f"{setting} is required" + (f": give {option}" if option else "")
    return f"{setting} is {_shown(item['input'])}: {_reason(item)}"


def _reason(item: ErrorDetails) -> str:
    kind = item["type"]
    if kind in _WORDS:
        return _WORDS[kind](item.get("ctx", {})) + _guess_of(item)
    type_name = kind.partition("_")[0]
    return f"must be {_TYPES[type_name]}" if type_name in _TYPES else item["msg"].lower()


def _guess_of(item: ErrorDetails) -> str:
    """Return a question after the words that were expected, if what was given is near one of them."""
    if item["type"] not in ("literal_error", "enum") or not isinstance(item["input"], str):
        return ""
    near = closest(item["input"], re.findall(r"'([^']*)'", item.get("ctx", {})["expected"]))
    return f"; did you mean {near!r}?" if near else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
