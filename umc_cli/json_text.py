"""JSON that strangers may have written."""

import json
from typing import Any

_MOST_LEVELS = 64
"""Whatever walks through nested values (`repr`, `json.dumps`) would fail at about a thousand levels."""


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: it is no JSON or no UTF-8, is nested deeper than 64 levels, or holds a number without end.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [content]
    for _ in range(_MOST_LEVELS):
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return content
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
    raise ValueError("it is nested too deeply")
