"""`umc measure-ir`: recordings of a stimulus, impulse responses or measured curves become a device record."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.channels import read_channel
from umc_cli.config import Workspace
from umc_cli.errors import InputError, SettingsError, guess
from umc_cli.response.curve_files import CURVE_READERS, read_curve_file
from umc_cli.response.deconvolution import Sweep
from umc_cli.response.device import Method
from umc_cli.response.frequency_response import Curve, impulse_response_curve, white_noise_floor_db
from umc_cli.response.impulse_response import Take
from umc_cli.response.impulse_response_files import SOFA_SUFFIX, read_impulse_response
from umc_cli.response.impulse_train import take_impulses
from umc_cli.response.measured_response import LEAST_SNR_DB, MeasuredResponse, measure_response, trusted_range_hz
from umc_cli.response.noise_floor import MOST_NOISE_DBFS, is_gated, is_too_loud, noise_floor_db
from umc_cli.response.stimulus import STIMULI, ImpulseTrain, SineSweep, read_stimulus
from umc_cli.response.sweep_detection import holds_a_sweep
from umc_cli.response.sweep_recording import sweep_of_played_file, sweep_of_stimulus, take_sweeps
from umc_cli.settings.measure_ir import MeasureIrSettings
from umc_cli.workflows.import_response import import_curve, import_impulse_response
from umc_cli.workflows.measure_blind import measure_blind
from umc_cli.workflows.measurement_record import (
    MOST_DISAGREEMENT_DB,
    READY_MADE,
    FailedGate,
    MeasureIrReport,
    RejectedRepeat,
    check_output,
    check_trusted,
    device_record,
    finish,
    rounded,
    what_was_taken_out,
)

WINDOW_MS = 200.0
"""The paper's segments (section 4.1)."""

_STIMULUS_HINT = f"name its JSON file or the played sweep, or give {', '.join((*STIMULI, READY_MADE))}"

_FLOOR_NOTE = "The noise floor includes the noise of the room."
_ODD_ONE = "its waveform differs from the other repeats: samples were lost, or there was another sound"
_ODD = "were left out: their waveforms differ from the others, because samples were lost or there was another sound"


def measure(workspace: Workspace, settings: MeasureIrSettings, files: Sequence[Path]) -> MeasureIrReport:
    """Measure a device as the settings say, with a stimulus or blind; see `measure_ir` and `measure_blind`.

    Raises:
        SettingsError: --blind or --reference-device is given without the other.
    """
    if settings.blind != (settings.reference_device is not None):
        raise SettingsError("--blind and --reference-device are only used together", "give both or neither")
    if settings.blind:
        return measure_blind(workspace, settings, [str(file) for file in files])
    return measure_ir(workspace, settings, files)


def measure_ir(workspace: Workspace, settings: MeasureIrSettings, files: Sequence[Path]) -> MeasureIrReport:
    """Measure a device from recordings, impulse responses or a curve, write its record, and draw it if asked to.

    Raises:
        SettingsError: the device is known already, or a setting does not fit the files.
        InputError: a file cannot be used, or holds no stimulus.
        EnvironmentFault: the record cannot be written.
    """
    started = time.monotonic()
    check_output(workspace, settings)
    if not files:
        raise SettingsError(
            "no file is named",
            f"name the recordings (umc measure-ir TAKE.wav --device {settings.device} --stimulus sweep.json), or the "
            "file of a curve; to have something to play: umc measure-ir --make-stimulus sweep sweep.wav",
        )
    twice = next((path for index, path in enumerate(files) if path in files[:index]), None)
    if twice:
        raise SettingsError(f"{twice} is named twice", "name every recording once: repeats must be independent")
    curves = [path for path in files if path.suffix.lower() in CURVE_READERS]
    if curves and len(files) > 1:
        raise SettingsError(f"{curves[0]} is a curve, but other files are named too", "import one curve at a time")
    taken_out = [
        read_response(path, settings) for path in (settings.calibration, settings.reference) if path is not None
    ]
    if curves:
        report = import_curve(workspace, settings, curves[0], taken_out)
    elif settings.stimulus == READY_MADE or all(path.suffix.lower() == SOFA_SUFFIX for path in files):
        report = import_impulse_response(workspace, settings, files, taken_out)
    else:
        report = _measure_recordings(workspace, settings, files, taken_out)
    finish(report, workspace, settings.figure)
    report.seconds = time.monotonic() - started
    return report


