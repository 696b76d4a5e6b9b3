"""Which build of umc this is: its version, and the commit that it was made from, where that is known."""

import re
from pathlib import Path

from umc_cli import __version__

COMMIT_NAME = "_commit.txt"
"""Written into packages when they are built (.ci/commit_hook.py)."""

_COMMIT = re.compile("[0-9a-f]{40}")


def commit(package: Path = Path(__file__).parent) -> str | None:
    """Return the commit of an installed package, or of the checkout that the code lies in; None where neither is known.

    Changes that were not committed are not noticed. Runs no program.
    """
    packed = _text(package / COMMIT_NAME)
    return packed if _COMMIT.fullmatch(packed) else _commit_of_checkout(package.parent)


def version_text() -> str:
    """Return `0.2.0 (1a2b3c4d5e6f)`, or the version alone."""
    known = commit()
    return f"{__version__} ({known[:12]})" if known else __version__


def _commit_of_checkout(root: Path) -> str | None:
    folder = root / ".git"
    if folder.is_file():  # of a further worktree
        folder = root / _text(folder).removeprefix("gitdir:").strip()
    head = _text(folder / "HEAD")
    if not head.startswith("ref:"):
        return head if _COMMIT.fullmatch(head) else None
    name = head.removeprefix("ref:").strip()
    shared = folder / (_text(folder / "commondir") or ".")
    for place in (folder, shared):
        found = _text(place / name)
        if _COMMIT.fullmatch(found):
            return found
    packed = (line.split(" ") for line in _text(shared / "packed-refs").splitlines())
    return next((words[0] for words in packed if len(words) == 2 and words[1] == name), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
