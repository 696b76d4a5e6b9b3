"""Run the commands of the README's first picture of a terminal, and write what they print to `docs/terminal.svg`.

python docs/record_terminal.py
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from umc_cli.simulation.sound_events import write_sound_events

COLUMNS = 100
COMMANDS = (
    "umc convert --source myphone --targets all",
    "umc measure-ir myphone.csv --device myphone > measured.txt",
    "umc convert --source myphone --targets all",
)
CURVE = "100,-6\n200,-3\n500,-1\n1000,0\n2000,1\n4000,3\n8000,6\n11000,2\n"

_PROGRESS = re.compile(r"^(reading the headers|converting to ).*\n", re.MULTILINE)
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""rich's pictures load fonts from the internet."""


def main() -> None:
    """Record."""
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        write_sound_events(workspace / "data/myphone", 6, -70.0, seed=0)
        (workspace / "myphone.csv").write_text(CURVE, encoding="utf-8")
        environment = os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "COLUMNS": str(COLUMNS),
        }
        for command in COMMANDS:
            run = subprocess.run(
                ["bash", "-c", f"({command}) 2>&1"], cwd=workspace, env=environment, capture_output=True, text=True
            )
            shown = _PROGRESS.sub("", run.stdout).replace(str(workspace.resolve()) + "/", "")
            console.print(Text(f"$ {command}", style="bold green"))
            console.print(Text.from_ansi(shown.rstrip("\n")), soft_wrap=False)
            console.print()
    svg = console.export_svg(title="one phone, nothing known of it", unique_id="umc")
    (Path(__file__).parent / "terminal.svg").write_text(_FONTS.sub("", svg), encoding="utf-8")


if __name__ == "__main__":
    main()
