"""`umc convert`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.progress import conversion_progress
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import Workspace, find_workspace, load_settings
from umc_cli.settings.convert import SECTION, ConvertSettings

if TYPE_CHECKING:
    from umc_cli.workflows.convert_dry_run import ConvertDryRun
    from umc_cli.workflows.convert_report import ConvertReport, UpdateCounts


@with_options(ConvertSettings, SECTION)
def command(
    given: Given,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Recordings of the source device; `-` reads a list from standard input (one per line, or separated "
            "by zero bytes). Default: all in the workspace's data folder.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Convert the recordings of one device into what other devices would have recorded: HDF5 shards, audio files.

    To resume an interrupted run, run the same command again.
    """
    workspace = find_workspace(Path.cwd())
    settings = load_settings(ConvertSettings, workspace, SECTION, given)
    if settings.dry_run:
        _dry_run(workspace, settings, _listed(files), as_json, quiet, verbose)
    from umc_cli.workflows.convert import convert

    try:
        with conversion_progress(quiet) as progress:
            report = convert(workspace, settings, _listed(files), progress)
    except KeyboardInterrupt:
        render.err().print("[yellow]Interrupted.[/] Finished shards are kept: run the same command again to resume.")
        raise typer.Exit(130) from None
    show_report(report, as_json, quiet, verbose)
    raise typer.Exit(report.exit_code)


def _dry_run(
    workspace: Workspace,
    settings: ConvertSettings,
    files: list[str] | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> NoReturn:
    from umc_cli.workflows.convert_dry_run import convert_dry_run

    with conversion_progress(quiet) as progress:
        report = convert_dry_run(workspace, settings, files, progress)
    if not quiet:
        _print_choice(report, verbose)
    render.print_failed(report.failed, "", verbose)
    if as_json:
        render.print_report(report)
    else:
        render.print_text("\n".join(_dry_run_lines(report)))
    raise typer.Exit(report.exit_code)


def _dry_run_lines(report: "ConvertDryRun") -> list[str]:
    recordings, targets = render.count(report.n_files, "recording"), render.count(len(report.targets), "target")
    lines = [
        f"would read   {recordings}, {render.duration(report.sound_s)} of sound",
        f"would make   {render.count(report.n_shards_to_make, 'shard')} in {report.output} "
        f"({render.count(report.n_segments, 'segment')} x {targets}: {', '.join(report.targets)})",
        f"would keep   {render.count(report.n_shards_kept, 'shard')}",
        *([f"update       {_update_text(report.update)}"] if report.update else []),
    ]
    if report.n_audio_to_make + report.n_audio_kept:
        lines.append(f"would make   {render.count(report.n_audio_to_make, 'audio file')}, keep {report.n_audio_kept}")
    if report.n_shards_removed:
        lines.append(f"would remove {render.count(report.n_shards_removed, 'shard')} (--overwrite)")
    if report.estimated_seconds is not None and report.estimated_bytes is not None:
        free = f"{report.free_bytes / 2**20:,.0f} MiB are free"
        timed = f", as {render.count(report.n_timed, 'conversion')} were timed" if report.n_timed else ""
        lines.append(f"would take   {render.duration(report.estimated_seconds)}{timed}")
        lines.append(f"would need   {report.estimated_bytes / 2**20:,.1f} MiB ({free})")
    return lines


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
    console = render.err()
    if not quiet:
        _print_choice(report, verbose)
    render.print_failed(report.failed, str(Path(report.output) / "failed.csv"), verbose)
    if as_json:
        render.print_report(report)
        return
    only_audio = report.n_audio_written + report.n_audio_kept > 0 and not report.n_shards_written + report.n_shards_kept
    table = render.table("target", *([] if only_audio else ["segments"]), "folder", right=["segments"])
    for target in report.targets:
        count = [] if only_audio else [str(report.segments_by_target[target])]
        table.add_row(target, *count, render.cell(str(Path(report.output) / target)))
    render.print_table(table)
    if not quiet:
        part = f"part {report.part}: " if report.part else ""
        if report.update:
            console.print(f"update: {_update_text(report.update)}", markup=False)
        if report.n_audio_written + report.n_audio_kept:
            console.print(
                f"{part}{render.count(report.n_audio_written, 'audio file')} written, {report.n_audio_kept} kept, "
                f"gain {report.gain_db:g} dB; {Path(report.output) / 'manifest.csv'} lists them",
                markup=False,
            )
        if only_audio:
            return
        console.print(
            f"{part}{render.count(report.n_segments, 'segment')} of {render.count(report.n_files, 'recording')} x "
            f"{render.count(len(report.targets), 'target')} in {report.seconds:.1f} s; "
            f"{render.count(report.n_shards_written, 'shard')} written, {report.n_shards_kept} kept"
        )


def _update_text(update: "UpdateCounts") -> str:
    if update.name is None:
        return f"nothing is new, changed or gone ({render.count(update.n_kept, 'recording')} kept)"
    return (
        f"{render.count(update.n_new, 'recording')} new, {update.n_changed} changed, {update.n_gone} gone, "
        f"{update.n_kept} kept"
    )


def _print_choice(report: "ConvertReport | ConvertDryRun", verbose: bool) -> None:
    """Print warnings, and which converter was chosen and what it leaves out."""
    from umc_cli.conversion.chosen.choice import left_out_lines
    from umc_cli.conversion.chosen.weights_in_words import made_with_in_words
    from umc_cli.conversion.source_recordings import passed_over_text

    render.print_warnings(report.warnings)
    console = render.err()
    made_with = f", {made_with_in_words(report.made_with)}" if report.made_with else ""
    console.print(f"converter {report.converter} ({report.reason}){made_with}", markup=False)
    if report.weights:
        console.print(render.printable(f"weights: {report.weights}"), markup=False)
    for device, origin in report.recorded_floors.items():
        console.print(render.printable(f"noise floor of {device}: {origin}"), markup=False)
    for line in left_out_lines(report.left_out, len(report.left_out) if verbose else 3):
        console.print(render.printable(line), markup=False)
    if report.passed_over:
        console.print(render.printable(f"skipped: {passed_over_text(report.passed_over)}"), markup=False)
