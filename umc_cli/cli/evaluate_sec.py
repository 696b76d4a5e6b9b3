"""`umc eval` itself: scores of classifiers."""

from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import find_workspace, load_settings
from umc_cli.errors import SettingsError
from umc_cli.settings.eval_sec import SECTION, EvaluateSecSettings

if TYPE_CHECKING:
    from rich.table import Table

    from umc_cli.evaluation.paired_comparison import Comparison
    from umc_cli.workflows.evaluate_sec import EvaluateSecReport


@with_options(EvaluateSecSettings, SECTION)
def command(
    context: typer.Context, given: Given, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Score sound event classifiers on the recordings of every device, or measure conversions.

    Without a subcommand: macro F1, on every device, of the classifiers that umc train-sec trained, or of any other
    model by its --predictions.
    """
    if context.invoked_subcommand is not None:
        if as_json or quiet or verbose or any(value is not None for value in given.values()):
            name = context.invoked_subcommand
            raise SettingsError("options must come after the subcommand", f"umc eval {name} --option")
        return
    from umc_cli.workflows.evaluate_sec import evaluate_sec

    workspace = find_workspace(Path.cwd())
    settings = load_settings(EvaluateSecSettings, workspace, SECTION, given)
    report = evaluate_sec(workspace, settings, lambda step: None if quiet else render.err().print(step, markup=False))
    _show(report, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def _show(report: "EvaluateSecReport", as_json: bool, quiet: bool, verbose: bool) -> None:
    render.print_problems(report, quiet, verbose)
    if as_json:
        render.print_report(report)
        return
    _show_means(report)
    if verbose:
        _show_devices(report)
    _show_matrices(report)
    for comparison in report.comparisons:
        _show_comparison(comparison)
    if quiet:
        return
    n_segments = sum(device.n_segments for device in report.devices.values())
    n_recordings = sum(device.n_recordings for device in report.devices.values())
    in_split = f" in split {report.split}" if report.split else ""
    render.err().print(
        f"macro F1 on {n_segments} segments of {render.count(n_recordings, 'recording')} of "
        f"{render.count(len(report.devices), 'device')}{in_split}; means ± 95 % interval over devices; "
        f"{report.seconds:.0f} s",
        markup=False,
    )
    for path in report.written:
        render.err().print(render.printable(f"written: {path}"), markup=False)


def _show_means(report: "EvaluateSecReport") -> None:
    """Print a line for each row; the devices' columns, and the bootstrap, only where there is room for them."""
    from umc_cli.evaluation.report.results_table import BOOTSTRAP, COLUMNS_OF_MEANS, WORST_DEVICE, row_cells

    devices = list(report.devices)
    columns = ["source", "method", *COLUMNS_OF_MEANS, *devices]
    lines = [[row.source, row.label, *row_cells(row, devices)] for row in report.rows]
    of_devices = set(range(len(columns) - len(devices), len(columns)))
    for left_out in (set[int](), of_devices, of_devices | {columns.index(BOOTSTRAP)}):
        kept = [number for number in range(len(columns)) if number not in left_out]
        texts = {"source", "method", WORST_DEVICE}
        table = _table([columns[number] for number in kept], texts)
        for line in lines:
            table.add_row(*(render.cell(line[number].replace(" (sd", "\n(sd")) for number in kept))
        if render.fits(table):
            break
    render.print_table(table)


def _show_devices(report: "EvaluateSecReport") -> None:
    from umc_cli.evaluation.report.results_table import BOOTSTRAP, interval_text, score_text

    for row in report.rows:
        table = _table(["device", "macro F1", BOOTSTRAP, "weighted F1", "accuracy"], {"device"})
        for device, scores in row.devices.items():
            table.add_row(
                render.cell(device),
                score_text(scores.macro_f1, scores.seed_spread),
                interval_text(scores.bootstrap),
                score_text(scores.weighted_f1),
                score_text(scores.accuracy),
            )
        render.print_text(f"\n{render.printable(row.label)}, trained on {render.printable(row.source)}")
        render.print_table(table)


def _show_matrices(report: "EvaluateSecReport") -> None:
    from umc_cli.evaluation.report.results_table import score_text

    for matrix in report.matrices:
        table = _table(["source", *matrix.devices], {"source"})
        for source, scores in matrix.macro_f1.items():
            table.add_row(render.cell(source), *map(score_text, scores))
        mean = score_text(matrix.mean_without_source)
        render.print_text(f"\n{render.printable(matrix.method)}: sources by devices; mean off the source {mean}")
        render.print_table(table)


def _show_comparison(comparison: "Comparison") -> None:
    from umc_cli.evaluation.report.results_table import COMPARISON_COLUMNS, comparison_lines

    table = _table(COMPARISON_COLUMNS, {"device"})
    for line in comparison_lines(comparison):
        table.add_row(*map(render.cell, line))
    render.print_text(f"\n{render.printable(comparison.first)} minus {render.printable(comparison.second)}, macro F1")
    render.print_table(table)


def _table(columns: Sequence[str], texts: Set[str]) -> "Table":
    """Return a table of numbers, but for the columns in `texts`; heads are narrow, a word a line."""
    heads = [render.cell(column.replace(" ", "\n")) for column in columns]
    right = [head for head, column in zip(heads, columns, strict=True) if column not in texts]
    return render.table(*heads, right=right)
