"""Settings of `umc train-sec`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from umc_cli.audio.feature_settings import FeatureOptions, FeatureSegmentSettings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import ALL, RUN, Option
from umc_cli.conversion.chosen.conversion_settings import Targets
from umc_cli.machine_settings import ComputeDeviceSettings, WorkerSettings
from umc_cli.sec.classifier_settings import SecSettings
from umc_cli.split_settings import SplitSettings
from umc_cli.training.run_options import RunSettings

SECTION = "train-sec"


class TrainSecSettings(
    RunSettings, SecSettings, SegmentSettings, FeatureOptions, SplitSettings, WorkerSettings, ComputeDeviceSettings
):
    """Settings of `umc train-sec`; also the section `[train-sec]` of umc.toml. Others come from the preset."""

    source: Annotated[str, Option(devices=True)]
    """Device whose recordings the classifier is trained on."""
    method: Annotated[str, Option()] = "none"
    """none, ideal, unified-real, unified-synth, mc, adapt, eq, eq-noise, quantile, transport, refiner-transport,
    self-training, dir, gaussian-noise, room-reverb, pitch-shift, spec-augment, mixup, filter-augment, freq-mixstyle,
    residual-norm or rfn; several joined by +."""
    targets: Annotated[Targets, Option(devices=True)] = ALL
    """Devices that samples are converted to, comma-separated, or all (every one that can be served); for ideal: devices
    whose own recordings are used."""
    converter: Annotated[
        str, Option(words=("auto", "refiner_transport", "refiner_quantile", "refiner", "film_gan"))
    ] = "auto"
    """Converter of the unified methods: refiner_transport, refiner_quantile, refiner, film_gan, or auto (the first of
    them whose inputs are available, or that of the shards)."""
    checkpoint: Annotated[Path | None, Option(default="checkpoints/refiner.safetensors, else the package's")] = None
    """Weights (safetensors) of the unified converter."""
    shards: Annotated[Path | None, Option(default="convert on the fly")] = None
    """Read conversions from this output folder of umc convert: its shards or, for features of your own, its audio
    files."""
    invented: Annotated[int | None, Field(ge=1), Option(default="200")] = None
    """Invented devices of unified-synth, if --targets names none (synth:N, synth:FILE)."""
    preset: Annotated[str, Option(RUN, words=("paper", "cpu", "smoke"))] = "paper"
    """paper (as published), cpu (minutes on two processors) or smoke (seconds)."""
    name: Annotated[str | None, Option(RUN, default="source, method and seed")] = None
    """Name of the run's folder."""
    method_settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of methods, by method: `[train-sec.method_settings.mixup]`."""

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, and why."""
        from umc_cli.sec.methods import UNIFIED_METHODS, parse_method  # they load torch

        plan = parse_method(self.method)
        reasons: dict[str, str] = {}
        if plan.conversion not in UNIFIED_METHODS:
            reasons["unified"] = f"method {self.method} is not a unified one"
        if plan.conversion != "unified-synth":
            reasons["invented"] = f"method {self.method} invents no devices"
        elif any(target.startswith("synth:") for target in self.targets):
            reasons["invented"] = "--targets names the invented devices"
        if not plan.conversion:  # --targets may stay, so that one command can try all methods
            names = ("converter", "checkpoint", "converted_share")
            reasons |= dict.fromkeys(names, f"method {self.method} converts nothing")
        return reasons

    @property
    def cut(self) -> FeatureSegmentSettings:
        """Return which segments a recording gives, and for which features."""
        return FeatureSegmentSettings(**self.segments.model_dump(), features=self.features)

    @property
    def run_name(self) -> str:
        """Return the name of the run's folder."""
        return self.name or f"sec-{self.source}-{self.method.replace('+', '-')}-{self.seed}"
