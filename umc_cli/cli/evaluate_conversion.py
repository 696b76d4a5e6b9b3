"""`umc eval conversion`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import find_workspace, load_settings
from umc_cli.settings.eval_conversion import SECTION, EvaluateConversionSettings

if TYPE_CHECKING:
    from umc_cli.workflows.evaluate_conversion import EvaluateConversionReport

_COLUMNS = {
    "distance dB": "log_spectral_distance_signal_db",
    "all frames dB": "log_spectral_distance_db",
    "response dB": "response_error_db",
    "level dB": "level_error_db",
    "as target %": "probe_target_share",
    "as source %": "probe_source_share",
    "Frechet": "frechet_distance",
    "cycle dB": "cycle_error_db",
    "content %": "content_accuracy",
}
_SHARES = {"probe_target_share", "probe_source_share", "content_accuracy"}


@with_options(EvaluateConversionSettings, SECTION)
def conversion_command(given: Given, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Measure converters on recordings of several devices, of the same or of different sounds.

    Converters learn from split train-converter, else train; judges from all splits except the measured one.
    """
    from umc_cli.workflows.evaluate_conversion import evaluate_conversion

    workspace = find_workspace(Path.cwd())
    settings = load_settings(EvaluateConversionSettings, workspace, SECTION, given)
    report = evaluate_conversion(workspace, settings, lambda step: None if quiet else render.err().print(step))
    _show(report, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def _show(report: "EvaluateConversionReport", as_json: bool, quiet: bool, verbose: bool) -> None:
    render.print_problems(report, quiet, verbose)
    if not quiet:
        _show_left_out(report, verbose)
        for device, origin in report.recorded_floors.items():
            render.err().print(render.printable(f"noise floor of {device}: {origin}"), markup=False)
    if as_json:
        render.print_report(report)
        return
    table = render.table("converter", "targets", *_COLUMNS, right=["targets", *_COLUMNS])
    for row in report.converters:
        overall = [row.overall.get(name) for name in _COLUMNS.values()]
        cells = [
            _number(name, each.mean, each.spread) if each else "-"
            for name, each in zip(_COLUMNS.values(), overall, strict=True)
        ]
        table.add_row(render.cell(row.converter), str(len(row.targets)), *cells)
        for target, measured in row.targets.items() if verbose else ():
            values = [measured.get(name) for name in _COLUMNS.values()]
            cells = [
                _number(name, each.value, each.seed_spread) if each else "-"
                for name, each in zip(_COLUMNS.values(), values, strict=True)
            ]
            table.add_row(render.cell(f"  {target}"), "", *cells)
    render.print_table(table)
    if quiet:
        return
    _show_verdict(report)
    console = render.err()
    counts = ", ".join(f"{name} {target.n_segments}" for name, target in report.targets.items())
    console.print(
        f"{report.n_segments} segments of {report.source} in split {report.split}; compared: {counts}; "
        f"mean ± standard deviation over targets{', over seeds in the rows of targets' if verbose else ''}; "
        f"{report.seconds:.0f} s",
        markup=False,
    )
    for target, entry in report.targets.items() if verbose else ():
        console.print(
            f"  {target}: {entry.n_without_counterpart} segments without counterpart, "
            f"level_only from {entry.level_from or 'nothing'}",
            markup=False,
        )


def _show_verdict(report: "EvaluateConversionReport") -> None:
    verdict = report.verdict
    if verdict is None:
        return
    of = f"to what {', '.join(verdict.targets)} recorded ({render.count(verdict.n_recordings, 'recording')})"
    distance = f"{verdict.distance_db:.2f} dB over all frames"
    if verdict.converter != verdict.default:
        rest = (
            f"{verdict.default}, which auto takes unless it is told: {verdict.default_db:.2f} (p {verdict.p_value:.2g})"
        )
        line = f"nearest {of}: {verdict.converter}, {distance}; {rest}"
    else:
        line = f"none is nearer {of} than {verdict.converter}, which auto takes: {distance}"
    told = f"kept in {report.saved}, which auto goes by" if report.saved else "--save-verdict lets auto go by this"
    render.err().print(render.printable(f"{line}\n  {report.command}\n  {told}"), markup=False)


def _show_left_out(report: "EvaluateConversionReport", verbose: bool) -> None:
    for converter, missing in report.left_out.items():
        gaps = sorted(set(missing.values()))
        shown = gaps if verbose else gaps[:1]
        more = f" and {len(gaps) - len(shown)} more (--verbose lists all)" if len(gaps) > len(shown) else ""
        render.err().print(
            render.printable(
                f"{converter} is left out for {render.count(len(missing), 'target')}: it lacks {', '.join(shown)}{more}"
            ),
            markup=False,
        )


def _number(measure: str, value: float, spread: float | None) -> str:
    factor, digits = (100, 0) if measure in _SHARES else (1, 2)
    shown = f"{factor * value:.{digits}f}"
    return shown if spread is None else f"{shown} ± {factor * spread:.{digits}f}"
