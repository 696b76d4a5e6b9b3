"""Settings of `umc measure-ir`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from umc_cli.config import Option, Settings, WordOrPath

SECTION = "measure-ir"
STIMULUS_SECTION = "make-stimulus"
STIMULUS_WORDS = ("impulse", "sweep", "response")

_OF_A_STIMULUS = ("stimulus", "window_ms", "channel", "calibration", "reference", "tone", "microphone")

_BLIND, _CHAIN, _STIMULUS, _RESULT = "Without a stimulus", "Measurement chain", "Making a stimulus", "Result"


class MeasureIrSettings(Settings):
    """Settings of `umc measure-ir`; also the section `[measure-ir]` of umc.toml."""

    device: Annotated[str, Option(metavar="ID")]
    """Id of the device that is measured."""
    name: Annotated[str, Option(default="that of the record that is replaced, else the id")] = ""
    """Readable name of the device."""
    stimulus: Annotated[str, WordOrPath(words=STIMULUS_WORDS), Option(words=STIMULUS_WORDS)] = "impulse"
    """What was played: the stimulus's JSON file, a sweep as WAV, impulse (a train of impulses), or sweep (what
    --make-stimulus sweep makes); response: the files are impulse responses."""
    window_ms: Annotated[
        float | None,
        Field(ge=2, le=2000),
        Option(flags=("--window",), metavar="MS", default="200; all of a ready impulse response"),
    ] = None
    """Length to keep after the direct sound, in ms; a short window excludes the room."""
    channel: Annotated[str | None, Option(default="refuse")] = None
    """Which channel of a recording whose channels differ: a number from 1, or mix."""
    calibration: Annotated[Path | None, Option(_CHAIN, metavar="FILE", default="none")] = None
    """Response of the measurement microphone, which is taken out."""
    reference: Annotated[Path | None, Option(_CHAIN, metavar="FILE", default="none")] = None
    """Response of the loudspeaker, which is taken out: a curve, a device record, or an impulse response."""
    tone: Annotated[Path | None, Option(_CHAIN, metavar="FILE", default="none")] = None
    """Recording of a 1 kHz calibrator of 94 dB SPL, made with the device: gives its level."""
    microphone: Annotated[str | None, Option(default="the only one")] = None
    """Which microphone of an Android XML file with several, builtin_mic_1 for example."""
    blind: Annotated[bool, Option(_BLIND)] = False
    """Estimate the response from recordings of similar sounds (all of the device in the workspace, if none are named),
    next to --reference-device."""
    reference_device: Annotated[str | None, Option(_BLIND, metavar="ID", devices=True, default="none")] = None
    """Device with a record and with recordings in the workspace."""
    figure: Annotated[Path | None, Option(_RESULT, metavar="FILE", default="draw none")] = None
    """Draw response, spread, noise floor and signal to noise: .png, .svg or .pdf."""
    overwrite: Annotated[bool, Option(_RESULT)] = False
    """Replace a record or a stimulus."""

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        return dict.fromkeys(_OF_A_STIMULUS, "--blind measures without a stimulus") if self.blind else {}

    def without_effect_on(self, files: Sequence[Path]) -> dict[str, str]:
        """Return the settings that have no effect on these files, and why."""
        from umc_cli.response.curve_files import CURVE_READERS  # it loads numpy

        suffixes = {path.suffix.lower() for path in files}
        responses = {path.suffix.lower() for path in (self.calibration, self.reference) if path is not None}
        reasons: dict[str, str] = {}
        if suffixes and suffixes <= {*CURVE_READERS}:
            reasons = dict.fromkeys(("stimulus", "window_ms"), "the file is a curve")
            if self.tone is None:
                reasons["channel"] = "the file is a curve"
        elif suffixes == {".sofa"} and self.stimulus != "response":
            reasons["stimulus"] = "the file is an impulse response"
        if files and ".xml" not in suffixes | responses:
            reasons["microphone"] = "no file is an Android XML file"
        return reasons


class MakeStimulusSettings(Settings):
    """Settings of `umc measure-ir --make-stimulus`; also the section `[make-stimulus]` of umc.toml."""

    sample_rate_hz: Annotated[int | None, Option(_STIMULUS, flags=("--rate",), default="48000")] = None
    """Sample rate in Hz."""
    level_dbfs: Annotated[
        float | None, Option(_STIMULUS, flags=("--level",), default="-1 for impulses, -6 for sweeps")
    ] = None
    """Peak in dB re full scale."""
    repeats: Annotated[int | None, Option(_STIMULUS, default="20 impulses, 3 sweeps")] = None
    """Impulses or sweeps."""