def read_response(path: Path, settings: MeasureIrSettings) -> Curve:
    """Return a response that is to be taken out: a curve, a device record, or an impulse response."""
    if path.suffix.lower() in CURVE_READERS:
        return read_curve_file(path, settings.microphone).curve
    return impulse_response_curve(*read_impulse_response(path, None, None))


def _measure_recordings(
    workspace: Workspace, settings: MeasureIrSettings, files: Sequence[Path], taken_out: Sequence[Curve]
) -> MeasureIrReport:
    window_ms = settings.window_ms or WINDOW_MS
    played = _played(settings.stimulus)
    takes = [_take(path, settings.channel, played, window_ms) for path in files]
    measured = measure_response(takes, taken_out, window_ms)
    check_trusted(measured.trusted)
    method: Method = "impulse" if played is None or isinstance(played, ImpulseTrain) else "sweep"
    repeats = sum(len(take.repeats) for take in takes) - len(measured.odd_repeats)
    warnings: list[str] = []
    floor_db = _noise_floor_db(files, takes, warnings)
    device = device_record(
        workspace,
        settings,
        method,
        files,
        f"Window of {window_ms:g} ms. {what_was_taken_out(settings)}{'' if floor_db is None else _FLOOR_NOTE}".strip(),
        measured.frequency_response_db,
        measured.trusted,
        takes[0].sample_rate_hz,
        repeats,
    ).model_copy(
        update={
            "spread_db": rounded(measured.spread_db),
            "snr_db": rounded(measured.snr_db),
            "noise_floor_db": rounded(floor_db),
        }
    )
    report = MeasureIrReport(device, str(workspace.devices / f"{device.id}.json"), warnings=warnings)
    for number, (path, take) in enumerate(zip(files, takes, strict=True)):
        odd = [index for of_take, index in measured.odd_repeats if of_take == number]
        used = [arrival for index, arrival in enumerate(take.arrivals_s) if index not in odd]
        report.arrivals_s[str(path)] = [round(arrival, 6) for arrival in used]
        report.rejected += [RejectedRepeat(str(path), round(each.time_s, 4), each.reason) for each in take.rejected]
        report.rejected += [RejectedRepeat(str(path), round(take.arrivals_s[index], 4), _ODD_ONE) for index in odd]
        if take.drift_ppm is not None and not odd:
            report.drift_ppm[str(path)] = round(take.drift_ppm, 1)
    report.disagreement_db = round(measured.disagreement_db, 2)
    report.failed_gates = _failed_gates(measured, report.rejected, repeats)
    if measured.odd_repeats:
        report.warnings.append(f"{len(measured.odd_repeats)} of {repeats + len(measured.odd_repeats)} repeats {_ODD}")
    if measured.incoherent_hz is not None:
        report.warnings.append(
            "the waveforms of the repeats differ in {:.0f}-{:.0f} Hz".format(*measured.incoherent_hz)
            + f" (averaging them loses up to {measured.loss_db:.1f} dB): these bands are not trusted; "
            "samples were lost while recording or playing, or something moved"
        )
    return report


def _noise_floor_db(files: Sequence[Path], takes: Sequence[Take], warnings: list[str]) -> NDArray[np.float64] | None:
    """Return the floor of the quietest recording, [128] in dB re full scale; None, with a warning, where none tells."""
    gated = [path for path, take in zip(files, takes, strict=True) if is_gated(take.silence, take.sample_rate_hz)]
    if gated:
        warnings.append(
            f"{gated[0]} contains zeros, or one value, instead of the noise of the room: a noise gate, noise "
            "suppression or an editor removed it. The record gets no noise floor, and the signal-to-noise ratio is "
            "estimated from the scatter of the repeats. Record with an app that does not process the sound "
            "(docs/measuring-a-phone.md, step 4)"
        )
        return None
    floors = [floor for take in takes if (floor := noise_floor_db(take.silence, take.sample_rate_hz)) is not None]
    if not floors:
        warnings.append("the record gets no noise floor: there is less than 140 ms of silence before the first sound")
        return None
    floor_db = np.asarray(np.min(floors, axis=0), np.float64)
    if is_too_loud(floor_db):
        highest_db = white_noise_floor_db(MOST_NOISE_DBFS)
        warnings.append(
            f"the silence before the first sound is loud ({np.median(floor_db):.0f} dB in the middle band; white noise "
            f"of {MOST_NOISE_DBFS:g} dBFS would be {highest_db:.0f} dB): this is the room, or gain control, not the "
            "device. The record gets no noise floor. Record in a quiet room, with gain control turned off"
        )
        return None
    return floor_db


