"""The examples for CI, job arrays and containers are run as far as one machine can."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests import forked_umc
from tests.conftest import PROJECT
from tests.forked_umc import Server
from tests.samples import SOURCE, damage_flac, noise, write_audio
from tests.test_resume import shards

EXAMPLES = PROJECT / "examples"
DOCKER = EXAMPLES / "docker"

SBATCH = """#!/bin/bash
# Runs at once what Slurm would run later, and says its number.
while [ "$1" != --wrap ]; do
    case $1 in --array=1-*) n_tasks=${1#--array=1-} ;; esac
    echo "$1" >>sbatch.txt
    shift
done
for task in $(seq "${n_tasks:-1}"); do
    SLURM_ARRAY_TASK_ID=$task bash -c "$2" >&2
    echo "ended with $?" >>sbatch.txt
done
echo 4711
"""

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(workspace: Path, tmp_path: Path, server: Server | None) -> Shell:
    """Return a function that runs a script in the workspace as a user's shell would, with `umc` and a fake `sbatch`."""
    forked = f"{forked_umc.__file__} run {server.path}" if server else ""
    programs = {"umc": f'#!/bin/sh\nexec {sys.executable} {forked} -m umc_cli "$@"\n', "sbatch": SBATCH}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                   "PYTHONPATH": str(PROJECT), "SOURCE": SOURCE}  # fmt: skip

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", *arguments], cwd=workspace, env=environment, capture_output=True, text=True, check=False
        )

    return run


def github_steps() -> list[Mapping[str, str]]:
    workflow = yaml.safe_load((EXAMPLES / "pipelines/github-actions.yml").read_text(encoding="utf-8"))
    steps: list[Mapping[str, str]] = workflow["jobs"]["convert"]["steps"]
    return [step for step in steps if "umc " in step.get("run", "") or "report.json" in step.get("run", "")]


def test_the_workflow_of_github_converts_checks_and_tells_what_failed(workspace: Path, shell: Shell) -> None:
    bad = write_audio(workspace / f"data/{SOURCE}/a/bad.flac", noise(seed=9))
    damage_flac(bad)
    ended = {step["name"]: shell("-e", "-o", "pipefail", "-c", step["run"]) for step in github_steps()}
    assert [run.returncode for run in ended.values()] == [0, 0, 1], ended
    assert "bad.flac" in ended["Fail if a recording could not be used"].stderr
    assert len(shards(workspace / "converted")) == 12


def test_the_job_array_makes_all_parts_completes_and_checks_them(workspace: Path, shell: Shell) -> None:
    (workspace / "umc.toml").write_text("[convert]\nshard_size = 2\nconverter = 'eq'\n")
    run = shell(str(EXAMPLES / "pipelines/slurm-convert.sh"), "2", "--gpus-per-task=1")
    assert run.returncode == 0, run.stderr
    submitted = (workspace / "sbatch.txt").read_text().splitlines()
    assert submitted.count("ended with 0") == 3
    assert submitted.count("--gpus-per-task=1") == 2
    assert "--dependency=afterany:4711" in submitted
    assert len(shards(workspace / "converted")) == 4 * 12


def docker_lines(name: str) -> list[str]:
    lines = (DOCKER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_container_pins_what_the_package_needs_and_what_that_needs_in_turn() -> None:
    pins = {
        name: Version(version)
        for name, _, version in (line.partition("==") for line in docker_lines("constraints.txt"))
    }
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    missing, seen = [], set()
    todo = [*map(Requirement, [*pyproject["project"]["dependencies"], *pyproject["build-system"]["requires"]])]
    while todo:
        needed = todo.pop()
        name = needed.name.lower().replace("_", "-")
        brought_by_torch = name.startswith(("nvidia-", "cuda-")) or name == "triton"
        if brought_by_torch or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        if name not in pins or not needed.specifier.contains(pins[name]):
            missing.append(str(needed))
        elif name not in seen and installed_version(name) == pins[name]:
            todo += map(Requirement, metadata.requires(name) or ())
        seen.add(name)
    assert not missing
    assert len(seen) > 20


def installed_version(name: str) -> Version | None:
    try:
        return Version(Version(metadata.version(name)).public)
    except metadata.PackageNotFoundError:
        return None


def test_the_container_copies_all_that_the_package_is_built_from() -> None:
    copied = {
        source for line in docker_lines("Dockerfile") if line.startswith("COPY ") for source in line.split()[1:-1]
    }
    assert all((PROJECT / source).exists() for source in copied)
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    project, hatch = pyproject["project"], pyproject["tool"]["hatch"]
    read = {project["readme"], *project["license-files"], hatch["build"]["hooks"]["custom"]["path"]}
    assert copied >= read | {"pyproject.toml", *hatch["build"]["targets"]["wheel"]["packages"]}
    ignored, *let_through = docker_lines("Dockerfile.dockerignore")
    assert (ignored, let_through[-1]) == ("*", "**/__pycache__")
    assert {line.removeprefix("!") for line in let_through[:-1]} == copied
