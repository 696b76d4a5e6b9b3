"""`umc train-sec`."""

from pathlib import Path
from typing import Annotated

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
from umc_cli.cli.train import show_report
from umc_cli.cli.training_progress import training_progress

_LEARNING = "Learning"


def command(
    source: Annotated[
        str | None,
        typer.Option(
            help="Device whose recordings are trained on.", autocompletion=complete_device_ids, show_default=False
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="none, ideal, unified-real, unified-synth, mc, adapt, eq, eq-noise, quantile, dir, gaussian-noise, "
            "room-reverb, pitch-shift, spec-augment, mixup, filter-augment, freq-mixstyle, residual-norm or rfn; "
            "several with + between them. (default: none)",
            show_default=False,
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            help="Devices that samples are converted to, or whose recordings ideal has, with commas between them. "
            "(default: all that can be served)",
            autocompletion=complete_device_ids,
            show_default=False,
        ),
    ] = None,
    converted_share: Annotated[
        float | None,
        typer.Option(help="Probability that a sample is converted. (default: 0.5)", show_default=False),
    ] = None,
    converter: Annotated[
        str | None,
        typer.Option(
            help="Of the unified methods: refiner_quantile, refiner or film_gan. (default: the first of them that has "
            "all it needs)",
            autocompletion=complete_words("refiner_quantile", "refiner", "film_gan"),
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Weights (safetensors) of the unified converter. (default: checkpoints/refiner.safetensors, else "
            "those of the package)",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option(
            help="Read conversions from this output folder of `umc convert`. (default: convert on the fly)",
            show_default=False,
        ),
    ] = None,
    invented: Annotated[
        int | None,
        typer.Option(
            help="Invented devices of unified-synth, if --targets names none (synth:N, synth:FILE). (default: 200)",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="paper (as published), cpu (minutes on two processors) or smoke (seconds). (default: paper)",
            autocompletion=complete_words("paper", "cpu", "smoke"),
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the run's folder. (default: source, method and seed)",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of this name.", rich_help_panel=RUN)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run of this name.", rich_help_panel=RUN)
    ] = False,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    log_every: LogEvery = None,
    validate_every: ValidateEvery = None,
    save_every: SaveEvery = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="resnet50, cnn, or a classifier of torchvision. (preset)",
            autocompletion=complete_words("resnet50", "cnn"),
            show_default=False,
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Segments a step. (preset)", show_default=False, rich_help_panel=_LEARNING),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Of AdamW, at the start. (preset)", show_default=False, rich_help_panel=_LEARNING),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of all random numbers. (default: 0)", show_default=False, rich_help_panel=_LEARNING),
    ] = None,
    held_out_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the source's recordings that the best weights are chosen by. (default: 0.1)",
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    hop: Hop = None,
    short_clips: ShortClips = None,
    remainder: Remainder = None,
    silence_gate: SilenceGate = None,
    precision: TrainingPrecision = None,
    compute_device: ComputeDevice = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a sound event classifier on the recordings of one device, made robust to others by a method.

    Learns from split train-sec; the best weights are chosen by recordings of the source that are held out. Devices are
    scored with `umc eval`.

    Every option can also stand in the section "train-sec" of umc.toml or in a variable UMC_TRAIN_SEC_<OPTION>.
    """
    from umc_cli.config import find_workspace
    from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec

    workspace = find_workspace(Path.cwd())
    given = {
        "source": source, "method": method, "targets": targets, "converted_share": converted_share,
        "converter": converter, "checkpoint": checkpoint, "shards": shards, "invented": invented,
        "preset": preset, "name": name, "resume": resume or None,
        "overwrite": overwrite or None, "epochs": epochs, "max_steps": max_steps, "log_every": log_every,
        "validate_every": validate_every, "save_every": save_every, "backbone": backbone,
        "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed, "held_out_share": held_out_share,
        "hop": hop, "short_clips": short_clips, "remainder": remainder, "silence_gate": silence_gate,
        "precision": precision, "compute_device": compute_device, "workers": workers,
    }  # fmt: skip
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
