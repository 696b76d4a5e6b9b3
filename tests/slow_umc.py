"""`umc` that takes its time once it has made some files, so that it is still at work when a busy machine ends it.

python -m tests.slow_umc NUMBER ARGUMENTS...
"""

import sys
import time
from pathlib import Path
from typing import Any

from umc_cli.cli.app import main

_PAUSE_S = 0.05


def _slow_after(number: int) -> None:
    """Let every shard and recording after the first `number` wait before it gets its name."""
    made: list[str] = []
    rename = Path.replace

    def replace(self: Path, target: Any) -> Path:
        if Path(target).suffix in (".h5", ".flac"):
            made.append(str(target))
            if len(made) > number:
                time.sleep(_PAUSE_S)
        return rename(self, target)

    Path.replace = replace  # type: ignore[method-assign]


if __name__ == "__main__":
    _slow_after(int(sys.argv[1]))
    sys.argv = ["umc", *sys.argv[2:]]
    main()
