"""`umc demo`."""

from pathlib import Path
from typing import Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.convert import show_report
from umc_cli.cli.options import Json, Quiet
from umc_cli.cli.progress import conversion_progress


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the demo workspace.")] = Path("umc-demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a small workspace of synthesized sounds, convert it to all phones of the library, and draw a picture."""
    from umc_cli.workflows.demo import run_demo

    with conversion_progress(quiet) as progress:
        report = run_demo(folder, progress)
    if as_json:
        render.print_report(report)
        raise typer.Exit(report.exit_code)
    if not quiet:
        render.err().print(
            f"{report.n_clips} sounds in {report.n_labels} classes were synthesized (they are not recordings). Next:\n"
            f"  cd {folder} && umc convert --source {report.conversion.source} --targets all"
        )
    show_report(report.conversion, False, quiet, False)
    render.print_text(f"picture: {report.picture}")
    if not quiet:
        render.err().print(
            f"next: umc shards {report.conversion.output}; umc devices; your own recordings in data/<device>/<label>/"
        )
    raise typer.Exit(report.exit_code)
