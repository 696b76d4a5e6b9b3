"""`umc train-sec`."""

from pathlib import Path

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.cli.train import show_report
from umc_cli.cli.training_progress import training_progress
from umc_cli.config import find_workspace
from umc_cli.sec.settings import SEC_PRESETS
from umc_cli.settings.train_sec import SECTION, TrainSecSettings


@with_options(TrainSecSettings, SECTION, SEC_PRESETS)
def command(given: Given, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Train a sound event classifier on the recordings of one device, made robust to others by a method.

    Learns from split train-sec; the best weights are chosen by recordings of the source that are held out. Devices are
    scored with umc eval.
    """
    from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec

    workspace = find_workspace(Path.cwd())
    settings = load_train_sec_settings(workspace, given)
    go_on = f"umc train-sec --source {settings.source} --name {settings.run_name} --resume"
    try:
        with training_progress(quiet) as progress:
            report = train_sec(workspace, settings, progress)
    except KeyboardInterrupt:
        render.err().print(f"[yellow]Interrupted.[/] What was saved last is kept; go on with: {go_on}")
        raise typer.Exit(130) from None
    show_report(report, go_on, as_json, quiet, verbose, best="best macro F1 on held-out recordings")
    raise typer.Exit(report.exit_code)
