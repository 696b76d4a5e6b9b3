"""`umc eval layers`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.options import (
    RECORDINGS,
    ComputeDevice,
    DroppedRemainder,
    DroppedShortClips,
    Hop,
    Json,
    Quiet,
    SilenceGate,
    Verbose,
    complete_device_ids,
    complete_words,
)

if TYPE_CHECKING:
    from umc_cli.workflows.evaluate_layers import EvaluateLayersReport

_FIGURE = "Figure"


def layers_command(
    source: Annotated[
        str | None,
        typer.Option(
            help="Device whose recordings are converted.", autocompletion=complete_device_ids, show_default=False
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            help="Devices to convert to, with commas between them, or `all` with a record. (default: all)",
            autocompletion=complete_device_ids,
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Generator (safetensors), trained for all devices. (default: checkpoints/generator.safetensors)",
            show_default=False,
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            help="Picture: .png, .svg or .pdf. (default: draw none)", show_default=False, rich_help_panel=_FIGURE
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing picture.", rich_help_panel=_FIGURE)
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split that is converted: train-mc, train-sec or val-sec. (default: val-sec)",
            autocompletion=complete_words("train-mc", "train-sec", "val-sec"),
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    most_segments: Annotated[
        int | None,
        typer.Option(
            help="Segments that are converted to every target, at the most. (default: 200)",
            show_default=False,
            rich_help_panel=RECORDINGS,
        ),
    ] = None,
    hop: Hop = None,
    short_clips: DroppedShortClips = None,
    remainder: DroppedRemainder = None,
    silence_gate: SilenceGate = None,
    compute_device: ComputeDevice = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure where in a generator the target device can be read: Figure 3 of the paper.

    Every segment is converted to every target; of each layer, what its means over channels, frequency and time tell of
    the target: the mutual information, at least, and the accuracy of a linear probe.

    Every option can also stand in the section "eval-layers" of umc.toml or in a variable UMC_EVAL_LAYERS_<OPTION>.
    """
    given = {
        "source": source,
        "targets": targets,
        "checkpoint": checkpoint,
        "figure": figure,
        "overwrite": overwrite or None,
        "split": split,
        "most_segments": most_segments,
        "hop": hop,
        "short_clips": short_clips,
        "remainder": remainder,
        "silence_gate": silence_gate,
        "compute_device": compute_device,
    }
    from umc_cli.config import find_workspace, load_settings
    from umc_cli.workflows.evaluate_layers import EvaluateLayersSettings, evaluate_layers

    workspace = find_workspace(Path.cwd())
    settings = load_settings(EvaluateLayersSettings, workspace, "eval-layers", given)
    report = evaluate_layers(
        workspace, settings, lambda step: None if quiet else render.err().print(step, markup=False)
    )
    _show(report, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def _show(report: "EvaluateLayersReport", as_json: bool, quiet: bool, verbose: bool) -> None:
    if not quiet:
        render.print_warnings(report.warnings)
    render.print_failed(report.failed, "", verbose)
    if as_json:
        render.print_json(asdict(report) | {"exit_code": report.exit_code})
        return
    dimensions = list(next(iter(report.layers.values())))
    columns = [f"{dimension} {unit}" for dimension in dimensions for unit in ("bits", "%")]
    table = render.table("layer", *columns, right=columns)
    for layer, statistics in report.layers.items():
        cells = []
        for dimension in dimensions:
            information, accuracy = statistics[dimension].information_bits, statistics[dimension].accuracy
            spread = (f" ± {information.standard_error:.2f}", f" ± {100 * accuracy.standard_error:.0f}")
            shown = (f"{information.value:.2f}", f"{100 * accuracy.value:.0f}")
            cells += [value + error if verbose else value for value, error in zip(shown, spread, strict=True)]
        table.add_row(layer, *cells)
    render.print_table(table)
    if quiet:
        return
    console = render.err()
    console.print(
        f"{report.n_segments} segments of {render.count(report.n_recordings, 'recording')} of {report.source} in split "
        f"{report.split}, each converted to {len(report.targets)} targets; H(target) {report.entropy_bits:.2f} bits, "
        f"chance {100 * report.chance:.0f} %; information is a lower bound"
        f"{'; ± standard error over recordings' if verbose else ''}; {report.seconds:.0f} s",
        markup=False,
    )
    if report.figure:
        console.print(render.printable(f"written: {report.figure}"), markup=False)
