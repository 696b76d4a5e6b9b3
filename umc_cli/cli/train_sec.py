"""`umc train-sec`."""

from functools import partial
from pathlib import Path

from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.cli.train import run_training, show_dry_run
from umc_cli.config import find_workspace
from umc_cli.sec.classifier_settings import SEC_PRESETS
from umc_cli.settings.train_sec import SECTION, TrainSecSettings


@with_options(TrainSecSettings, SECTION, SEC_PRESETS)
def command(given: Given, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Train a sound event classifier on one device's recordings, with a method that makes it robust to others.

    Learns from split train. Held-out recordings of the source decide which weights are best. To score the
    classifier on every device, use umc eval.
    """
    from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec

    workspace = find_workspace(Path.cwd())
    settings = load_train_sec_settings(workspace, given)
    if settings.dry_run:
        from umc_cli.workflows.train_sec_dry_run import train_sec_dry_run

        show_dry_run(partial(train_sec_dry_run, workspace, settings), as_json, quiet, verbose)
    run_training(
        partial(train_sec, workspace, settings),
        workspace.runs / settings.run_name,
        f"umc train-sec --source {settings.source} --name {settings.run_name} --resume",
        as_json,
        quiet,
        verbose,
        best="best macro F1 on held-out recordings",
    )
