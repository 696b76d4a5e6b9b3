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
    """Simulate two phones that record the same sounds, convert from one to the other, and show how near it comes.

    The sounds are synthesized: the figures show that it works, not how well it does on real phones.
    """
    from umc_cli.workflows.demo import run_demo

    try:
        with conversion_progress(quiet) as progress:
            report = run_demo(folder, progress)
    except KeyboardInterrupt:
        render.err().print("[yellow]Interrupted.[/] Run the same command again to resume.")
        raise typer.Exit(130) from None
    if as_json:
        render.print_report(report)
        raise typer.Exit(report.exit_code)
    show_report(report.conversion, False, quiet, False)
    source, (target,) = report.conversion.source, report.conversion.targets
    render.print_text(
        f"\n{report.n_measured} segments that nothing was learned from, distance to what {target} really recorded:\n"
        f"  as {source} recorded them  {report.distance_before_db:5.1f} dB\n"
        f"  converted to {target}      {report.distance_after_db:5.1f} dB\n"
        f"picture: {report.picture}\n"
        f"sounds to listen to: {report.listen}"
    )
    if not quiet:
        render.err().print(
            f"\n{report.n_clips} synthesized sounds in {report.n_labels} classes, recorded by two simulated phones. "
            "Next, with your own:\n"
            "  put recordings into data/<device>/<label>/, then: umc convert --source <device> --targets all",
            markup=False,
        )
    raise typer.Exit(report.exit_code)
