"""`umc`: the commands, and the one place where errors are printed.

Commands are loaded when they are called, and heavy libraries inside them, so that `umc --help` answers at once.
"""

import atexit
import gc
import os
import secrets
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from umc_cli.build_info import version_text
from umc_cli.cli.command_group import CommandGroup
from umc_cli.cli.module_loading import collect_no_garbage_while_modules_load
from umc_cli.cli.render import print_error, print_json
from umc_cli.errors import EnvironmentFault, UmcError

app = typer.Typer(
    name="umc",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn sound recordings made with one device into what other devices would have recorded.",
    epilog="Exit codes: 0 all done; 1 some inputs failed, the rest is done; 2 wrong usage or settings; "
    "3 the machine failed (disk full, folder read-only, output locked); 130 interrupted.",
)

_USAGE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What typer raises for wrong usage; it does not export the class."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"umc {version_text()}")
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
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and commit, and exit."),
    ] = False,
) -> None:
    if workspace is not None:
        if not workspace.is_dir():
            raise typer.BadParameter(f"there is no folder {workspace}", param_hint="--workspace")
        os.chdir(workspace)


def main() -> None:
    """Run `umc` and end the process with an exit code that tells the truth."""
    _open_closed_streams()
    _keep_matplotlib_out_of_home()
    collect_no_garbage_while_modules_load()
    atexit.register(gc.freeze)  # Python ends by looking for unused objects among all of torch's: half a second
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the caller wants it ignored
        signal.signal(signal.SIGINT, _interrupt)
    as_json = "--json" in sys.argv[1:]
    try:
        sys.exit(_run_for_json() if as_json else app())
    except UmcError as error:
        _end(error, as_json)
    except OSError as error:
        _end(EnvironmentFault(f"operating system error: {error}", "check the disk and the working folder"), as_json)


def _run_for_json() -> int | None:
    """Run the command; raise wrong usage as an error of ours, which is printed as JSON like any other."""
    try:
        code: int | None = app(standalone_mode=False)
    except typer.Abort:
        return 130
    except _USAGE_ERROR as error:
        raise UmcError(error.format_message(), "see --help") from error
    return code


def _end(error: UmcError, as_json: bool) -> NoReturn:
    print_error(error)
    if as_json:
        print_json({"error": {"message": error.message, "hint": error.hint}, "exit_code": error.exit_code})
    sys.exit(error.exit_code)


def _interrupt(*_: object) -> None:
    """Let the first Ctrl-C end the work in order, and the next one at once."""
    signal.signal(signal.SIGINT, _end_at_once)
    raise KeyboardInterrupt


def _end_at_once(*_: object) -> NoReturn:
    show_cursor = b"\x1b[?25h" if os.isatty(2) else b""
    os.write(2, show_cursor + b"Stopped at once. Run the same command again to resume.\n")
    os._exit(130)


def _keep_matplotlib_out_of_home() -> None:
    """Let matplotlib, where a command draws, keep its list of fonts for this process only, unless it is told where.

    Left alone it writes to the user's home folder, and complains where there is none.
    """
    if "MPLCONFIGDIR" in os.environ:
        return
    with suppress(OSError):  # there may be no place for temporary files
        folder = Path(tempfile.gettempdir()) / f"umc-{secrets.token_hex(8)}"  # matplotlib makes it, if it is loaded
        os.environ["MPLCONFIGDIR"] = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _open_closed_streams() -> None:
    """Give standard streams that the caller closed (`umc ... >&-`) a place, lest a data file takes their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end
