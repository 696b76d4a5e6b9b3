"""`umc measure-ir`."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.completion import complete_device_ids, complete_words
from umc_cli.cli.devices import frequency_axis
from umc_cli.cli.options import Json, Quiet
from umc_cli.cli.plot import text_plot
from umc_cli.errors import SettingsError

if TYPE_CHECKING:
    from umc_cli.workflows.measurement_record import MeasureIrReport

_BLIND, _TAKEN_OUT, _STIMULUS, _RESULT = "Without a stimulus", "The rest of the chain", "Making a stimulus", "Result"


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RECORDING...",
            help="Recordings of the stimulus, made with the device; or one impulse response (audio, .sofa) or one "
            "curve (.csv, .frd, .cal, .omm, .mic, .txt, .xml); with --make-stimulus: the WAV file to write.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="ID", help="Id of the device that is measured.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the device, for people. (default: the id)", show_default=False)
    ] = None,
    stimulus: Annotated[
        str | None,
        typer.Option(
            help="What was played: the stimulus's JSON file, a sweep as WAV, impulse, or sweep; response: the files "
            "are impulse responses. (default: impulse)",
            autocompletion=complete_words("impulse", "sweep", "response"),
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            help="What is kept behind the direct sound, in ms: short windows leave out the room. (default: 200; "
            "all of a ready impulse response)",
            show_default=False,
        ),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            help="Which channel of a recording whose channels differ: a number from 1, or mix. (default: refuse)",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Response of the microphone that measured, taken out. (default: none)",
            show_default=False,
            rich_help_panel=_TAKEN_OUT,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Response of the loudspeaker that played, taken out: a curve, a device record, or an impulse "
            "response. (default: none)",
            show_default=False,
            rich_help_panel=_TAKEN_OUT,
        ),
    ] = None,
    tone: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recording of a 1 kHz calibrator of 94 dB SPL, made with the device: gives its level. (default: none)",
            show_default=False,
            rich_help_panel=_TAKEN_OUT,
        ),
    ] = None,
    microphone: Annotated[
        str | None,
        typer.Option(
            help="Which microphone of an Android XML file with several, builtin_mic_1 for example.", show_default=False
        ),
    ] = None,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="Estimate the response from recordings of similar sounds (default: all of the device in the "
            "workspace), next to --reference-device.",
            rich_help_panel=_BLIND,
        ),
    ] = False,
    reference_device: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Device with a record and with recordings in the workspace.",
            autocompletion=complete_device_ids,
            show_default=False,
            rich_help_panel=_BLIND,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--make-stimulus",
            help="Write a stimulus (impulse or sweep) and the JSON file that describes it, instead of measuring.",
            autocompletion=complete_words("impulse", "sweep"),
            show_default=False,
            rich_help_panel=_STIMULUS,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(help="Sample rate in Hz. (default: 48000)", show_default=False, rich_help_panel=_STIMULUS),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Peak in dB re full scale. (default: -1 for impulses, -6 for sweeps)",
            show_default=False,
            rich_help_panel=_STIMULUS,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Impulses or sweeps. (default: 20 impulses, 3 sweeps)", show_default=False, rich_help_panel=_STIMULUS
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw response, spread, noise floor and signal to noise: .png, .svg or .pdf.",
            show_default=False,
            rich_help_panel=_RESULT,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a record or a stimulus.", rich_help_panel=_RESULT)
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a device, from recordings of a stimulus or from what others measured, and write its record."""
    if kind is not None:
        _make_stimulus(
            kind, files or [], {"sample_rate_hz": rate, "level_dbfs": level, "repeats": repeats}, overwrite, as_json
        )
        return
    for option, value in (("--rate", rate), ("--level", level), ("--repeats", repeats)):
        if value is not None:
            raise SettingsError(f"{option} belongs to --make-stimulus", "leave it out")
    from umc_cli.config import find_workspace, load_settings
    from umc_cli.settings.measure_ir import MeasureIrSettings
    from umc_cli.workflows.measure_blind import measure_blind
    from umc_cli.workflows.measure_ir import measure_ir

    if device is None:
        raise SettingsError("no device is named", "name it with --device ID")
    workspace = find_workspace(Path.cwd())
    overrides = {
        "device": device,
        "name": name,
        "stimulus": stimulus,
        "window_ms": window,
        "channel": channel,
        "calibration": calibration,
        "reference": reference,
        "tone": tone,
        "microphone": microphone,
        "overwrite": overwrite or None,
    }
    settings = load_settings(MeasureIrSettings, workspace, "measure-ir", overrides)
    if blind != (reference_device is not None):
        raise SettingsError("--blind and --reference-device belong together", "give both or none")
    unused = {
        "--stimulus": stimulus, "--window": window, "--channel": channel, "--calibration": calibration,
        "--reference": reference, "--tone": tone, "--microphone": microphone,
    }  # fmt: skip
    for option, given in unused.items():
        if blind and given is not None:
            raise SettingsError(f"{option} has no effect with --blind", "leave it out")
    if reference_device is not None:
        report = measure_blind(workspace, settings, reference_device, [str(file) for file in files or []], figure)
    else:
        report = measure_ir(workspace, settings, files or [], figure)
    _show(report, as_json, quiet)
    raise typer.Exit(report.exit_code)


def _make_stimulus(
    kind: str, files: list[Path], options: dict[str, float | int | None], overwrite: bool, as_json: bool
) -> None:
    from umc_cli.workflows.make_stimulus import make_stimulus

    if len(files) != 1:
        raise SettingsError("--make-stimulus writes one file", "name it: umc measure-ir --make-stimulus sweep OUT.wav")
    report = make_stimulus(kind, files[0], options, overwrite)
    if as_json:
        content = {"stimulus": report.stimulus.model_dump(mode="json"), "wav": report.wav, "sidecar": report.sidecar}
        render.print_json(content)
        return
    render.print_text(f"stimulus: {report.wav}\ndescription: {report.sidecar}")


def _show(report: "MeasureIrReport", as_json: bool, quiet: bool) -> None:
    render.print_warnings(report.warnings)
    if as_json:
        content = asdict(report) | {"device": report.device.model_dump(mode="json"), "exit_code": report.exit_code}
        render.print_json(content)
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
    used = render.count(device.repeats, "repeat") + (f", {len(report.rejected)} left out" if report.rejected else "")
    render.print_text(f"{used}; trusted from {low:.0f} to {high:.0f} Hz")
    if report.paired_rms_db is not None:
        render.print_text(f"{report.paired_rms_db:.1f} dB (RMS) from the estimate from pairs of the same sounds")
    for gate in report.failed_gates:
        render.print_error(SettingsError(gate.reason, gate.hint))
    render.print_text(f"record: {report.path}" if report.written else "no record was written")
