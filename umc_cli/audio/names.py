"""Names as text: one spelling of what people read as one name, and files found in whichever form their name has.

Unicode can write `ü` as one character (NFC) or as `u` and a mark (NFD, as macOS does); both look the same. Blanks at
the ends of a name are not seen either.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_BLANK_AT_AN_END = re.compile(r"(^|/)\s|\s(/|$)")

_MOST_NAMED = 3
"""Groups of names that a warning shows."""


def plain_name(text: str) -> str:
    """Return a label, device or recording as it is compared and stored: NFC, without blanks at its ends."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text).strip()


def plain_path(text: str) -> str:
    """Return a name made of a path, every part of it as by `plain_name`; a part of blanks alone stays."""
    if text.isascii() and not _BLANK_AT_AN_END.search(text):
        return text
    return "/".join(plain_name(part) or part for part in text.split("/"))


class FilesOnDisk:
    """Finds files whose name on the disk is another form of the same text; every folder is listed once."""

    def __init__(self) -> None:
        """Begin with no folder listed."""
        self._spellings: dict[str, dict[str, str]] = {}

    def spelled(self, file: str) -> str:
        """Return the path as the disk spells it, or as it is where the disk has no such file in either form."""
        if file.isascii() or os.path.lexists(file):
            return file
        folder, name = os.path.split(file)
        if not name or folder == file:
            return file
        folder = self.spelled(folder)
        if folder not in self._spellings:
            try:
                self._spellings[folder] = {unicodedata.normalize("NFC", each): each for each in os.listdir(folder)}  # noqa: PTH208
            except OSError:
                self._spellings[folder] = {}
        found = self._spellings[folder].get(unicodedata.normalize("NFC", name))
        return file if found is None else os.path.join(folder, found)  # noqa: PTH118


def lookalikes(kind: str, names: Iterable[str]) -> list[str]:
    """Return a warning about different names that people may take for one: other case, width, blanks or hidden marks.

    `kind`: of the names, in the plural. Empty where there are no such names.
    """
    names = set(names)
    if len({hash(_as_seen(name)) for name in names}) == len(names):  # a million names would take much memory below
        return []
    alike = defaultdict(list)
    for name in sorted(names):
        alike[_as_seen(name)].append(name)
    groups = [" and ".join(map(ascii, group)) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    more = f"; and {len(groups) - _MOST_NAMED} more" if len(groups) > _MOST_NAMED else ""
    return [
        f"{kind} look alike but differ: {'; '.join(groups[:_MOST_NAMED])}{more}. "
        "If they mean the same, spell them the same way"
    ]


def _as_seen(name: str) -> str:
    if name.isascii():
        return " ".join(name.lower().split())
    folded = unicodedata.normalize("NFKC", name).casefold()
    shown = "".join(each for each in folded if unicodedata.category(each) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", shown).split())
