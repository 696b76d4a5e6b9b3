"""Settings of `umc eval layers`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import ALL, RECORDINGS, Names, Option
from umc_cli.machine_settings import ComputeDeviceSettings
from umc_cli.split_settings import SplitName, SplitSettings
from umc_cli.splits import SPLIT_NAMES

SECTION = "eval-layers"
MIN_RECORDINGS = 10
"""Fewer cannot be divided into those that the probe learns from and those that it is asked about."""


class EvaluateLayersSettings(SegmentSettings, ComputeDeviceSettings, SplitSettings):
    """Settings of `umc eval layers`; also the section `[eval-layers]` of umc.toml."""

    source: Annotated[str, Option(devices=True)]
    """Device whose recordings are converted."""
    targets: Annotated[Names, Option(devices=True)] = ALL
    """Devices to convert to, comma-separated, or all (every other device with a record)."""
    checkpoint: Annotated[Path | None, Option(default="checkpoints/generator.safetensors")] = None
    """Generator (safetensors) that was trained for all devices."""
    pairs: Annotated[bool, Option()] = False
    """Look at a generator for each target instead, checkpoints/<source>-to-<target>.safetensors of umc train --pair,
    as the paper's Figure 3 does; --targets all: every one that has one."""
    network: Annotated[bool, Option()] = True
    """Train small networks as probes too, which see more than linear ones and take longer."""
    split: Annotated[SplitName, Option(RECORDINGS, words=SPLIT_NAMES)] = "test"
    """Split that is converted: train, val, test or train-converter."""
    most_segments: Annotated[int, Field(ge=MIN_RECORDINGS), Option(RECORDINGS)] = 200
    """Maximum segments to convert to every target; one recording gives a tenth of them."""
    short_clips: Literal["pad", "drop"] = "drop"
    remainder: Literal["half", "pad", "drop"] = "drop"
    figure: Annotated[Path | None, Option("Figure", default="draw none")] = None
    """Picture to draw: .png, .svg or .pdf."""
    overwrite: Annotated[bool, Option("Figure")] = False
    """Replace an existing picture."""

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        return {} if self.figure else {"overwrite": "no picture is drawn (--figure)"}
