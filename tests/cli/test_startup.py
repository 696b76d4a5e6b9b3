"""What a command loads before it answers: libraries that cost seconds are loaded only where they are used."""

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = {
    "torch", "torch._dynamo", "torchvision", "torchmetrics", "openvino", "librosa", "numba", "scipy", "sklearn",
    "matplotlib", "ray", "av",
}  # fmt: skip
CONVERT = ("convert", "--source", "xperia1v", "--targets", "pixel3", "--converter")

SCRIPT = f"""
import sys
from umc_cli.cli.app import main
try:
    main()
finally:
    sys.stderr.write("\\nloaded:" + ",".join(name for name in {sorted(SLOW)!r} if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (("devices",), set()),
        (("shards", "."), set()),
        ((*CONVERT, "eq"), {"torch"}),
        ((*CONVERT, "refiner", "--engine", "openvino"), {"torch", "openvino"}),
    ],
    ids=["devices", "shards", "convert eq", "convert refiner"],
)
def test_a_command_loads_no_slow_library_that_it_does_not_use(
    arguments: tuple[str, ...], loaded: set[str], workspace: Path
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=workspace, capture_output=True, text=True, check=False
    )
    # There are no shards to list, which is an error; the library to read them is loaded all the same.
    assert run.returncode == (2 if arguments[0] == "shards" else 0), run.stderr
    assert set(run.stderr.rpartition("loaded:")[2].split(",")) - {""} <= loaded
