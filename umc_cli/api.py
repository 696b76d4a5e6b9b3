"""What users of Python call: plain arguments in, results out. Silent; errors are `UmcError`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from umc_cli.audio.feature_settings import FeatureSegmentSettings, SecFeatures
from umc_cli.audio.features import spectrograms
from umc_cli.audio.files import HIGHEST_SAMPLE_RATE_HZ, LOWEST_SAMPLE_RATE_HZ
from umc_cli.audio.segments import segment_starts
from umc_cli.config import find_workspace, load_settings
from umc_cli.conversion.chosen.choice import open_conversion as open_chosen
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.errors import InputError, SettingsError
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.settings import convert as convert_settings
from umc_cli.settings import measure_ir as measure_settings
from umc_cli.silence import SILENT
from umc_cli.workflows import convert as convert_workflow
from umc_cli.workflows.convert_dry_run import ConvertDryRun, convert_dry_run
from umc_cli.workflows.convert_report import ConvertReport
from umc_cli.workflows.measure_ir import measure as _measure
from umc_cli.workflows.measurement_record import MeasureIrReport
from umc_cli.wrong_settings import first_fault


def open_conversion(
    source: str,
    targets: str | Sequence[str] = "all",
    converter: str = "auto",
    *,
    workspace: str | Path = ".",
    checkpoint: str | Path | None = None,
    engine: str = "auto",
    precision: str = "auto",
    compute_device: str = "auto",
    warnings: list[str] | None = None,
) -> Conversion:
    """Return the conversion from `source` to `targets`: call it with spectrograms.

    `targets`: device ids, a list or comma-separated; `all`, `synth:N` or `synth:FILE`. `workspace`: the folder with
    data/, devices/ and checkpoints/. Other arguments are those of `umc convert`. `warnings`: what a user should know is
    added.

    Raises:
        UmcError: a device or converter is unknown, or something that it needs is missing.
    """
    place = find_workspace(Path(workspace))
    given = {
        "source": source, "targets": targets, "converter": converter, "checkpoint": checkpoint, "engine": engine,
        "precision": precision, "compute_device": compute_device,
    }  # fmt: skip
    try:
        settings = ConversionSettings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(first_fault(error), "see docs/python.md") from error
    return open_chosen(place, settings, warnings=warnings)


def log_mel(waveform: NDArray[np.float32] | Tensor, sample_rate: int, features: SecFeatures | None = None) -> Tensor:
    """Return the log-mel spectrograms of a recording, cut into segments of 929 ms as `umc convert` cuts them.

    Shape: [n] mono, full scale 1, at `sample_rate` Hz -> [N, 80, 80] (segments, mel bands, frames), float32, dB re full
    scale. A recording shorter than a segment is padded with zeros. `features`: other ones, and segments of their
    length: what a classifier of `umc train-sec --feature-...` sees.

    Raises:
        UmcError: the waveform is not one channel, is empty or not finite, or the rate is absurd.
    """
    samples = np.asarray(waveform, dtype=np.float32)
    if samples.ndim != 1 or not len(samples):
        raise InputError(f"a waveform of shape {list(samples.shape)} is not one channel", "mix the channels down")
    if not LOWEST_SAMPLE_RATE_HZ <= sample_rate <= HIGHEST_SAMPLE_RATE_HZ:
        raise InputError(
            f"a sample rate of {sample_rate} Hz cannot be right",
            f"give {LOWEST_SAMPLE_RATE_HZ} to {HIGHEST_SAMPLE_RATE_HZ} Hz",
        )
    if not np.isfinite(samples).all():
        raise InputError("the waveform holds values that are not finite", "look at how it was made")
    cut = FeatureSegmentSettings(features=features)
    if sample_rate != cut.read_rate_hz:
        samples = soxr.resample(samples, sample_rate, cut.read_rate_hz, quality="HQ")
    starts = segment_starts(len(samples), cut)
    segments = np.zeros((len(starts), cut.segment_samples), dtype=np.float32)
    for row, start in enumerate(starts):
        part = samples[start : start + cut.segment_samples]
        segments[row, : len(part)] = part
    return spectrograms(torch.from_numpy(segments), cut)


def convert(
    source: str, *, workspace: str | Path = ".", files: Sequence[str | Path] | None = None, **settings: Any
) -> ConvertReport | ConvertDryRun:
    """Convert the recordings of a device to HDF5 shards, as `umc convert` does.

    `files`: recordings of `source`; None: all of the workspace. `settings`: the options of `umc convert`, with
    underscores for the dashes; with `dry_run=True` the report says what would be done. umc.toml and UMC_CONVERT_* count
    too.

    Raises:
        UmcError: wrong settings, something missing, or an output that cannot be written. Recordings that cannot be read
            raise nothing: they are listed in the report.
    """
    place = find_workspace(Path(workspace))
    given = settings | {"source": source}
    loaded = load_settings(convert_settings.ConvertSettings, place, convert_settings.SECTION, given)
    names = None if files is None else [str(file) for file in files]
    if loaded.dry_run:
        return convert_dry_run(place, loaded, names, SILENT)
    return convert_workflow.convert(place, loaded, names, SILENT)


def devices(workspace: str | Path = ".") -> dict[str, Device]:
    """Return the records of all known devices by id: the workspace's over those of the package.

    Raises:
        UmcError: a record is broken.
    """
    return {device.id: device for device in DeviceRegistry(find_workspace(Path(workspace)).devices)}


def measure(
    files: Sequence[str | Path], device: str, *, workspace: str | Path = ".", **settings: Any
) -> MeasureIrReport:
    """Measure a device from recordings of a stimulus, impulse responses or a curve, and write its record.

    `settings`: the options of `umc measure-ir`, with underscores for the dashes.

    Raises:
        UmcError: a file cannot be used, or the device is known already.
    """
    place = find_workspace(Path(workspace))
    given = settings | {"device": device}
    loaded = load_settings(measure_settings.MeasureIrSettings, place, measure_settings.SECTION, given)
    return _measure(place, loaded, [Path(file) for file in files])
