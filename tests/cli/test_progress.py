"""Progress goes to standard error: bars and curves on a terminal, lines elsewhere, nothing when quiet."""

import io
import re
import sys
from collections.abc import Callable

import pytest

from umc_cli.cli.progress import conversion_progress
from umc_cli.cli.training_progress import training_progress


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


Show = Callable[..., Stream]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return a function that does something and returns what standard error got."""

    def run(act: Callable[[bool], None], is_terminal: bool, quiet: bool = False) -> Stream:
        stream = Stream(is_terminal)
        with monkeypatch.context() as context:
            context.setattr(sys, "stderr", stream)
            context.setenv("COLUMNS", "100")
            context.setenv("TERM", "xterm")
            act(quiet)
        return stream

    return run


def convert(quiet: bool) -> None:
    with conversion_progress(quiet) as progress:
        progress.planning(5)
        progress.start(["pixel3", "xperia1"], 10)
        progress.keep("xperia1", 4)
        progress.advance("pixel3", 10)
        progress.advance("xperia1", 3)


def train(quiet: bool) -> None:
    with training_progress(quiet) as progress:
        progress.preparing(5)
        progress.start(1, 4)
        for step, loss in ((2, 0.9), (3, 0.5), (4, 0.1)):
            progress.stepped(step)
            progress.logged({"step": step, "cycle_consistency_loss": loss, "validation_score": 2.0, "epoch": 0})


def test_a_conversion_shows_a_bar_over_all_targets_and_one_for_each(show: Show) -> None:
    stream = show(convert, True)
    last = stream.text().splitlines()
    for name, count in (("all targets", "17/20"), ("pixel3", "10/10"), ("xperia1", "7/10")):
        assert any(line.strip().startswith(name) and count in line for line in last), name


def test_a_conversion_counts_in_lines_where_nobody_looks(show: Show) -> None:
    stream = show(convert, False)
    assert stream.getvalue().startswith("reading the headers of 5 recordings\n")
    assert "17/20" in stream.getvalue().splitlines()[-1]
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_training_shows_its_learning_curve(show: Show) -> None:
    stream = show(train, True)
    shown = stream.text()
    assert "4/4" in shown
    curve = shown[shown.rindex("cycle_consistency_loss\n") :].splitlines()[1:9]
    columns = [next(row for row, line in enumerate(curve) if line[10:].ljust(3)[column] != " ") for column in range(3)]
    assert columns == sorted(columns)
    assert (columns[0], columns[2]) == (0, 7)


def test_a_training_prints_rows_where_nobody_looks(show: Show) -> None:
    stream = show(train, False)
    lines = stream.getvalue().splitlines()
    assert lines[1] == "training from step 1 to 4"
    assert lines[-1].startswith("step 4/4  cycle_consistency_loss\u00a00.1  validation_score\u00a02")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet_is_quiet(show: Show, is_terminal: bool) -> None:
    for act in (convert, train):
        assert show(act, is_terminal, quiet=True).getvalue() == ""
