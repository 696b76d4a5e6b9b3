"""Progress on standard error: bars on a terminal, a line now and then elsewhere, nothing when quiet."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Never, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from tqdm import tqdm

from umc_cli.cli.render import count, err
from umc_cli.silence import SILENT, SilentProgress

_SECONDS_BETWEEN_LINES = 10
_MOST_BARS = 16


class BarProgress:
    """One bar over all targets, and one each where they fit."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=err(),
        )
        self._total: TaskID | None = None
        self._by_target: dict[str, TaskID] = {}

    def __enter__(self) -> "BarProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def learning(self, target: str, number: int, count: int) -> None:
        """Say what is being learned."""
        self._bars.console.print(learning_line(target, number, count))

    def planning(self, n_files: int) -> None:
        """Say that headers are being read."""
        self._bars.console.print(f"reading the headers of {n_files} recordings")

    def start(self, targets: Sequence[str], n_segments: int) -> None:
        """Show the bars."""
        self._total = self._bars.add_task("all targets", total=n_segments * len(targets), rate="")
        if len(targets) <= _MOST_BARS:
            for target in targets:
                self._by_target[target] = self._bars.add_task(f"  {target}", total=n_segments, rate="")

    def keep(self, target: str, n_segments: int) -> None:
        """Move the bars; it is no speed."""
        for task in self._bars.tasks:
            if task.id in (self._total, self._by_target.get(target)):
                task.completed += n_segments

    def advance(self, target: str, n_segments: int) -> None:
        """Move the bars."""
        assert self._total is not None
        self._bars.advance(self._total, n_segments)
        speed = self._bars.tasks[0].speed
        self._bars.update(self._total, rate=f"{speed:,.0f} segments/s" if speed else "")
        if target in self._by_target:
            self._bars.advance(self._by_target[target], n_segments)


class LineProgress:
    """A line every ten seconds, for logs."""

    def __init__(self) -> None:
        self._lines: tqdm[Never] | None = None

    def __enter__(self) -> "LineProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.close()

    def learning(self, target: str, number: int, count: int) -> None:
        """Say what is being learned."""
        sys.stderr.write(learning_line(target, number, count) + "\n")

    def planning(self, n_files: int) -> None:
        """Say that headers are being read."""
        sys.stderr.write(f"reading the headers of {n_files} recordings\n")

    def start(self, targets: Sequence[str], n_segments: int) -> None:
        """Begin to count."""
        self._lines = tqdm(
            total=n_segments * len(targets),
            unit=" segments",
            desc=f"converting to {count(len(targets), 'target')}",
            mininterval=_SECONDS_BETWEEN_LINES,
            maxinterval=_SECONDS_BETWEEN_LINES,
            file=_LinePerUpdate(sys.stderr),
            ncols=100,
            ascii=True,
        )

    def keep(self, target: str, n_segments: int) -> None:
        """Count; it is no speed."""
        assert self._lines is not None
        self._lines.initial += n_segments
        self._lines.n += n_segments
        self._lines.last_print_n += n_segments

    def advance(self, target: str, n_segments: int) -> None:
        """Count."""
        assert self._lines is not None
        self._lines.update(n_segments)


class _LinePerUpdate:
    """Gives tqdm's updates, which overwrite each other on a terminal, a line each."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.replace("\r", "").strip()
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


def conversion_progress(quiet: bool) -> SilentProgress | BarProgress | LineProgress:
    """Return what suits where standard error goes."""
    if quiet:
        return SILENT
    return BarProgress() if sys.stderr.isatty() else LineProgress()


def learning_line(target: str, number: int, count: int) -> str:
    """Return what is said while a map of segments is learned. `number`: of the target, from 1."""
    return f"learning from recordings what moves segments to {target} ({number} of {count})"
