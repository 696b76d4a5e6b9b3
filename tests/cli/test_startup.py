"""What a command loads before it answers: libraries that cost seconds are loaded only where they are used."""

import atexit
import gc
import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.samples import noise, write_audio
from umc_cli.cli.module_loading import collect_no_garbage_while_modules_load

SLOW = {
    "torch", "torch._dynamo", "torchvision", "torchmetrics", "openvino", "librosa", "numba", "scipy", "sklearn",
    "matplotlib", "ray", "av", "torchaudio", "openvino.tools.ovc", "sympy", "pydantic",
    "umc_cli.cli.convert",
}  # fmt: skip
SETTINGS = {"pydantic", "umc_cli.cli.convert"}
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
        (("--version",), set()),
        (("devices",), {"pydantic"}),
        (("shards", "."), {"pydantic"}),
        ((*CONVERT, "eq"), {"torch", "torchaudio"} | SETTINGS),
        ((*CONVERT, "refiner", "--engine", "openvino"), {"torch", "torchaudio", "openvino"} | SETTINGS),
        ((*CONVERT, "film_gan", "--engine", "torch"), {"torch", "torchaudio"} | SETTINGS),
    ],
    ids=["version", "devices", "shards", "convert eq", "convert refiner", "convert film_gan"],
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


@pytest.mark.parametrize(
    ("converter", "loaded"),
    [("eq", SETTINGS), ("refiner_transport", {"openvino"} | SETTINGS)],
)
def test_a_conversion_with_nothing_left_to_do_loads_no_torch(
    converter: str, loaded: set[str], workspace: Path, umc: Callable[..., Run]
) -> None:
    for device in ("xperia1v", "pixel3"):
        for index in range(14):
            write_audio(workspace / f"data/{device}/a/more{index}.wav", noise(seed=index))
    first = umc(*CONVERT, converter, "--json")
    assert first.exit_code == 0, first.stderr
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *CONVERT, converter, "--json"],
        cwd=workspace, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    again = json.loads(run.stdout)
    assert (again["n_shards_written"], again["n_shards_kept"]) == (0, 1)
    assert again["made_with"] == first.json["made_with"]  # what the converter itself said
    assert set(run.stderr.rpartition("loaded:")[2].split(",")) - {""} <= loaded


def test_the_end_looks_for_no_unused_objects(
    workspace: Path, umc: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes half a second of a processor where torch is loaded."""
    registered: list[object] = []
    monkeypatch.setattr(atexit, "register", lambda call, *_, **__: registered.append(call))
    assert umc("devices", "--json").exit_code == 0
    assert gc.freeze in registered


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to import modules from, while modules load as they do in `umc`."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.syspath_prepend(tmp_path)
    collect_no_garbage_while_modules_load()
    assert gc.isenabled()
    for name in ("outer_module", "inner_module", "large_module"):
        monkeypatch.setitem(sys.modules, name, None)  # so that what the test imports is forgotten
        del sys.modules[name]
    (tmp_path / "inner_module.py").write_text("import gc\nis_collecting = gc.isenabled()\n")
    (tmp_path / "outer_module.py").write_text(
        "import gc\nis_collecting = [gc.isenabled()]\nimport inner_module\n"
        "is_collecting += [inner_module.is_collecting, gc.isenabled()]\n"
    )
    return tmp_path


def test_no_garbage_is_collected_while_modules_load(modules: Path) -> None:
    outer = importlib.import_module("outer_module")
    assert outer.is_collecting == [False, False, False]
    assert inspect.getsource(outer) == (modules / "outer_module.py").read_text()
    assert gc.isenabled()


def test_garbage_is_collected_after_a_module_that_fails(modules: Path) -> None:
    (modules / "inner_module.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(RuntimeError, match="broken"):
        importlib.import_module("outer_module")
    assert gc.isenabled()


def test_a_module_does_not_switch_on_what_the_caller_switched_off(modules: Path) -> None:
    gc.disable()
    try:
        importlib.import_module("outer_module")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_only_a_large_module_is_exempt_from_collection_for_good(modules: Path) -> None:
    gc.collect()
    before = gc.get_freeze_count()
    importlib.import_module("outer_module")
    assert gc.get_freeze_count() == before
    (modules / "large_module.py").write_text("kept = [[] for _ in range(20_000)]")
    assert len(importlib.import_module("large_module").kept) == 20_000
    assert gc.get_freeze_count() - before >= 20_000


def test_umc_collects_no_garbage_while_modules_load(
    workspace: Path, umc: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("umc_cli.cli.app.collect_no_garbage_while_modules_load", lambda: started.append(None))
    assert umc("devices", "--json").exit_code == 0
    assert len(started) == 1
