import os
import pty
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umc_cli.response.device import DeviceRegistry


@pytest.mark.parametrize("columns", [60, 200])
def test_ids_and_numbers_are_whole_on_any_terminal(
    workspace: Path, start_umc: Callable[..., Any], columns: int
) -> None:
    controller, terminal = pty.openpty()
    with start_umc("devices", cwd=workspace, env={"COLUMNS": str(columns)}, stdout=terminal) as process:
        os.close(terminal)
        shown = bytearray()
        try:
            while part := os.read(controller, 4096):
                shown += part
        except OSError:  # how a terminal ends
            pass
        process.wait(60)
    os.close(controller)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    beginnings = [line.split()[0] for line in lines if line[:1].strip()]
    assert beginnings == ["id", *DeviceRegistry(Path("no folder of devices")).ids()]
    assert sum("100-11025" in line for line in lines) == 12
    assert max(map(len, lines)) <= columns
