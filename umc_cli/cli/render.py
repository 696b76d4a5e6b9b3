"""How results, errors and warnings look. Results go to standard output, all else to standard error."""

import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umc_cli.errors import EnvironmentFault, UmcError

if TYPE_CHECKING:
    from umc_cli.audio.manifest import FailedInput
    from umc_cli.workflows.report_base import Ended, Report

_PIPE_WIDTH = 200
"""Columns where nobody looks: tables are not squeezed."""

_UNBOUNDED = 1_000_000
"""Columns to measure a table in, which else is measured as squeezed."""

_FAILURES_SHOWN = 10


def err() -> Console:
    """Return the console of standard error; text keeps its own line breaks, so that paths can be copied."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(error: UmcError) -> None:
    """Print what failed and what to do."""
    console = err()
    console.print(f"[bold red]Error:[/] {escape(printable(error.message))}")
    if error.hint:
        console.print(f"[bold]Hint:[/] {escape(printable(error.hint))}")


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings, one a line."""
    for warning in warnings:
        err().print(f"[yellow]Warning:[/] {escape(printable(warning))}")


def print_failed(
    failed: "list[FailedInput]", list_path: str, verbose: bool, thing: str = "input", what: str = "failed"
) -> None:
    """Print what failed, the first ten unless `verbose`; `list_path` names the file that lists all."""
    if not failed:
        return
    console = err()
    console.print(
        f"[bold red]{count(len(failed), thing)} {what}[/]"
        + (f"; all in {escape(printable(list_path))}:" if list_path else ":")
    )
    shown = failed if verbose else failed[:_FAILURES_SHOWN]
    for entry in shown:
        hint = f" - {entry.hint}" if entry.hint else ""
        console.print(escape(printable(f"  {entry.path}: {entry.reason}{hint}")))
    if len(failed) > len(shown):
        console.print(f"  ... and {len(failed) - len(shown)} more (--verbose lists all)")


def print_problems(report: "Report", quiet: bool, verbose: bool, thing: str = "input", what: str = "failed") -> None:
    """Print a report's warnings, unless `quiet`, and the inputs that failed."""
    if not quiet:
        print_warnings(report.warnings)
    print_failed(report.failed, "", verbose, thing, what)


def count(number: int, thing: str) -> str:
    """Return `1 target` or `2 targets`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return `8 s`, `12 min` or `3 h 20 min`."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    print_text(json.dumps(content))


def print_report(report: "Ended") -> None:
    """Print a report as one JSON object on standard output."""
    from umc_cli.workflows.report_base import report_as_json

    print_json(report_as_json(report))


def print_text(text: str) -> None:
    """Print lines on standard output; a reader that has seen enough is no error.

    Raises:
        EnvironmentFault: they cannot be written.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except OSError as error:
        # Nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise EnvironmentFault(f"cannot print the result: {error.strerror}", "see where it is sent") from error


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Return a plain table; columns named in `right` hold numbers."""
    result = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        result.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return result


def cell(text: str) -> str:
    """Return text that stands in a table as it is."""
    return escape(printable(text))


def fits(content: Table) -> bool:
    """Tell whether a table can be printed on standard output without folding a cell."""
    console = Console()
    unbounded = console.options.update(max_width=_UNBOUNDED)
    width = console.width if sys.stdout.isatty() else _PIPE_WIDTH
    return console.measure(content, options=unbounded).maximum <= width


def print_table(content: Table) -> None:
    """Print a table on standard output; where nobody looks, without the spaces that pad its last column."""
    if sys.stdout.isatty():
        Console(highlight=False).print(content)
        return
    console = Console(highlight=False, width=_PIPE_WIDTH)
    with console.capture() as capture:
        console.print(content)
    print_text("\n".join(line.rstrip() for line in capture.get().splitlines()))


def printable(text: str) -> str:
    """Return text that every terminal can show: bytes of names that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
