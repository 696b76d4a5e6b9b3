"""`umc measure-ir --make-stimulus`: the file to play to a device."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.response.stimulus import STIMULI, ImpulseTrain, SineSweep, read_stimulus, write_stimulus
from umc_cli.settings.measure_ir import MakeStimulusSettings
from umc_cli.wrong_settings import first_fault


@dataclass(frozen=True)
class StimulusReport:
    """What was written."""

    stimulus: ImpulseTrain | SineSweep
    wav: str
    sidecar: str


def make_stimulus(kind: str, path: Path, settings: MakeStimulusSettings, overwrite: bool) -> StimulusReport:
    """Write a stimulus and its sidecar.

    Raises:
        SettingsError: there is no such stimulus, an option is out of range, or a file already exists.
        EnvironmentFault: a file cannot be written.
    """
    if kind not in STIMULI:
        raise SettingsError(f"unknown stimulus {kind!r}", did_you_mean(kind, STIMULI, "stimuli"))
    if path.suffix.lower() != ".wav":
        raise SettingsError(f"cannot write a stimulus as {path.name!r}", "give it the suffix .wav")
    for file in (path, path.with_suffix(".json")):
        if file.exists() and not overwrite:
            raise SettingsError(f"{file} already exists", "use --overwrite, or another name")
    fields = settings.model_dump(exclude_none=True)
    if kind == "sweep" and settings.sample_rate_hz:
        fields["stop_hz"] = min(20_000.0, settings.sample_rate_hz / 2)
    try:
        stimulus = STIMULI[kind].model_validate(fields)
    except ValidationError as error:
        raise SettingsError(f"stimulus: {first_fault(error)}", "see docs/commands/measure-ir.md") from error
    sidecar = write_stimulus(stimulus, path)
    return StimulusReport(read_stimulus(sidecar), str(path), str(sidecar))
