"""Untrusted JSON, and JSON documents that name their format and version."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umc_cli.errors import SettingsError

_MOST_LEVELS = 64
"""Whatever walks through nested values (`repr`, `json.dumps`) would fail at about a thousand levels."""


def parse_json(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: it is not JSON or not UTF-8, is nested deeper than 64 levels, or has a number with too many digits.
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


@dataclass(frozen=True)
class JsonFormat:
    """A kind of document: its fields `format` and `format_version` say that it is one, and which version."""

    name: str
    version: int
    noun: str
    """What messages call it: `device record`."""
    where: str
    """Hint where there is none, or another file: `see umc devices`."""
    again: str
    """What to do with one that is broken or of another version: `make the record again`."""

    @property
    def header(self) -> dict[str, Any]:
        """Return the fields that every such document begins with."""
        return {"format": self.name, "format_version": self.version}

    def read(self, path: Path) -> dict[str, Any]:
        """Return what the file holds.

        Raises:
            SettingsError: it cannot be read, is not JSON, is another document, or of another version.
        """
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"cannot read {self.noun} {path}: {error.strerror}", self.where) from error
        except ValueError as error:
            raise SettingsError(f"{self.noun} {path} is not JSON: {error}", f"restore it, or {self.again}") from error
        return self.check(content, path)

    def check(self, content: Any, path: Path) -> dict[str, Any]:
        """Return the content of a document, which stands in the file `path`.

        Raises:
            SettingsError: it is another document, or of another version.
        """
        if not isinstance(content, dict) or content.get("format") != self.name:
            raise SettingsError(f"{path} is not a {self.noun}: its format is not {self.name!r}", self.where)
        if content.get("format_version") != self.version:
            raise SettingsError(
                f"{self.noun} {path} has format version {content.get('format_version')!r}; "
                f"this umc reads {self.version}",
                f"update umc, or {self.again}",
            )
        return content
