"""Which builds of umc made the shards of an output folder, beside `run.json`. No part of the run."""

import json
from collections.abc import Mapping
from pathlib import Path

from umc_cli import atomic_write
from umc_cli.build_info import commit
from umc_cli.json_text import parse_json

BUILDS_NAME = "builds.jsonl"


def note_build(root: Path, versions: Mapping[str, str]) -> None:
    """Add this build to `<root>/builds.jsonl`, unless it is there. `versions`: that can change a result.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    this = {**versions, "commit": commit() or ""}
    before = read_builds(root)
    if this not in before:
        lines = "".join(json.dumps(build) + "\n" for build in [*before, this])
        atomic_write.write_text(root / BUILDS_NAME, lines)


def read_builds(root: Path) -> list[dict[str, str]]:
    """Return the builds that worked on an output folder, the first one first; none where that is not known."""
    try:
        builds = [parse_json(line) for line in (root / BUILDS_NAME).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []
    return [
        build for build in builds if isinstance(build, dict) and all(isinstance(value, str) for value in build.values())
    ]
