"""`umc measure-ir`."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.completion import complete_words
from umc_cli.cli.devices import frequency_axis
from umc_cli.cli.options import Json, Quiet
from umc_cli.cli.plot import text_plot
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import Option, Settings, Workspace, find_workspace, load_settings, refuse_without_effect
from umc_cli.errors import SettingsError
from umc_cli.settings.measure_ir import (
    SECTION,
    STIMULUS_SECTION,
    MakeStimulusSettings,
    MeasureIrSettings,
)

if TYPE_CHECKING:
    from umc_cli.workflows.measurement_record import MeasureIrReport


@with_options(MeasureIrSettings, SECTION)
@with_options(MakeStimulusSettings, None, parameter="of_stimulus")
def command(
    given: Given,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RECORDING...",
            help="Recordings of the stimulus, made with the device; or one impulse response (audio, .sofa) or one "
            "curve (.csv, .frd, .cal, .omm, .mic, .txt, .xml); with --make-stimulus: the WAV file to write.",
            show_default=False,
        ),
    ] = None,
    make_stimulus: Annotated[
        str | None,
        typer.Option(
            help="Write a stimulus (impulse or sweep) and the JSON file that describes it, instead of measuring.",
            autocompletion=complete_words("impulse", "sweep"),
            show_default=False,
            rich_help_panel="Making a stimulus",
        ),
    ] = None,
    *,
    of_stimulus: Given,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a device, from recordings of a stimulus or from what others measured, and write its record.

    Options of --make-stimulus are those of the section "make-stimulus" of umc.toml and of UMC_MAKE_STIMULUS_<OPTION>.
    """
    if make_stimulus is not None:
        for option in _typed_options(MeasureIrSettings, given | {"overwrite": None}):
            raise SettingsError(f"{option} has no effect with --make-stimulus", "leave it out")
        _make_stimulus(make_stimulus, files or [], of_stimulus, bool(given["overwrite"]), as_json, quiet)
        return
    for option in _typed_options(MakeStimulusSettings, of_stimulus):
        raise SettingsError(f"{option} belongs to --make-stimulus", "leave it out")
    from umc_cli.workflows.measure_ir import measure

    workspace = find_workspace(Path.cwd())
    settings = load_settings(MeasureIrSettings, workspace, SECTION, given)
    refuse_without_effect(settings, settings.without_effect_on(files or []), given)
    report = measure(workspace, settings, files or [])
    _show(report, as_json, quiet)
    if not (as_json or quiet):
        _guide(report, workspace)
    raise typer.Exit(report.exit_code)


def _typed_options(schema: type[Settings], given: Given) -> list[str]:
    """Return the options that were typed."""
    return [
        mark.name_of(name)
        for name, value in given.items()
        if value is not None and (mark := Option.of(schema.model_fields[name]))
    ]


def _make_stimulus(kind: str, files: list[Path], given: Given, overwrite: bool, as_json: bool, quiet: bool) -> None:
    from umc_cli.workflows.make_stimulus import make_stimulus

    if len(files) != 1:
        raise SettingsError("--make-stimulus writes one file", "name it: umc measure-ir --make-stimulus sweep OUT.wav")
    settings = load_settings(MakeStimulusSettings, find_workspace(Path.cwd()), STIMULUS_SECTION, given)
    report = make_stimulus(kind, files[0], settings, overwrite)
    if as_json:
        content = {"stimulus": report.stimulus.model_dump(mode="json"), "wav": report.wav, "sidecar": report.sidecar}
        render.print_json(content)
        return
    render.print_text(f"stimulus: {report.wav}\ndescription: {report.sidecar}")
    if not quiet:
        from umc_cli.workflows.measurement_guide import after_making

        for line in ["next:", *_indented(after_making(kind, report.wav, report.sidecar))]:
            render.err().print(render.printable(line), markup=False)


def _guide(report: "MeasureIrReport", workspace: Workspace) -> None:
    """Say what was heard, how good it is, and what to do next."""
    from umc_cli.workflows.measurement_guide import how_good, what_next, what_was_heard

    lines = what_was_heard(report)
    if report.written:
        lines += [f"the measurement is {how_good(report)}", "next:", *_indented(what_next(workspace, report.device))]
    for line in lines:
        render.err().print(render.printable(line), markup=False)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _show(report: "MeasureIrReport", as_json: bool, quiet: bool) -> None:
    render.print_warnings(report.warnings)
    if as_json:
        render.print_report(report)
        return
    if not quiet:
        for entry in report.rejected:
            render.err().print(f"left out: {entry.recording} at {entry.time_s:.3f} s: {entry.reason}", markup=False)
    render.print_failed(report.failed, "", verbose=False, thing="recording", what="could not be read")
    device = report.device
    numbers = ["Hz", "response dB", "spread dB", "noise floor dB", "SNR dB"]
    table = render.table(*numbers, "", right=numbers)
    low, high = device.trusted_range_hz
    for band in range(7, len(device.band_centres_hz), 8):
        centre = device.band_centres_hz[band]
        row = [f"{centre:.0f}", f"{device.frequency_response_db[band]:.1f}"]
        for values in (device.spread_db, device.noise_floor_db, device.snr_db):
            row.append("-" if values is None else f"{values[band]:.1f}")
        table.add_row(*row, "" if low <= centre <= high else "not trusted")
    render.print_table(table)
    if not quiet:
        width = max(32, min(96, shutil.get_terminal_size().columns - 14))
        for line in text_plot(device.frequency_response_db, width, height=8, unit="dB"):
            render.print_text(line)
        render.print_text(frequency_axis(device.band_centres_hz, width))
    repeats = "imported" if device.method == "imported curve" else render.count(device.repeats, "repeat")
    used = repeats + (f", {len(report.rejected)} left out" if report.rejected else "")
    render.print_text(f"{used}; trusted from {low:.0f} to {high:.0f} Hz")
    if report.paired_rms_db is not None:
        render.print_text(f"{report.paired_rms_db:.1f} dB (RMS) from the estimate from pairs of the same sounds")
    for gate in report.failed_gates:
        render.print_error(SettingsError(gate.reason, gate.hint))
    render.print_text(f"record: {report.path}" if report.written else "no record was written")
