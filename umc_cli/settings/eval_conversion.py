"""Settings of `umc eval conversion`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import ALL, RECORDINGS, RESULT, Names, Option
from umc_cli.conversion.chosen.conversion_settings import ConverterEngineSettings
from umc_cli.split_settings import SplitName, SplitSettings
from umc_cli.splits import SPLIT_NAMES

SECTION = "eval-conversion"
_JUDGES = "Judges"


class EvaluateConversionSettings(SegmentSettings, ConverterEngineSettings, SplitSettings):
    """Settings of `umc eval conversion`; also the section `[eval-conversion]` of umc.toml."""

    source: Annotated[str, Option(devices=True)]
    """Device whose recordings are converted."""
    targets: Annotated[Names, Option(devices=True)] = ALL
    """Devices to convert to, comma-separated, or all (every other device with recordings in the split)."""
    converters: Annotated[Names, Option(default="all whose inputs are available")] = ()
    """no_conversion, level_only, or converters, comma-separated."""
    checkpoint: Annotated[Path | None, Option(default="as for umc convert")] = None
    """Weights (safetensors) for film_gan or for the refiners."""
    split: Annotated[SplitName, Option(RECORDINGS, words=SPLIT_NAMES)] = "test"
    """Split that is measured: train, val, test or train-converter."""
    most_segments: Annotated[int, Field(ge=10), Option(RECORDINGS)] = 500
    """Maximum segments of one device to measure or to learn from; one recording gives a tenth of them."""
    # A converter that adds a noise floor to padding would be blamed for being right.
    short_clips: Literal["pad", "drop"] = "drop"
    remainder: Literal["half", "pad", "drop"] = "drop"
    probe: Annotated[bool, Option(_JUDGES)] = True
    """Train classifiers as judges; without them, measures that need them are left out."""
    seeds: Annotated[int, Field(ge=1), Option(_JUDGES)] = 3
    """Classifiers of each kind, trained from different seeds."""
    save_verdict: Annotated[bool, Option(RESULT)] = False
    """Let the converter auto of umc convert go by what is measured here (checkpoints/nearest_converters.json)."""

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        reasons = self.without_network(self.converters)
        if not self.probe:
            reasons["seeds"] = "no classifiers are trained (--no-probe)"
        return reasons
