"""How a training looks while it runs: bar and learning curve on a terminal, lines elsewhere. Handles Ctrl-C."""

import signal
import sys
import threading
import time
from collections.abc import Mapping
from textwrap import wrap
from types import FrameType
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from umc_cli.cli.plot import text_plot
from umc_cli.cli.progress import learning_line
from umc_cli.cli.render import err

_SECONDS_BETWEEN_LINES = 10.0
_CURVE_COLUMNS, _CURVE_LINES = 60, 8
_CURVES = ("cycle_consistency_loss", "refiner_loss")
"""What the learning curve shows: the first of these that the training has."""
_SHOWN_LAST = ("epoch", "seconds")


class QuietTraining:
    """Shows nothing; asks a training to stop in order when Ctrl-C is pressed for the first time."""

    def __init__(self) -> None:
        self._stop = False
        self._before: Any = None

    def __enter__(self) -> "QuietTraining":
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def preparing(self, n_files: int) -> None:
        """Show nothing."""

    def learning(self, target: str, number: int, count: int) -> None:
        """Say what is being learned, where things are said."""
        self.say(learning_line(target, number, count))

    def start(self, done: int, total: int) -> None:
        """Take over Ctrl-C."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._interrupted)

    def stepped(self, step: int) -> None:
        """Show nothing."""

    def logged(self, row: Mapping[str, float]) -> None:
        """Show nothing."""

    def should_stop(self) -> bool:
        """Tell whether Ctrl-C was pressed."""
        return self._stop

    def say(self, text: str) -> None:
        """Say something that matters even to those who want silence: nothing here."""

    def _interrupted(self, *_: int | FrameType | None) -> None:
        # A second Ctrl-C ends the work at once, as everywhere.
        signal.signal(signal.SIGINT, self._before)
        self._stop = True
        self.say("stopping after this step; Ctrl-C again stops at once")


class LineTraining(QuietTraining):
    """A line for every validation, and every ten seconds for other rows."""

    def __init__(self) -> None:
        super().__init__()
        self._total = 0
        self._last = 0.0

    def preparing(self, n_files: int) -> None:
        """Say that spectrograms are being computed."""
        self.say(f"computing the log-mel spectrograms of {n_files} recordings")

    def start(self, done: int, total: int) -> None:
        """Say where the training begins."""
        super().start(done, total)
        self._total = total
        self.say(f"training from step {done} to {total}")

    def logged(self, row: Mapping[str, float]) -> None:
        """Print a row, if the last one was long ago or this one holds a validation."""
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES and not any(name.startswith("validation") for name in row):
            return
        self._last = now
        self.say(f"step {int(row['step'])}/{self._total}  " + _in_words(row))

    def say(self, text: str) -> None:
        """Print a line on standard error."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class LiveTraining(QuietTraining):
    """A bar, the last row, and the curve of the whole run so far (what this call added to it)."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err()
        )
        self._live = Live(console=err(), refresh_per_second=4)
        self._task = self._bar.add_task("steps", total=None)
        self._curve: list[float] = []
        self._row: Mapping[str, float] = {}

    def __enter__(self) -> "LiveTraining":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        super().__exit__()

    def preparing(self, n_files: int) -> None:
        """Say that spectrograms are being computed."""
        self.say(f"computing the log-mel spectrograms of {n_files} recordings")

    def start(self, done: int, total: int) -> None:
        """Show the bar."""
        super().start(done, total)
        self._bar.update(self._task, total=total, completed=done)
        self._show()

    def stepped(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step)

    def logged(self, row: Mapping[str, float]) -> None:
        """Show the row, and the curve with one more point."""
        self._row = row
        name = next((name for name in _CURVES if name in row), None)
        if name:
            self._curve.append(row[name])
        self._show()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._live.console.print(text)

    def _show(self) -> None:
        parts: list[Progress | Text] = [self._bar]
        if self._row:
            # A live display cuts long lines off instead of breaking them.
            parts.append(Text("\n".join(wrap(_in_words(self._row), self._live.console.width - 1))))
        if len(self._curve) > 1:
            name = next(name for name in _CURVES if name in self._row)
            lines = text_plot(self._curve, min(len(self._curve), _CURVE_COLUMNS), _CURVE_LINES, "", 0.01, decimals=3)
            parts.append(Text("\n".join([name, *lines])))
        self._live.update(Group(*parts))


def _in_words(row: Mapping[str, float]) -> str:
    names = [name for name in row if name not in ("step", *_SHOWN_LAST)] + [name for name in _SHOWN_LAST if name in row]
    return "  ".join(f"{name}\u00a0{row[name]:.4g}" for name in names)


def training_progress(quiet: bool) -> QuietTraining:
    """Return what suits where standard error goes. Of several processes that train together, the first one talks."""
    from umc_cli.training.torchrun import is_first_process

    if quiet or not is_first_process():
        return QuietTraining()
    return LiveTraining() if sys.stderr.isatty() else LineTraining()
