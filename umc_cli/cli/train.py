"""`umc train`."""

from collections.abc import Callable
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
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.settings.train import SECTION, TrainSettings

if TYPE_CHECKING:
    from umc_cli.workflows.train import TrainProgress, TrainReport


@with_options(TrainSettings, SECTION, ADVERSARIAL_PRESETS)
def command(
    given: Given,
    pretrain: Annotated[
        str | None,
        typer.Option(
            help="simulated: train a refiner instead, on sounds as simulated devices record them.",
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
        run, name, command = partial(train, workspace, settings), settings.run_name, "umc train"
    else:
        refiner_settings = load_pretrain_settings(workspace, pretrain, given)
        run, name = partial(train_refiner, workspace, refiner_settings), refiner_settings.run_name
        command = f"umc train --pretrain {pretrain}"
    run_training(run, workspace.runs / name, f"{command} --name {name} --resume", as_json, quiet, verbose)


def run_training(
    run: "Callable[[TrainProgress], TrainReport]",
    folder: Path,
    resume: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    best: str = "best validation",
) -> None:
    """Train and print what happened; `resume` is the command that resumes the run, `best` what its best score is.

    Raises:
        typer.Exit: always, with the exit code.
    """
    from umc_cli.training.run_settings import SETTINGS_NAME

    try:
        with training_progress(quiet) as progress:
            report = run(progress)
    except KeyboardInterrupt:
        begun = (folder / SETTINGS_NAME).exists()
        render.err().print(
            f"[yellow]Interrupted.[/] The last saved state is kept. Resume with: {resume}"
            if begun
            else "[yellow]Interrupted[/] before the first step. Run the same command again."
        )
        raise typer.Exit(130) from None
    show_report(report, resume, as_json, quiet, verbose, best)
    raise typer.Exit(report.exit_code)


def show_report(report: "TrainReport", resume: str, as_json: bool, quiet: bool, verbose: bool, best: str) -> None:
    """Print what a training did; `resume` is the command that resumes it, `best` what the best score is called."""
    from umc_cli.training.ranks import is_first_process

    if not is_first_process():
        return
    render.print_problems(report, quiet, verbose, "recording", "could not be read")
    if not report.is_finished:
        render.err().print(
            f"[yellow]Stopped[/] after step {report.n_steps} of {report.total_steps}; the state is saved. "
            f"Resume with: {resume}"
        )
    if as_json:
        render.print_report(report)
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
    lines = [f"run: {report.folder}"]
    if report.weights:
        lines.append(f"samples converted with: {report.weights}")
    lines += [f"weights published: {path} ({report.publication})" for path in report.published]
    if report.publication and not report.published:
        lines.append(f"weights not published: {report.publication}")
        lines.append(f"publish them anyway with: {resume} --publish")
    for line in lines:
        console.print(render.printable(line), markup=False)
