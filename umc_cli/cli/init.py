"""`umc init`."""

from pathlib import Path
from typing import Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.completion import complete_words
from umc_cli.cli.options import Json, Quiet
from umc_cli.config import SECTIONS, split_names


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the workspace. Default: the current one.")
    ] = Path(),
    sections: Annotated[
        str,
        typer.Option(
            "--sections",
            metavar="<list>",
            help="Sections to write, comma-separated, or all. (default: convert,train-sec,eval)",
            show_default=False,
            autocompletion=complete_words("all", *SECTIONS[1:]),
        ),
    ] = "convert,train-sec,eval",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write an umc.toml with the settings in use, each with what it means. Replaces no file.

    Settings that are defaults stand in comments. Values of UMC_... variables are written down, and the source where one
    device alone has recordings.
    """
    from umc_cli.workflows.init_workspace import init_workspace

    report = init_workspace(folder, split_names(sections))
    render.print_warnings(report.warnings)
    if as_json:
        render.print_report(report)
    else:
        render.print_text(f"wrote {report.path}")
        if not quiet:
            source = "" if report.source else " --source <device>"
            render.err().print(f"Next: read it, then umc convert{source} --targets all", markup=False)
    raise typer.Exit(report.exit_code)
