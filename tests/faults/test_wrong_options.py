"""Whatever stands behind an option, the command ends in order and says something.

Every option of every command gets a wrong value: 200 runs, hence the seconds.
`UMC_TEST_WRONG_VALUES=99` tries all values.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.samples import SOURCE, Run, write_audio
from umc_cli.cli.app import app

VALUES = (
    "nonsense", "", "-1", "9" * 500, "junk.bin", "\udcff", "nan", "/dev/null", "a,b", "afolder", "synth:x", "1e999",
    " ", "0", "inf", ".", "/nonexistent/x/y", "r.wav", ",", "synth:", ":", "\x1b[31m", "x" * 5000, "1/0", "cuda:-1",
    "[",
)  # fmt: skip
PER_OPTION = int(os.environ.get("UMC_TEST_WRONG_VALUES", "1"))
NEEDED = {
    ("convert",): ("--source", SOURCE, "--targets", "xperia1", "--converter", "eq"),
    ("train",): ("--preset", "smoke"),
    ("train-sec",): ("--source", SOURCE, "--preset", "smoke"),
    ("measure-ir",): ("r.wav", "--device", "d", "--overwrite"),
    ("pair",): ("one=r.wav", "two=r.wav"),
    ("synth-fr",): ("--n", "3"),
    ("demo",): ("afolder",),
    ("devices", "show"): ("pixel3",),
    ("devices", "compare"): ("pixel3", "xperia1"),
    ("eval", "conversion"): ("--source", SOURCE),
    ("eval", "layers"): ("--source", SOURCE),
    ("shards", "verify"): (".",),
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that can be called, with the words that call it."""
    below = getattr(command, "commands", {})
    if path and (not below or command.invoke_without_command):
        yield path, command
    for name, one in below.items():
        yield from commands(one, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_no_command_is_left_out() -> None:
    assert {*NEEDED} <= {*COMMANDS}
    assert {*COMMANDS} - {*NEEDED} == {("devices",), ("eval",), ("init",), ("shards", "list"), ("simulate",)}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_value_of_any_option_ends_in_order(
    umc: Callable[..., Run], workspace: Path, words: tuple[str, ...]
) -> None:
    write_audio(workspace / "r.wav")
    (workspace / "junk.bin").write_bytes(bytes(range(256)))
    (workspace / "afolder").mkdir()
    (workspace / "afolder/there").touch()
    options = [
        next(name for name in (*each.opts, "") if name.startswith("--"))
        for each in COMMANDS[words].params
        if each.param_type_name == "option" and not each.is_flag
    ]
    for number, option in enumerate(options):
        for each in range(min(PER_OPTION, len(VALUES))):
            value = VALUES[(number * PER_OPTION + each) % len(VALUES)]
            run = umc(*words, *NEEDED.get(words, ()), option, value)
            assert run.exit_code in (0, 1, 2, 3), (option, value)
            assert "Traceback" not in run.stderr, (option, value)
            assert run.exit_code == 0 or run.stderr.strip(), (option, value)
