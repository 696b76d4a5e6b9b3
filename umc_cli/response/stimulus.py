"""What is played to a device to measure it: a train of unit impulses (paper, section 4.1) or an exponential sine sweep.

A stimulus lies in a WAV file; a JSON file beside it, the sidecar, says how to make it again at any sample rate.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from umc_cli import atomic_write
from umc_cli.audio.files import write_samples
from umc_cli.config import Settings
from umc_cli.errors import SettingsError
from umc_cli.json_text import JsonFormat
from umc_cli.wrong_settings import first_fault

FORMAT: Final = JsonFormat(
    "umc-stimulus",
    1,
    "description of a stimulus",
    "name the JSON file beside the stimulus, or give impulse or sweep",
    "make the stimulus again",
)

MARKER_S = 0.5
"""A unit impulse this long before the first sweep shows in an editor where the sweeps are. There is none behind them:
deconvolved, an impulse becomes a sweep that runs backwards and ends where the impulse was."""

_FADE_IN_PERIODS = 2
_FADE_OUT_S = 0.005
_LEAST_LEVEL_DBFS = -60.0


class _Stimulus(Settings):
    format: Literal["umc-stimulus"] = "umc-stimulus"
    format_version: Literal[1] = 1
    sample_rate_hz: int = Field(default=48_000, ge=22_050, le=192_000)
    lead_in_s: float = Field(default=2.0, ge=1.0, le=60)
    """Silence before the first sound; the device's noise is measured there."""
    file: str = ""
    """Name of the WAV file."""
    sha256: str = ""
    """Of the WAV file."""

    @property
    def first_s(self) -> float:
        """Return when the first impulse or sweep begins, in s."""
        return self.lead_in_s


class ImpulseTrain(_Stimulus):
    """Impulses of one sample, equally spaced."""

    kind: Literal["impulse"] = "impulse"
    level_dbfs: float = Field(default=-1.0, le=0, ge=_LEAST_LEVEL_DBFS)
    """Height of the impulses in dB re full scale; 0 is the unit impulse."""
    repeats: int = Field(default=20, ge=1, le=1000)
    spacing_s: float = Field(default=1.0, ge=0.3, le=10)
    """From one impulse to the next."""


class SineSweep(_Stimulus):
    """Sweeps whose frequency rises exponentially (Farina 2000), equally spaced, a marker before the first."""

    kind: Literal["sweep"] = "sweep"
    level_dbfs: float = Field(default=-6.0, le=0, ge=_LEAST_LEVEL_DBFS)
    """Peak of the sweep in dB re full scale."""
    repeats: int = Field(default=3, ge=1, le=100)
    start_hz: float = Field(default=10.0, ge=1, le=200)
    stop_hz: float = Field(default=20_000.0, ge=8_000)
    duration_s: float = Field(default=5.0, ge=1, le=60)
    spacing_s: float = Field(default=7.0, ge=1.5, le=120)
    """From the start of one sweep to the start of the next."""

    @property
    def first_s(self) -> float:
        """Return when the first sweep begins, in s."""
        return self.lead_in_s + MARKER_S

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stop_hz > self.sample_rate_hz / 2:
            raise ValueError(f"stop_hz must not exceed half of {self.sample_rate_hz} Hz")
        if self.spacing_s < self.duration_s + 0.5:
            raise ValueError("spacing_s must exceed duration_s by at least 0.5 s, for the room to fall silent")
        return self


Stimulus = Annotated[ImpulseTrain | SineSweep, Field(discriminator="kind")]

STIMULI: Final[dict[str, type[ImpulseTrain] | type[SineSweep]]] = {"impulse": ImpulseTrain, "sweep": SineSweep}


def sweep_samples(sweep: SineSweep) -> NDArray[np.float64]:
    """Return one sweep, without silence, at the stimulus's rate. Shape: [duration], peak as `level_dbfs` says.

    x(t) = sin(2 pi f1 L (e^(t / L) - 1)) with L = T / ln(f2 / f1) (Farina 2000); faded in over two periods of the
    lowest frequency and out over 5 ms, so that it makes no click.
    """
    n = round(sweep.duration_s * sweep.sample_rate_hz)
    seconds = np.arange(n) / sweep.sample_rate_hz
    wave = scipy.signal.chirp(seconds, sweep.start_hz, sweep.duration_s, sweep.stop_hz, method="logarithmic", phi=-90)
    fade_in = min(n // 4, round(_FADE_IN_PERIODS / sweep.start_hz * sweep.sample_rate_hz))
    fade_out = round(_FADE_OUT_S * sweep.sample_rate_hz)
    wave[:fade_in] *= scipy.signal.windows.hann(2 * fade_in)[:fade_in]
    wave[-fade_out:] *= scipy.signal.windows.hann(2 * fade_out)[fade_out:]
    return np.asarray(wave * 10 ** (sweep.level_dbfs / 20), np.float64)


def stimulus_samples(stimulus: ImpulseTrain | SineSweep) -> NDArray[np.float64]:
    """Return the whole stimulus, silence before and behind included. Shape: [n], full scale 1."""
    rate_hz = stimulus.sample_rate_hz
    height = 10 ** (stimulus.level_dbfs / 20)
    sound = sweep_samples(stimulus) if isinstance(stimulus, SineSweep) else np.array([height])
    starts = [round((stimulus.first_s + index * stimulus.spacing_s) * rate_hz) for index in range(stimulus.repeats)]
    samples = np.zeros(starts[-1] + len(sound) + round(rate_hz))
    if isinstance(stimulus, SineSweep):
        samples[round(stimulus.lead_in_s * rate_hz)] = height
    for start in starts:
        samples[start : start + len(sound)] = sound
    return samples


def write_stimulus(stimulus: ImpulseTrain | SineSweep, path: Path) -> Path:
    """Write the stimulus as a WAV file of 24 bits to `path`, and its sidecar beside it; return the sidecar's path.

    Raises:
        EnvironmentFault: a file cannot be written.
    """
    write_samples(path, stimulus_samples(stimulus), stimulus.sample_rate_hz, "WAV", "PCM_24")
    described = stimulus.model_copy(update={"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    sidecar = path.with_suffix(".json")
    atomic_write.write_text(sidecar, json.dumps(described.model_dump(mode="json"), indent=2) + "\n")
    return sidecar


def read_stimulus(path: Path) -> ImpulseTrain | SineSweep:
    """Read a sidecar.

    Raises:
        SettingsError: it is missing, not JSON, of an unknown version, or breaks the schema.
    """
    content = FORMAT.read(path)
    try:
        adapter: TypeAdapter[ImpulseTrain | SineSweep] = TypeAdapter(Stimulus)
        return adapter.validate_python(content)
    except ValidationError as error:
        raise SettingsError(f"stimulus {path}: {first_fault(error)}", "see docs/file-formats.md") from error
