"""Settings of `umc synth-fr`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from umc_cli.config import RESULT, Option, Settings, WordOrPath
from umc_cli.response.synthesis_settings import FROM_DEVICES, FROM_LIBRARY, LevelSettings

SECTION = "synth-fr"

_COVERAGE = "Coverage"


class SynthFrSettings(Settings):
    """Settings of `umc synth-fr`; also the section `[synth-fr]` of umc.toml."""

    method: Annotated[str, Option(words=("piecewise", "pca", "mixture"))] = "mixture"
    """piecewise, pca or mixture."""
    n: Annotated[int, Option()] = 100
    """Number of differences to draw."""
    seed: Annotated[int, Field(ge=0), Option()] = 0
    """Random seed; equal seeds give equal differences."""
    learn_from: Annotated[
        str, WordOrPath(words=(FROM_DEVICES, FROM_LIBRARY)), Option(words=(FROM_DEVICES, FROM_LIBRARY))
    ] = FROM_DEVICES
    """What pca and mixture learn from: devices (the workspace's, with the package's library if these are fewer than
    three), library, or a folder of WAV files with impulse responses."""
    method_settings: dict[str, Any] = Field(default={})
    """Settings of the method that differ from their defaults."""
    levels: LevelSettings = LevelSettings()
    """Ranges of noise floors and sensitivities."""
    output: Annotated[Path | None, Option(RESULT, ("-o",), default="write none")] = None
    """File for the differences (safetensors)."""
    figure: Annotated[Path | None, Option(RESULT, default="draw none")] = None
    """Picture to draw: .png, .svg or .pdf."""
    overwrite: Annotated[bool, Option(RESULT)] = False
    """Replace an existing output and figure."""
    coverage: Annotated[bool, Option(_COVERAGE)] = False
    """Draw no set: measure how well every method covers real differences of devices that it did not see."""
    coverage_drawn: Annotated[int, Field(gt=10), Option(_COVERAGE)] = 2000
    """Differences that each method draws for each device left out and each seed."""
    coverage_seeds: Annotated[int, Field(ge=1), Option(_COVERAGE)] = 3
    """Repetitions with other seeds."""

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        if self.coverage:
            reasons = {"n": "--coverage draws --coverage-drawn differences by every method"}
            if not self.method_settings:
                reasons["method"] = "--coverage measures every method"
        else:
            reasons = dict.fromkeys(("coverage_drawn", "coverage_seeds"), "it belongs to --coverage")
            if self.method == "piecewise":
                reasons["learn_from"] = "piecewise learns nothing"
        if self.output is None and self.figure is None:
            reasons["overwrite"] = "nothing is written (--output, --figure)"
        return reasons
