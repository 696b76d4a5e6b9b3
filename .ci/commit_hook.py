"""Put the commit into packages: `umc --version` and the shards of a build then say which one it is."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "umc_cli/_commit.txt"


class CommitHook(BuildHookInterface):
    """Write `umc_cli/_commit.txt` where git knows the commit; a source package keeps the one that it was made with."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to the package; `version` is `editable` for an installation that uses the checkout itself."""
        if version == "editable" or (Path(self.root) / PLACE).is_file():
            return
        try:
            answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.root, capture_output=True, text=True)
        except OSError:
            return
        commit = answer.stdout.strip()
        if re.fullmatch("[0-9a-f]{40}", commit) and (Path(self.root) / ".git").exists():
            path = Path(tempfile.mkdtemp()) / "_commit.txt"
            path.write_text(commit + "\n")
            build_data["force_include"][str(path)] = PLACE
