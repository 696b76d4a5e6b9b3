"""`umc` that takes its time once it has made some files, or waits, so that a busy machine finds it still at work.

python -m tests.slow_umc slow|held NUMBER ARGUMENTS...

The first NUMBER files get their names at once. Each of the others waits a moment (`slow`), or until a file `go-on` lies
in the working folder (`held`). Processes that it spawns do the same.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from umc_cli.cli.app import main

GO_ON = "go-on"
_PAUSE_S = 0.05
_HOW = "SLOW_UMC"


def _take_time(how: str, number: int) -> None:
    """Let every shard, recording and checkpoint after the first `number` wait before it gets its name."""
    made: list[str] = []
    rename = Path.replace

    def replace(self: Path, target: Any) -> Path:
        if Path(target).suffix in (".h5", ".flac", ".safetensors"):
            made.append(str(target))
            if len(made) > number:
                time.sleep(_PAUSE_S)
            while len(made) > number and how == "held" and not Path(GO_ON).exists():
                time.sleep(0.01)
        return rename(self, target)

    Path.replace = replace  # type: ignore[method-assign]


if __name__ == "__main__":
    os.environ[_HOW] = f"{sys.argv[1]} {sys.argv[2]}"
    sys.argv = ["umc", *sys.argv[3:]]
if __name__ in ("__main__", "__mp_main__"):
    _take_time(os.environ[_HOW].split()[0], int(os.environ[_HOW].split()[1]))
if __name__ == "__main__":
    main()
