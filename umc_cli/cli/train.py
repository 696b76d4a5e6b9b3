"""`umc train`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from umc_cli.cli import render
from umc_cli.cli.completion import complete_words
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.progress import conversion_progress
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.cli.training_progress import training_progress
from umc_cli.config import RUN, find_workspace
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.settings.train import SECTION, TrainSettings
from umc_cli.training.torchrun import is_first_process, refuse_several

if TYPE_CHECKING:
    from umc_cli.workflows.train import TrainProgress, TrainReport
    from umc_cli.workflows.training_dry_run import PlanningProgress, TrainingDryRun


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
    workspace = find_workspace(Path.cwd())
    run: Callable[[TrainProgress], TrainReport]
    if pretrain is None:
        from umc_cli.workflows.train import load_train_settings, train

        settings = load_train_settings(workspace, given)
        if settings.dry_run:
            from umc_cli.workflows.train_dry_run import train_dry_run

            show_dry_run(partial(train_dry_run, workspace, settings), as_json, quiet, verbose)
        run, name, command = partial(train, workspace, settings), settings.run_name, "umc train"
    else:
        refuse_several("umc train --pretrain")  # before torch is loaded
        from umc_cli.workflows.pretrain import load_pretrain_settings, train_refiner

        refiner_settings = load_pretrain_settings(workspace, pretrain, given)
        if refiner_settings.dry_run:
            from umc_cli.workflows.pretrain_dry_run import pretrain_dry_run

            show_dry_run(partial(pretrain_dry_run, workspace, refiner_settings), as_json, quiet, verbose)
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


def show_dry_run(
    dry_run: "Callable[[PlanningProgress], TrainingDryRun]", as_json: bool, quiet: bool, verbose: bool
) -> NoReturn:
    """Find out what a training would do, and print it.

    Raises:
        typer.Exit: always, with the exit code.
    """
    with conversion_progress(quiet) as progress:
        report = dry_run(progress)
    render.print_problems(report, quiet, verbose, "recording", "cannot be read")
    if as_json:
        render.print_report(report)
    else:
        render.print_text("\n".join(_dry_run_lines(report)))
    raise typer.Exit(report.exit_code)


def _dry_run_lines(report: "TrainingDryRun") -> list[str]:
    splits = ", ".join(f"{count} of split {split}" for split, count in report.splits.items())
    thing = "sound" if report.mode == "refiner" else "segment"
    n_train, n_held_out = sum(report.n_segments.values()), sum(report.n_held_out.values())
    each = ", ".join(f"{device} {count}" for device, count in report.n_segments.items())
    lines = [
        f"would read    {render.count(report.n_files, 'recording')} ({splits}), "
        f"{render.duration(report.sound_s)} of sound",
        f"would train   {report.mode} on {render.count(n_train, thing)} ({each}), {n_held_out} held out; "
        f"{report.precision} on {report.compute_device}",
    ]
    if report.labels:
        lines.append(f"would tell    {render.count(len(report.labels), 'label')}: {', '.join(report.labels)}")
    if report.converter:
        to = ", ".join(report.targets) or "devices drawn anew for every sample"
        lines.append(f"would convert with {report.converter} to {to}")
    if report.weights:
        lines.append(f"with weights  {report.weights}")
    todo = {"resumed": f"resume after step {report.n_steps}", "replaced": "replace the run there", "new": "begin"}
    n_epochs = report.total_steps / report.steps_per_epoch
    lines += [
        f"would {todo[report.run]} and end after step {report.total_steps} ({n_epochs:.4g} epochs of "
        f"{render.count(report.steps_per_epoch, 'step')})",
        f"would keep    in {report.folder}: {', '.join(report.files)}",
    ]
    if report.publication:
        where = f"to {', '.join(report.publishes)}, " if report.publishes else ""
        lines.append(f"would publish {where}{report.publication}")
    timed = f"{render.count(report.n_timed, 'step')} that were timed" if report.n_timed else "those of the run so far"
    took = render.duration(report.estimated_seconds)
    lines.append(f"would take    {took} ({report.seconds_per_step:.2g} s a step, as {timed})")
    memory = f", {report.memory_bytes / 2**20:,.0f} MiB of memory" if report.memory_bytes else ""
    lines.append(
        f"would need    {report.estimated_bytes / 2**20:,.1f} MiB ({report.checkpoint_bytes / 2**20:,.1f} of weights "
        f"and state; {report.free_bytes / 2**20:,.0f} MiB are free){memory}"
    )
    return [render.printable(line) for line in lines]
