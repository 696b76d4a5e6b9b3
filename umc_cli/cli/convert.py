"""`umc convert`."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.options import (
    MACHINE,
    RECORDINGS,
    ComputeDevice,
    Engine,
    Hop,
    Json,
    Precision,
    Quiet,
    Remainder,
    ShortClips,
    SilenceGate,
    Verbose,
    Workers,
    complete_device_ids,
    complete_words,
)
from umc_cli.cli.progress import conversion_progress

if TYPE_CHECKING:
    from umc_cli.workflows.convert_report import ConvertReport

_CONVERTER, _OUTPUT = "Conversion", "Result"


def command(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Recordings of the source device; `-` reads a list from standard input (one a line, or "
            "zero bytes between them). Default: all in the workspace's data folder.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Device that made the recordings.", autocompletion=complete_device_ids, show_default=False),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            help="Devices to convert to, with commas between them, or `all`; `synth:N` means N invented devices, "
            "`synth:FILE` those of a file that umc synth-fr wrote. (default: all)",
            autocompletion=complete_device_ids,
            show_default=False,
        ),
    ] = None,
    converter: Annotated[
        str | None,
        typer.Option(
            help="refiner_quantile, quantile, refiner, eq_noise, eq, film_gan, or auto: the best for which "
            "everything is there. (default: auto)",
            autocompletion=complete_words(
                "auto", "refiner_quantile", "quantile", "refiner", "eq_noise", "eq", "film_gan"
            ),
            show_default=False,
            rich_help_panel=_CONVERTER,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Weights (safetensors) for film_gan (default: checkpoints/generator.safetensors) or for the refiners "
            "(default: checkpoints/refiner.safetensors, else those of the package).",
            show_default=False,
            rich_help_panel=_CONVERTER,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Only recordings with this label (repeatable).", show_default=False, rich_help_panel=RECORDINGS
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this split: train-mc, train-sec or val-sec (repeatable).",
            autocompletion=complete_words("train-mc", "train-sec", "val-sec"),
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    hop: Hop = None,
    short_clips: ShortClips = None,
    remainder: Remainder = None,
    silence_gate: SilenceGate = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Output folder. (default: converted)", show_default=False, rich_help_panel=_OUTPUT
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Remove the shards of an earlier run with other settings.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    shard_size: Annotated[
        int | None,
        typer.Option(help="Segments a shard at the most. (default: 1024)", show_default=False, rich_help_panel=_OUTPUT),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float16 or float32. (default: float16)",
            autocompletion=complete_words("float16", "float32"),
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Segments computed at once. (default: 32)", show_default=False, rich_help_panel=MACHINE),
    ] = None,
    workers: Workers = None,
    reader_timeout_s: Annotated[
        float | None,
        typer.Option(
            help="Seconds that reading one recording may take before it counts as failed. (default: 300)",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = None,
    engine: Engine = None,
    precision: Precision = None,
    compute_device: ComputeDevice = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="I/N: make only part I (from 1) of N, as one of N processes that write to the same output. "
            "(default: the whole run)",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Let Ray make the shards: auto starts it on this machine, HOST:PORT or ray://HOST:PORT joins a "
            "cluster. (default: this process alone)",
            show_default=False,
            rich_help_panel=MACHINE,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Convert the recordings of one device into what other devices would have recorded, as HDF5 shards.

    An interrupted run goes on where it stopped when the same command is given again.

    Every option can also stand in the section "convert" of umc.toml or in a variable UMC_CONVERT_<OPTION>.
    """
    from umc_cli.config import find_workspace, load_settings
    from umc_cli.workflows.convert import ConvertSettings, convert

    workspace = find_workspace(Path.cwd())
    given = {
        "source": source, "targets": targets, "converter": converter, "checkpoint": checkpoint,
        "label": tuple(label) if label else None, "split": tuple(split) if split else None,
        "hop": hop, "short_clips": short_clips, "remainder": remainder, "silence_gate": silence_gate,
        "output": output, "overwrite": overwrite or None, "shard_size": shard_size, "dtype": dtype,
        "batch_size": batch_size, "workers": workers, "reader_timeout_s": reader_timeout_s,
        "engine": engine, "precision": precision, "compute_device": compute_device, "part": part,
        "cluster": cluster,
    }  # fmt: skip
    settings = load_settings(ConvertSettings, workspace, "convert", given)
    try:
        with conversion_progress(quiet) as progress:
            report = convert(workspace, settings, _listed(files), progress)
    except KeyboardInterrupt:
        render.err().print("[yellow]Interrupted.[/] Finished shards are kept: give the same command again to go on.")
        raise typer.Exit(130) from None
    show_report(report, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def _listed(files: list[str] | None) -> list[str] | None:
    """Replace `-` by the list on standard input."""
    if not files:
        return None
    names: list[str] = []
    for name in files:
        names += _standard_input() if name == "-" else [name]
    return names


def _standard_input() -> list[str]:
    content = sys.stdin.buffer.read()
    separator = b"\0" if b"\0" in content else b"\n"
    return [os.fsdecode(line) for line in (part.rstrip(b"\r") for part in content.split(separator)) if line]


def show_report(report: "ConvertReport", as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print what a conversion did."""
    if not quiet:
        render.print_warnings(report.warnings)
        console = render.err()
        made_with = ", ".join(f"{key} {value[:12]}" for key, value in report.made_with.items())
        made_with = f", {made_with}" if made_with else ""
        console.print(f"converter {report.converter} ({report.reason}){made_with}", markup=False)
        if report.left_out:
            console.print(
                f"{render.count(len(report.left_out), 'target')} left out"
                + ("" if verbose else " (--verbose says why)")
            )
        for target, gap in report.left_out.items() if verbose else ():
            console.print(render.printable(f"  {target}: no {gap.removeprefix('a ')}"), markup=False)
    render.print_failed(report.failed, str(Path(report.output) / "failed.csv"), verbose)
    if as_json:
        render.print_json(asdict(report) | {"exit_code": report.exit_code})
        return
    table = render.table("target", "segments", "folder", right=["segments"])
    for target in report.targets:
        table.add_row(target, str(report.n_segments), render.cell(str(Path(report.output) / target)))
    render.print_table(table)
    if not quiet:
        part = f"part {report.part}: " if report.part else ""
        console.print(
            f"{part}{report.n_segments} segments of {report.n_files} recordings x {len(report.targets)} targets in "
            f"{report.seconds:.1f} s; {report.n_shards_written} shards written, {report.n_shards_kept} kept"
        )
