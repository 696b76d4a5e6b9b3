"""`umc train`."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.completion import complete_words
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.cli.training_progress import training_progress
from umc_cli.config import RUN, find_workspace
from umc_cli.conversion.training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.settings.train import SECTION, TrainSettings

if TYPE_CHECKING:
    from umc_cli.workflows.train import TrainProgress, TrainReport


@with_options(TrainSettings, SECTION, ADVERSARIAL_PRESETS)
def command(
    given: Given,
    pretrain: Annotated[
        str | None,
        typer.Option(
            help="simulated: train a refiner instead, on the sounds of train-mc played to simulated devices.",
            autocompletion=complete_words("simulated"),
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a generator on the recordings of several devices, or a refiner on simulated ones, or resume a run.

    The run's folder runs/<name>/ holds settings, metrics, pictures, weights and the state that --resume starts from.
    Options of --pretrain are those of the section "pretrain" of umc.toml and of UMC_PRETRAIN_<OPTION>.
    """
    from umc_cli.workflows.pretrain import load_pretrain_settings, train_refiner
    from umc_cli.workflows.train import load_train_settings, train

    workspace = find_workspace(Path.cwd())
    run: Callable[[TrainProgress], TrainReport]
    if pretrain is None:
        settings = load_train_settings(workspace, given)
        run, go_on = partial(train, workspace, settings), f"umc train --name {settings.run_name} --resume"
    else:
        refiner_settings = load_pretrain_settings(workspace, pretrain, given)
        run = partial(train_refiner, workspace, refiner_settings)
        go_on = f"umc train --pretrain {pretrain} --name {refiner_settings.run_name} --resume"
    try:
        with training_progress(quiet) as progress:
            report = run(progress)
    except KeyboardInterrupt:
        render.err().print(f"[yellow]Interrupted.[/] What was saved last is kept; go on with: {go_on}")
        raise typer.Exit(130) from None
    show_report(report, go_on, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def show_report(
    report: "TrainReport", go_on: str, as_json: bool, quiet: bool, verbose: bool, best: str = "best validation"
) -> None:
    """Print what a training did; `go_on` is the command that resumes it, `best` what the best score is called."""
    from umc_cli.training.ranks import is_first_process

    if not is_first_process():
        return
    if not quiet:
        render.print_warnings(report.warnings)
    render.print_failed(report.failed, "", verbose, "recording", "could not be read")
    if not report.is_finished:
        render.err().print(
            f"[yellow]Stopped[/] after step {report.n_steps} of {report.total_steps}; the state is saved. "
            f"Go on with: {go_on}"
        )
    if as_json:
        render.print_json(asdict(report) | {"exit_code": report.exit_code})
        return
    table = render.table("device", "segments", "held out", right=["segments", "held out"])
    for device, count in report.n_segments.items():
        table.add_row(render.cell(device), str(count), str(report.n_held_out[device]))
    render.print_table(table)
    if quiet:
        return
    console = render.err()
    of_best = f"; {best} {report.best_score:.3g} at step {report.best_step}" if report.best_score is not None else ""
    console.print(
        f"{report.n_steps} of {report.total_steps} steps in {report.seconds:.1f} s, "
        f"{report.segments_per_s:.1f} segments/s in {report.precision}{of_best}"
    )
    console.print(render.printable(f"run: {report.folder}"), markup=False)
    for path in report.published:
        console.print(render.printable(f"weights: {path}"), markup=False)
