"""`umc synth-fr`."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, complete_words
from umc_cli.cli.plot import text_plot

if TYPE_CHECKING:
    from umc_cli.workflows.difference_coverage import CoverageReport, Figure
    from umc_cli.workflows.synth_fr import DrawnDifferences, SynthFrReport

_RESULT, _COVERAGE = "Result", "Coverage"


def command(
    method: Annotated[
        str | None,
        typer.Option(
            help="piecewise, pca or mixture. (default: mixture)",
            autocompletion=complete_words("piecewise", "pca", "mixture"),
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", help="Differences to draw. (default: 100)", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Equal seeds give equal differences. (default: 0)", show_default=False)
    ] = None,
    learn_from: Annotated[
        str | None,
        typer.Option(
            help="What pca and mixture learn from: devices (the workspace's, with the package's library if these are "
            "fewer than three), library, or a folder of WAV files with impulse responses. (default: devices)",
            show_default=False,
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A setting of the method, such as most_db=9 (repeatable).", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the differences (safetensors). (default: write none)",
            show_default=False,
            rich_help_panel=_RESULT,
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            help="Picture: .png, .svg or .pdf. (default: draw none)", show_default=False, rich_help_panel=_RESULT
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output and figure.", rich_help_panel=_RESULT)
    ] = False,
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage",
            help="Draw no set: measure how well every method covers real differences of devices that it did not see.",
            rich_help_panel=_COVERAGE,
        ),
    ] = False,
    coverage_drawn: Annotated[
        int | None,
        typer.Option(
            help="Differences that each method draws for each device and seed. (default: 2000)",
            show_default=False,
            rich_help_panel=_COVERAGE,
        ),
    ] = None,
    coverage_seeds: Annotated[
        int | None,
        typer.Option(help="Repetitions with other seeds. (default: 3)", show_default=False, rich_help_panel=_COVERAGE),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Invent frequency-response differences, noise floors and sensitivities: devices that do not exist.

    `umc convert --targets synth:FILE` converts to them.

    Every option can also stand in the section "synth-fr" of umc.toml or in a variable UMC_SYNTH_FR_<OPTION>.
    """
    from umc_cli.config import find_workspace, load_settings
    from umc_cli.workflows.synth_fr import SynthFrSettings, synth_fr

    workspace = find_workspace(Path.cwd())
    given = {
        "method": method, "n": n, "seed": seed, "learn_from": learn_from, "method_settings": _named(setting),
        "output": output, "figure": figure, "overwrite": overwrite or None,
        "coverage": coverage or None, "coverage_drawn": coverage_drawn, "coverage_seeds": coverage_seeds,
    }  # fmt: skip
    settings = load_settings(SynthFrSettings, workspace, "synth-fr", given)
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
        console.print(
            render.printable(f"learned from {report.learned_from}, {render.count(len(report.devices), 'device')}"),
            markup=False,
        )
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
    content = asdict(report) | {"exit_code": 0}
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


def _figure(figure: "Figure", decimals: int, scale: float = 1) -> str:
    return f"{scale * figure.mean:.{decimals}f} ± {scale * figure.spread:.{decimals}f}"
