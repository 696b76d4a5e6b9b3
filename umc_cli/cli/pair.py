"""`umc pair`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.cli.training_progress import training_progress
from umc_cli.config import find_workspace, load_settings
from umc_cli.settings.pair import SECTION, PairSettings

if TYPE_CHECKING:
    from umc_cli.workflows.pair import PairReport


@with_options(PairSettings, SECTION)
def command(
    given: Given,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DEVICE=FILE...",
            help="Recordings of the same sounds, made at the same time by devices side by side. Several files of a "
            "device are matched with those of the others in order.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Learn devices that lay side by side from the same minute of sound: records and an adapted refiner.

    The files may begin at any time and be of any length, rate, level and format. `umc convert` takes what is written
    by itself, between these devices.
    """
    from umc_cli.workflows.pair import pair

    workspace = find_workspace(Path.cwd())
    settings = load_settings(PairSettings, workspace, SECTION, given)
    try:
        with training_progress(quiet) as progress:
            report = pair(workspace, settings, files or (), progress)
    except KeyboardInterrupt:
        render.err().print("[yellow]Interrupted.[/] Nothing was written.")
        raise typer.Exit(130) from None
    show_report(report, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def show_report(report: "PairReport", as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print what was found, measured and written."""
    render.print_problems(report, quiet, verbose, "recording", "could not be used")
    if as_json:
        render.print_report(report)
        return
    if not quiet:
        for found in report.pairs:
            jumps = f", {render.count(found.n_jumps, 'jump')}" if found.n_jumps else ""
            lost = f", {found.lost_s:.1f} s cut out" if found.lost_s else ""
            render.err().print(
                render.printable(
                    f"{found.device}: {found.common_s:.1f} s in common with {found.reference_file}, "
                    f"offset {found.offset_s:+.3f} s, clock {found.drift_ppm:+.1f} ppm{jumps}{lost}"
                ),
                markup=False,
            )
    names = ["none", "eq_noise", "refiner", "adapted", "quantile", "refiner_quantile", "adapted "]
    table = render.table("source", "target", *names, right=names)
    for row in report.distances:
        numbers = [
            row["none"],
            row["eq_noise"],
            row["refiner"]["before"],
            row["refiner"]["after"],
            row["quantile"],
            row["refiner_quantile"]["before"],
            row["refiner_quantile"]["after"],
        ]
        table.add_row(render.cell(row["source"]), render.cell(row["target"]), *(f"{value:.2f}" for value in numbers))
    render.print_table(table)
    if quiet:
        return
    lines = [
        f"log-spectral distance in dB to what the target recorded, on {report.held_back_s:.0f} s held out; "
        f"learned from {report.learned_s:.0f} s in {report.seconds:.0f} s",
        f"weights before: {report.base}",
    ]
    lines += [f"record: {path}" for path in report.records]
    lines.append(f"level tables: {report.tables}")
    lines.append(f"adapted weights: {report.weights}" if report.weights else "adapted weights: not kept")
    for line in lines:
        render.err().print(render.printable(line), markup=False)
