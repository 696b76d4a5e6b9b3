"""`umc eval layers`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import find_workspace, load_settings
from umc_cli.settings.eval_layers import SECTION, EvaluateLayersSettings

if TYPE_CHECKING:
    from umc_cli.workflows.evaluate_layers import EvaluateLayersReport


@with_options(EvaluateLayersSettings, SECTION)
def layers_command(given: Given, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Measure where in a generator the target device can be read: Figure 3 of the paper.

    Every segment is converted to every target. For each layer, probes predict the target from the means over
    channels, frequency and time: mutual information (a lower bound) and accuracy. Linear probes, and small networks.
    """
    from umc_cli.workflows.evaluate_layers import evaluate_layers

    workspace = find_workspace(Path.cwd())
    settings = load_settings(EvaluateLayersSettings, workspace, SECTION, given)
    report = evaluate_layers(
        workspace, settings, lambda step: None if quiet else render.err().print(step, markup=False)
    )
    _show(report, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def _show(report: "EvaluateLayersReport", as_json: bool, quiet: bool, verbose: bool) -> None:
    render.print_problems(report, quiet, verbose)
    if as_json:
        render.print_report(report)
        return
    _print_table(report, verbose, "")
    if any(probed.network_accuracy for probed in next(iter(report.layers.values())).values()):
        render.print_text("\nsmall networks as probes")
        _print_table(report, verbose, "network_")
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


def _print_table(report: "EvaluateLayersReport", verbose: bool, probe: str) -> None:
    """Print what one kind of probe found; `probe`: what its measures' names begin with."""
    dimensions = list(next(iter(report.layers.values())))
    columns = [f"{dimension} {unit}" for dimension in dimensions for unit in ("bits", "%")]
    table = render.table("layer", *columns, right=columns)
    for layer, statistics in report.layers.items():
        cells = []
        for dimension in dimensions:
            information = getattr(statistics[dimension], f"{probe}information_bits")
            accuracy = getattr(statistics[dimension], f"{probe}accuracy")
            spread = (f" ± {information.standard_error:.2f}", f" ± {100 * accuracy.standard_error:.0f}")
            shown = (f"{information.value:.2f}", f"{100 * accuracy.value:.0f}")
            cells += [value + error if verbose else value for value, error in zip(shown, spread, strict=True)]
        table.add_row(layer, *cells)
    render.print_table(table)
