"""`umc synth-fr`."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet
from umc_cli.cli.plot import text_plot
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import find_workspace, load_settings
from umc_cli.settings.synth_fr import SECTION, SynthFrSettings

if TYPE_CHECKING:
    from umc_cli.response.synthesis.coverage import CoverageReport, OverSeeds
    from umc_cli.workflows.synth_fr import DrawnDifferences, SynthFrReport


@with_options(SynthFrSettings, SECTION)
def command(
    given: Given,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A setting of the method, such as most_db=9; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Invent frequency-response differences, noise floors and sensitivities: devices that do not exist.

    umc convert --targets synth:FILE converts to them.
    """
    from umc_cli.workflows.synth_fr import synth_fr

    workspace = find_workspace(Path.cwd())
    settings = load_settings(SynthFrSettings, workspace, SECTION, given | {"method_settings": _named(setting)})
    report = synth_fr(workspace, settings, lambda step: None if quiet else render.err().print(step, markup=False))
    if as_json:
        render.print_json(_as_json(report))
        return
    if report.drawn:
        _show_drawn(report.drawn)
    if report.coverage:
        _show_coverage(report.coverage)
    if not quiet:
        console = render.err()
        learned = f"learned from {report.learned_from}, {render.count(len(report.devices), 'device')}"
        console.print(render.printable(learned if report.devices else "learned from no device"), markup=False)
        for path in filter(None, (report.output, report.figure)):
            console.print(render.printable(f"written: {path}"), markup=False)


def _named(pairs: list[str] | None) -> dict[str, str] | None:
    """Return `NAME=VALUE` pairs by name."""
    if not pairs:
        return None
    for pair in pairs:
        if "=" not in pair:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--setting")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _as_json(report: "SynthFrReport") -> dict[str, Any]:
    from umc_cli.workflows.report_base import report_as_json

    content = report_as_json(report)
    for entry in content["coverage"]["methods"] if content["coverage"] else ():
        # One value for each real difference and seed is for pictures.
        del entry["nearest_db"], entry["rank"]
    return content


def _show_drawn(drawn: "DrawnDifferences") -> None:
    width = max(32, min(96, shutil.get_terminal_size().columns - 14))
    learned = "".join(f", {name} {value}" for name, value in drawn.learned.items())
    render.print_text(
        f"{render.count(drawn.n, 'difference')} by {drawn.method}{learned}; median size {drawn.size_median_db:.1f} dB"
    )
    for title, values in (
        ("the first difference, target minus source", drawn.example_db),
        ("standard deviation over all differences", drawn.spread_db),
        ("median noise floor, re full scale", drawn.noise_floor_median_db),
    ):
        render.print_text(f"\n{title}, dB over 128 mel bands")
        for line in text_plot(values, width, height=6, unit="dB"):
            render.print_text(line)


def _show_coverage(coverage: "CoverageReport") -> None:
    columns = ("nearest dB", "9 in 10 dB", "rank", "rare %", "size dB")
    table = render.table("method", *columns, right=columns)
    for one in coverage.methods:
        table.add_row(
            one.method,
            _figure(one.nearest_median_db, 2),
            _figure(one.nearest_90_db, 2),
            _figure(one.rank_median, 2),
            _figure(one.rare_share, 1, 100),
            _figure(one.drawn_size_db, 2),
        )
    render.print_table(table)
    render.err().print(
        f"{coverage.n_differences} real differences of {len(coverage.devices)} devices, median size "
        f"{coverage.real_size_median_db:.2f} dB; {coverage.n_drawn} drawn for each device left out; "
        f"{coverage.n_bands} bands; ± standard deviation over {render.count(len(coverage.seeds), 'seed')}",
        markup=False,
    )


def _figure(figure: "OverSeeds", decimals: int, scale: float = 1) -> str:
    return f"{scale * figure.mean:.{decimals}f} ± {scale * figure.spread:.{decimals}f}"
