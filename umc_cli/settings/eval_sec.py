"""Settings of `umc eval`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import ALL, RECORDINGS, Names, Option, Paths, WordOrPath
from umc_cli.machine_settings import ComputeDeviceSettings
from umc_cli.split_settings import SplitName, SplitSettings
from umc_cli.splits import SPLIT_NAMES

SECTION = "eval"

_TABLE, _REPORT = "Table", "Report"


class EvaluateSecSettings(SegmentSettings, ComputeDeviceSettings, SplitSettings):
    """Settings of `umc eval`; also the section `[eval]` of umc.toml."""

    model: Annotated[Names, WordOrPath(), Option(default="all runs that hold a classifier", is_repeated=True)] = ()
    """Runs of umc train-sec, or files (safetensors), comma-separated; may be repeated."""
    predictions: Annotated[Paths, Option(metavar="FILE", default="none", is_repeated=True)] = ()
    """Predictions of other models (CSV, TSV or JSON lines), comma-separated; may be repeated. Without --model they are
    scored alone."""
    source: Annotated[str | None, Option(devices=True, default="all")] = None
    """Only models that were trained on this device; of predictions that do not say so: the device of their model."""
    devices: Annotated[Names, Option(devices=True)] = ALL
    """Devices whose recordings are classified, comma-separated, or all (every device with recordings)."""
    compare: Annotated[Names, Option(_TABLE, metavar="A:B", default="compare none", is_repeated=True)] = ()
    """Two runs or methods to compare on the same recordings; may be repeated."""
    baseline: Annotated[str | None, Option(_TABLE, default="method none")] = None
    """Run or method that marks 0 % of the gap."""
    ideal: Annotated[str | None, Option(_TABLE, default="method ideal")] = None
    """Run or method that marks 100 % of the gap."""
    bootstrap: Annotated[int, Field(ge=0, le=100_000), Option(_TABLE)] = 1000
    """Replicates of the bootstrap over recordings; 0: no intervals over recordings."""
    seed: Annotated[int, Field(ge=0), Option(_TABLE)] = 0
    """Random seed of the bootstrap."""
    output: Annotated[Path | None, Option(_REPORT, metavar="DIR", default="write none")] = None
    """Folder for report.html, scores.csv, scores.md and scores.json."""
    overwrite: Annotated[bool, Option(_REPORT)] = False
    """Replace these files."""
    picture: Annotated[Paths, Option(_REPORT, metavar="PNG", default="none", is_repeated=True)] = ()
    """Picture to show in report.html; may be repeated."""
    split: Annotated[SplitName, Option(RECORDINGS, words=SPLIT_NAMES)] = "test"
    """Split that is classified: train, val, test or train-converter."""

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        reasons: dict[str, str] = {}
        if self.output is None:
            reasons |= dict.fromkeys(("overwrite", "picture"), "no report is written (--output)")
        if not self.bootstrap:
            reasons["seed"] = "nothing is drawn (--bootstrap 0)"
        if self.predictions and not self.model:
            names = ("compute_device", *SegmentSettings.model_fields)
            reasons |= dict.fromkeys(names, "predictions are scored alone, without a classifier (--model)")
        return reasons
