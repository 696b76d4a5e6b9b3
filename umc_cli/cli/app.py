"""`umc`: the commands, and the one place where errors are printed.

Heavy libraries are loaded inside the commands, so that `umc --help` answers at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from umc_cli import __version__
from umc_cli.cli import convert, demo, devices, shards
from umc_cli.cli.render import print_error
from umc_cli.errors import UmcError

app = typer.Typer(
    name="umc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn sound recordings made with one device into what other devices would have recorded.",
    epilog="Exit codes: 0 all done; 1 some inputs failed, the rest is done; 2 wrong usage or settings; "
    "3 the machine failed (disk full, folder read-only, output locked); 130 interrupted.",
)
app.command("convert")(convert.command)
app.command("demo")(demo.command)
app.add_typer(devices.app, name="devices")
app.add_typer(shards.app, name="shards")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"umc {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace", "-C", metavar="DIR", help="Work in this folder instead of the current one.", file_okay=False
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if workspace is not None:
        if not workspace.is_dir():
            raise typer.BadParameter(f"no folder {workspace}", param_hint="--workspace")
        os.chdir(workspace)


def main() -> None:
    """Run `umc` and end the process with an exit code that tells the truth."""
    try:
        app()
    except UmcError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
