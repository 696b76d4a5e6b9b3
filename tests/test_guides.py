"""The guides for newcomers: every command of *Start* runs, every message of *Troubleshooting* exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked_umc
from tests.conftest import PROJECT
from tests.forked_umc import Server

START = PROJECT / "docs/start.md"
TROUBLESHOOTING = PROJECT / "docs/troubleshooting.md"
EXPECTED_CODE = re.compile(r"# exit code (\d+)")


def _source_text() -> str:
    """Return the package's source, its messages in one piece although they are written in several."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (PROJECT / "umc_cli").rglob("*.py"))
    return re.sub(r"\"\n\s*f?\"", "", text)


def test_every_message_of_troubleshooting_is_one_that_the_program_gives() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", TROUBLESHOOTING.read_text(encoding="utf-8"), re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    messages = [message for message in messages if message not in FROM_OTHERS]
    assert len(messages) > 20
    source = _source_text()
    missing = [part for message in messages for part in message.split("...") if part.strip() and part not in source]
    assert not missing


FROM_OTHERS = ("error: externally-managed-environment", "umc: command not found")


@pytest.mark.timeout(600)
def test_every_command_of_start_runs(tmp_path: Path, server: Server | None) -> None:
    """Half a minute: five trainings of four steps, in the place of those of the page, which take minutes each."""
    blocks = re.findall(r"^```sh\n(.*?)^```", START.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks if "pip install" not in block for line in block.splitlines()]
    script = ["set -e"]
    for line in lines:
        code = EXPECTED_CODE.search(line)
        command = line.partition(" #")[0].replace("--preset cpu", "--preset smoke --max-steps 4")
        script.append(f"{command} || [ $? -eq {code[1]} ]" if code else command)
        if "cp -r" in command:  # half of the recordings must do
            script.append("find data -name '*[02468].flac' -delete")
    forked = f"{forked_umc.__file__} run {server.path}" if server else ""
    (tmp_path / "umc").write_text(f'#!/bin/sh\nexec "{sys.executable}" {forked} -m umc_cli "$@"\n')
    (tmp_path / "umc").chmod(0o755)
    (tmp_path / "here").mkdir()
    environment = os.environ | {
        "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    run = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path / "here", env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    assert "there is no record of myphone" in run.stderr
    assert (tmp_path / "here/converted/pixel3").is_dir()
    assert "ideal" in run.stdout.split("unified-real")[-1] + run.stdout
