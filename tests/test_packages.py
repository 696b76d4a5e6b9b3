"""Source package and wheel hold all that `umc` needs, and the wheel works outside the repository."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.samples import SOURCE, TARGET
from umc_cli import build_info


def build(kind: str, root: Path, output: Path) -> Path:
    """Return the package of `kind` (wheel, sdist) that pip would build from `root`."""
    output.mkdir(exist_ok=True)
    script = f"from hatchling.build import build_{kind}; print(build_{kind}({str(output)!r}))"
    run = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return output / run.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source package, as `python -m build` makes it."""
    root = tmp_path_factory.mktemp("build")
    with tarfile.open(build("sdist", PROJECT, root / "sdist")) as source:
        source.extractall(root, filter="data")
    (unpacked,) = (path for path in root.iterdir() if path.name != "sdist")
    return build("wheel", unpacked, root / "wheel")


def test_the_wheel_holds_the_package_and_the_commit(wheel: Path) -> None:
    package = PROJECT / "umc_cli"
    files = {str(path.relative_to(PROJECT)) for path in package.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if name.startswith("umc_cli/")}
        commit = build_info.commit()
        assert names == files | ({f"umc_cli/{build_info.COMMIT_NAME}"} if commit else set())
        if commit:
            assert content.read(f"umc_cli/{build_info.COMMIT_NAME}").decode().strip() == commit


def test_the_wheel_converts_outside_the_repository(wheel: Path, workspace: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "umc_cli", "convert", "--source", SOURCE, "--targets", TARGET, "--quiet"]
    run = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert [path.name for path in (workspace / "converted" / TARGET).glob("*.h5")] == ["shard-00000.h5"]
