"""Recordings that several real devices made at once, and what is learned of the devices from one half of them.

A set is a folder of the real recordings with a `manifest.csv` (path, device, label, recording; all devices in step) or
a `pairs.csv` (name, sample_rate, lag_samples: how much later the sound arrives on the device whose name sorts first)
beside two folders of `<name>.flac`. Used by `evaluate_real_devices.py`.
"""

import csv
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.files import read_header, read_samples
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.manifest import Clip, read_manifest
from umc_cli.audio.mel_scale import mel_band_edges_hz
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import find_workspace
from umc_cli.conversion.chosen.transport_start import transport_start
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.kept_knowledge import NOT_KEPT
from umc_cli.conversion.level_quantiles import measure_level_quantiles
from umc_cli.conversion.transport_files import load_transports
from umc_cli.precision import Precision
from umc_cli.response.device import DeviceRegistry, write_device
from umc_cli.response.flat_device import flat_device
from umc_cli.settings.measure_ir import MeasureIrSettings
from umc_cli.splits import CONVERTER
from umc_cli.workflows.measure_blind import measure_blind

REFERENCE_NOTE = "Stands for whatever the device is: the others are measured next to it."

_USABLE_SHARE = 0.95
"""Of the band below half a sample rate: above it is what the filters of the recorder leave."""

Levels = NDArray[np.float32]


@dataclass(frozen=True)
class RealSet:
    """Recordings that all devices made at once."""

    name: str
    clips: tuple[Clip, ...]
    has_labels: bool
    lag_samples: Mapping[tuple[str, str], int]
    """By device and recording: how many samples at 22,050 Hz later the sound arrives than on the device that hears it
    first."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the devices, in a stable order."""
        return tuple(sorted({clip.device for clip in self.clips}))

    @cached_property
    def bands(self) -> NDArray[np.bool_]:
        """Tell which bands all recordings can hold: those up to 95 % of half the lowest sample rate. Shape: [80]."""
        lowest_hz = min(read_header(clip.path).sample_rate_hz for clip in self.clips)
        centres_hz = np.array(mel_band_edges_hz(LOG_MEL_SETTINGS.n_mels)[1:-1])
        return (lowest_hz >= SAMPLE_RATE_HZ) | (centres_hz <= _USABLE_SHARE * lowest_hz / 2)


@dataclass(frozen=True)
class Together:
    """Segments that all devices recorded at once, in step."""

    log_mel: Mapping[str, Levels]
    """By device: [N, 80, 80], dB."""
    recordings: tuple[str, ...]
    """[N]"""
    labels: tuple[str, ...]
    """[N]"""


def read_set(data: Path, name: str) -> RealSet:
    """Find the recordings of one set. What not all devices recorded is left out."""
    folder = data / name
    if (folder / "manifest.csv").is_file():
        return RealSet(name, _on_all_devices(read_manifest(folder / "manifest.csv").clips), True, {})
    clips, lags = [], {}
    devices = sorted(each.name for each in folder.iterdir() if each.is_dir())
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            lag = round(int(row["lag_samples"]) * SAMPLE_RATE_HZ / int(row["sample_rate"]))
            for number, device in enumerate(devices):
                clips.append(Clip(str(folder / device / f"{row['name']}.flac"), device, "speech", "", row["name"]))
                lags[device, row["name"]] = max(0, -lag if number else lag)
    return RealSet(name, _on_all_devices(clips), False, lags)


def halves(real: RealSet, most_of_a_label: int | None = None) -> tuple[RealSet, RealSet]:
    """Split a set by recording, label by label, in the order of a hash of the recordings' names."""
    by_label = defaultdict(set)
    for clip in real.clips:
        by_label[clip.label].add(clip.recording)
    first = set()
    every = set()
    for recordings in by_label.values():
        ordered = sorted(recordings, key=_hash)[:most_of_a_label]
        every.update(ordered)
        first.update(ordered[::2])
    parts = (first, every - first)
    return tuple(replace(real, clips=tuple(clip for clip in real.clips if clip.recording in part)) for part in parts)