def _played(stimulus: str) -> ImpulseTrain | SineSweep | Path | None:
    """Return what was played: None for impulses of which nothing is known, a path for a played file."""
    if stimulus == "impulse":
        return None
    if stimulus in STIMULI:
        return STIMULI[stimulus]()
    path = Path(stimulus)
    if not path.name:
        raise SettingsError("--stimulus names no file", f"{_STIMULUS_HINT}, or leave it out: impulse")
    if path.suffix.lower() != ".json" and path.with_suffix(".json").is_file():
        path = path.with_suffix(".json")
    if not path.is_file():
        raise SettingsError(
            f"there is no stimulus {stimulus!r}",
            guess(stimulus, ("impulse", *STIMULI)) + _STIMULUS_HINT,
        )
    return read_stimulus(path) if path.suffix.lower() == ".json" else path


def _take(path: Path, channel: str | None, played: ImpulseTrain | SineSweep | Path | None, window_ms: float) -> Take:
    if not path.exists():
        raise InputError(f"{path} does not exist", "correct the path; it starts at the folder you are in")
    recording, rate_hz = read_channel(path, channel)
    if isinstance(played, SineSweep):
        # One sweep alone fits a recording that holds fewer repeats than were played, too.
        take = partial(take_sweeps, recording, sweep_of_stimulus(played, rate_hz), played.spacing_s, window_ms)
    elif isinstance(played, Path):
        take = partial(take_sweeps, recording, _read_sweep(played, rate_hz), None, window_ms)
    elif holds_a_sweep(recording, rate_hz):
        raise SettingsError(
            f"{path} contains a sine sweep, but impulses would be measured",
            "name what was played: --stimulus with the JSON file that --make-stimulus wrote, the sweep as a WAV file, "
            "or sweep for the default one",
        )
    else:
        take = partial(take_impulses, recording, rate_hz, played, window_ms)
    try:
        return take()
    except InputError as error:
        raise InputError(f"{path} {error.message}", error.hint) from error


def _read_sweep(path: Path, rate_hz: int) -> Sweep:
    """Return the sweep of a played file, at the rate of the recording."""
    try:
        samples, played_rate_hz = read_channel(path, None)
    except InputError as error:
        raise SettingsError(f"stimulus {error.message}", "name the sweep as a file of one channel") from error
    return sweep_of_played_file(samples, played_rate_hz, rate_hz)


def _failed_gates(measured: MeasuredResponse, rejected: Sequence[RejectedRepeat], used: int) -> list[FailedGate]:
    gates = []
    clipped = sum(entry.reason == "clipped" for entry in rejected)
    if clipped >= used:
        gates.append(
            FailedGate(
                f"{clipped} of {used + len(rejected)} repeats are clipped",
                "lower the volume of the loudspeaker or the gain of the recorder, and record again",
            )
        )
    if 2 * measured.trusted.sum() < measured.covered.sum():
        low, high = trusted_range_hz(measured.trusted)
        gates.append(
            FailedGate(
                f"the signal-to-noise ratio is {LEAST_SNR_DB:g} dB or more only in {low:.0f}-{high:.0f} Hz",
                "play louder or closer, make the room quieter, or use a sweep with more repeats",
            )
        )
    if measured.disagreement_db > MOST_DISAGREEMENT_DB:
        gates.append(
            FailedGate(
                f"two repeats differ by {measured.disagreement_db:.1f} dB (RMS over trusted bands)",
                "do not move device and loudspeaker, and turn off gain control and noise suppression",
            )
        )
    return gates
