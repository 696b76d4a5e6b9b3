"""Settings of `umc measure-ir`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from umc_cli.config import Option, Settings, WordOrPath

SECTION = "measure-ir"
STIMULUS_WORDS = ("impulse", "sweep", "response")

_CHAIN = "The rest of the chain"


class MeasureIrSettings(Settings):
    """Settings of `umc measure-ir`; also the section `[measure-ir]` of umc.toml."""

    device: Annotated[str, Option(metavar="ID", devices=True)]
    """Id of the device that is measured."""
    name: Annotated[str, Option(default="that of the record that is replaced, else the id")] = ""
    """Name of the device, for people."""
    stimulus: Annotated[str, WordOrPath(words=STIMULUS_WORDS), Option(words=STIMULUS_WORDS)] = "impulse"
    """What was played: the stimulus's JSON file, a sweep as WAV, impulse (a train of impulses), or sweep (what
    --make-stimulus sweep makes); response: the files are impulse responses."""
    window_ms: Annotated[
        float | None,
        Field(ge=2, le=2000),
        Option(flags=("--window",), metavar="MS", default="200; all of a ready impulse response"),
    ] = None
    """What is kept after the direct sound, in ms: short windows leave out the room."""
    channel: Annotated[str | None, Option(default="refuse")] = None
    """Which channel of a recording whose channels differ: a number from 1, or mix."""
    calibration: Annotated[Path | None, Option(_CHAIN, metavar="FILE", default="none")] = None
    """Response of the microphone that measured, taken out."""
    reference: Annotated[Path | None, Option(_CHAIN, metavar="FILE", default="none")] = None
    """Response of the loudspeaker that played, taken out: a curve, a device record, or an impulse response."""
    tone: Annotated[Path | None, Option(_CHAIN, metavar="FILE", default="none")] = None
    """Recording of a 1 kHz calibrator of 94 dB SPL, made with the device: gives its level."""
    microphone: Annotated[str | None, Option(default="the only one")] = None
    """Which microphone of an Android XML file with several, builtin_mic_1 for example."""
    overwrite: Annotated[bool, Option("Result")] = False
    """Replace a record or a stimulus."""
