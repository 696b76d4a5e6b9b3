"""`umc train`."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.options import (
    RECORDINGS,
    RUN,
    ComputeDevice,
    Epochs,
    Hop,
    Json,
    LogEvery,
    MaxSteps,
    Quiet,
    Remainder,
    SaveEvery,
    ShortClips,
    SilenceGate,
    TrainingPrecision,
    ValidateEvery,
    Verbose,
    Workers,
    complete_device_ids,
    complete_words,
)
from umc_cli.cli.training_progress import training_progress

if TYPE_CHECKING:
    from umc_cli.workflows.train import TrainProgress, TrainReport

_NETWORKS, _LEARNING = "Networks", "Learning"


def command(
    preset: Annotated[
        str | None,
        typer.Option(
            help="paper (as published), cpu (for two processors) or smoke (under a minute, to see that all works). "
            "(default: cpu)",
            autocompletion=complete_words("paper", "cpu", "smoke"),
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the run's folder. (default: the preset, or the pair)",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(
            help="Two devices, as A:B, with a CycleGAN of two generators without conditions, one each way. "
            "(default: one generator for all devices)",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    pretrain: Annotated[
        str | None,
        typer.Option(
            help="simulated: train a refiner instead, on the sounds of train-mc played to simulated devices.",
            autocompletion=complete_words("simulated"),
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of this name.", rich_help_panel=RUN)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the run of this name, and checkpoints of other runs.", rich_help_panel=RUN
        ),
    ] = False,
    no_publish: Annotated[
        bool,
        typer.Option(
            "--no-publish",
            help="Do not copy the best weights to checkpoints/; they stay in the run's folder.",
            rich_help_panel=RUN,
        ),
    ] = False,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    log_every: LogEvery = None,
    validate_every: ValidateEvery = None,
    save_every: SaveEvery = None,
    devices: Annotated[
        str | None,
        typer.Option(
            help="Devices to train on, with commas between them. (default: all with recordings)",
            autocompletion=complete_device_ids,
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    hop: Hop = None,
    short_clips: ShortClips = None,
    remainder: Remainder = None,
    silence_gate: SilenceGate = None,
    held_out_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the recordings to validate on. (default: 0.05)",
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    ngf: Annotated[
        int | None,
        typer.Option(
            help="Channels after the generator's first convolution. (preset)",
            show_default=False,
            rich_help_panel=_NETWORKS,
        ),
    ] = None,
    n_blocks: Annotated[
        int | None,
        typer.Option(help="Residual blocks of the generator. (preset)", show_default=False, rich_help_panel=_NETWORKS),
    ] = None,
    ndf: Annotated[
        int | None,
        typer.Option(
            help="Channels after a discriminator's first convolution. (preset)",
            show_default=False,
            rich_help_panel=_NETWORKS,
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="Level of a segment: carried around the generator, or lost as in the paper. (preset)",
            autocompletion=complete_words("carried", "lost"),
            show_default=False,
            rich_help_panel=_NETWORKS,
        ),
    ] = None,
    film_encoder: Annotated[
        str | None,
        typer.Option(
            help="Encoder of the difference: sized or paper. (preset)",
            autocompletion=complete_words("sized", "paper"),
            show_default=False,
            rich_help_panel=_NETWORKS,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Segments converted in a step. (preset)", show_default=False, rich_help_panel=_LEARNING),
    ] = None,
    micro_batch_size: Annotated[
        int | None,
        typer.Option(
            help="Segments computed at once, to bound memory. (default: the batch)",
            show_default=False,
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Of Adam, at the start. (preset)", show_default=False, rich_help_panel=_LEARNING),
    ] = None,
    learning_rate_epochs: Annotated[
        int | None,
        typer.Option(
            help="Epochs after which the learning rate is divided by 10. (preset)",
            show_default=False,
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    cycle_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the cycle loss. (default: 10)", show_default=False, rich_help_panel=_LEARNING),
    ] = None,
    identity_weight: Annotated[
        float | None,
        typer.Option(
            help="Weight of the identity loss. (default: 0, none)", show_default=False, rich_help_panel=_LEARNING
        ),
    ] = None,
    buffer_size: Annotated[
        int | None,
        typer.Option(
            help="Segments in each discriminator's image buffer. (default: 50)",
            show_default=False,
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    average_decay: Annotated[
        float | None,
        typer.Option(
            help="Decay of the moving average of the weights. (default: 0.999)",
            show_default=False,
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of all random numbers. (default: 0)", show_default=False, rich_help_panel=_LEARNING),
    ] = None,
    precision: TrainingPrecision = None,
    compute_device: ComputeDevice = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a generator on the recordings of several devices, or a refiner on simulated ones, or go on with a run.

    The run's folder runs/<name>/ holds settings, metrics, pictures, weights and the state that --resume goes on from.

    Every option can also stand in the section "train" of umc.toml or in a variable UMC_TRAIN_<OPTION>; those of
    --pretrain in the section "pretrain" and in UMC_PRETRAIN_<OPTION>.
    """
    from umc_cli.config import find_workspace
    from umc_cli.workflows.pretrain import load_pretrain_settings, train_refiner
    from umc_cli.workflows.train import load_train_settings, train

    workspace = find_workspace(Path.cwd())
    given = {
        "resume": resume or None, "overwrite": overwrite or None, "publish": False if no_publish else None,
        "preset": preset, "name": name, "pair": pair, "epochs": epochs, "max_steps": max_steps,
        "log_every": log_every, "validate_every": validate_every, "save_every": save_every, "devices": devices,
        "hop": hop, "short_clips": short_clips, "remainder": remainder, "silence_gate": silence_gate,
        "held_out_share": held_out_share, "ngf": ngf, "n_blocks": n_blocks, "ndf": ndf, "level": level,
        "film_encoder": film_encoder, "batch_size": batch_size, "micro_batch_size": micro_batch_size,
        "learning_rate": learning_rate, "learning_rate_epochs": learning_rate_epochs, "cycle_weight": cycle_weight,
        "identity_weight": identity_weight, "buffer_size": buffer_size, "average_decay": average_decay,
        "seed": seed, "precision": precision, "compute_device": compute_device, "workers": workers,
    }  # fmt: skip
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