def other_sounds(real: RealSet, source: str, target: str) -> RealSet:
    """Return two devices of a set with other recordings on each: one half of them on the source, the other on the
    target."""
    parts = zip((source, target), halves(real), strict=True)
    clips = tuple(clip for device, part in parts for clip in part.clips if clip.device == device)
    return replace(real, clips=clips)


def read_together(real: RealSet) -> Together:
    """Read the whole segments that all devices recorded, with the lag taken out. Nothing is padded."""
    clips = {(clip.recording, clip.device): clip for clip in real.clips}
    spectrograms: dict[str, list[Levels]] = {device: [] for device in real.devices}
    recordings: list[str] = []
    labels: list[str] = []
    for recording in sorted({clip.recording for clip in real.clips}):
        own = {device: clips[recording, device] for device in real.devices}
        headers = {device: read_header(clip.path) for device, clip in own.items()}
        starts = {device: real.lag_samples.get((device, recording), 0) for device in own}
        count = min(header.n_samples - starts[device] for device, header in headers.items()) // SEGMENT_SAMPLES
        if count < 1:
            continue
        for device, clip in own.items():
            stop = starts[device] + count * SEGMENT_SAMPLES
            samples = read_samples(clip.path, headers[device], starts[device], stop)
            spectrograms[device].append(log_mel(torch.from_numpy(samples.reshape(count, SEGMENT_SAMPLES))).numpy())
        recordings += [recording] * count
        labels += [own[real.devices[0]].label] * count
    joined = {device: np.concatenate(parts) for device, parts in spectrograms.items()}
    return Together(joined, tuple(recordings), tuple(labels))


def learn_devices(learned_from: RealSet, weights: Path) -> Ingredients:
    """Return what converters may know, learned from recordings that are not paired: as a user's workspace would.

    Every device is measured blind next to the first one (`umc measure-ir --blind`), which counts as flat; level tables
    are those of `umc convert`.
    """
    reference, *others = learned_from.devices
    with tempfile.TemporaryDirectory(prefix="umc-real-devices-") as folder:
        root = Path(folder)
        (root / "data").mkdir()
        (root / "umc.toml").touch()
        with (root / "data" / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "device", "label", "split", "recording"))
            for clip in learned_from.clips:
                path = clip.path.resolve()
                writer.writerow((path, clip.device, clip.label, CONVERTER, clip.recording))
        workspace = find_workspace(root)
        flat = flat_device(reference, REFERENCE_NOTE)
        write_device(flat, workspace.devices)
        for device in others:
            settings = MeasureIrSettings(device=device, blind=True, reference_device=reference)
            report = measure_blind(workspace, settings, ())
            flat = flat.model_copy(update={"noise_floor_db": report.reference_noise_floor_db})
        records = {record.id: record for record in DeviceRegistry(workspace.devices) if record.id in others}
    tables = {
        device: measure_level_quantiles(_of(learned_from.clips, device), SegmentSettings()).levels_db
        for device in learned_from.devices
    }
    return Ingredients(
        source=reference,
        targets=tuple(others),
        devices={reference: flat, **records},
        torch_device=torch.device("cpu"),
        level_quantiles=tables,
        checkpoint=SHIPPED_GENERATOR,
        refiner=weights,
        engine=EngineSettings(precision=Precision.FP32, threads=1),
    )


def with_transports(converter: str, known: Ingredients, learned_from: RealSet) -> Ingredients:
    """Return what is known with the maps that a converter learns from the same recordings."""
    clips = tuple(replace(clip, split=CONVERTER) for clip in learned_from.clips)
    maps = load_transports(NOT_KEPT, transport_start(converter, known), clips, SegmentSettings(), [])
    return replace(known, transports=maps)


def _on_all_devices(clips: Sequence[Clip]) -> tuple[Clip, ...]:
    heard_by = defaultdict(set)
    for clip in clips:
        heard_by[clip.recording].add(clip.device)
    n_devices = len({clip.device for clip in clips})
    return tuple(clip for clip in clips if len(heard_by[clip.recording]) == n_devices)


def _of(clips: Sequence[Clip], device: str) -> list[Clip]:
    own = (replace(clip, split=CONVERTER) for clip in clips if clip.device == device)
    return sorted(own, key=lambda clip: clip.file)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
