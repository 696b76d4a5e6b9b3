"""What classifiers say of the segments of every device, and what they could not be asked."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from umc_cli.audio.manifest import Clip
from umc_cli.audio.names import plain_name
from umc_cli.config import means_all
from umc_cli.errors import SettingsError, guess
from umc_cli.evaluation.conversion_measures import Segments
from umc_cli.evaluation.macro_f1 import Predictions
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.sec.models import SecModel, classify, some
from umc_cli.sec.sec_checkpoint import load_sec

_MOST_KEPT_BYTES = 2 * 1024**3
"""Weights of classifiers that stay in memory; those beyond it are read again for every device."""


@dataclass(frozen=True)
class EvaluatedDevice:
    """What was classified of a device."""

    n_segments: int
    n_recordings: int
    labels: tuple[str, ...]


@dataclass
class DevicePredictions:
    """What the models said, and what they were asked."""

    by_model: dict[str, dict[str, Predictions]]
    """By name of model and by device."""
    n_unknown: dict[str, dict[str, int]]
    """Segments by name of model and by label that it never saw."""
    devices: dict[str, EvaluatedDevice] = field(default_factory=dict)
    checksum: Any = field(default_factory=hashlib.sha256)

    def join(self, other: "DevicePredictions") -> None:
        """Add what other models said, which see other features."""
        if self.by_model:
            self.checksum.update(other.checksum.digest())
        else:
            self.checksum = other.checksum
        self.by_model |= other.by_model
        self.n_unknown |= other.n_unknown
        self.devices = other.devices | self.devices

    def add(self, model: str, devices: Mapping[str, Predictions], classes: Sequence[str]) -> None:
        """Add what a model said that was not asked here."""
        self.by_model[model], self.n_unknown[model] = dict(devices), {}
        for device, each in devices.items():
            labels = [classes[number] for number in each.true.tolist()]
            for row in zip(labels, each.recordings, strict=True):
                self.checksum.update("\t".join([device, *row]).encode("utf-8", "surrogateescape") + b"\n")
            found = EvaluatedDevice(len(labels), len(set(each.recordings)), tuple(sorted(set(labels))))
            self.devices.setdefault(device, found)


def clips_by_device(
    clips: Sequence[Clip], split: str, devices: Sequence[str], warnings: list[str]
) -> dict[str, list[Clip]]:
    """Return the clips of a split, by device; `devices` names some, or `all`.

    Raises:
        SettingsError: a named device has no recordings, or there are none at all.
    """
    known = sorted({clip.device for clip in clips})
    device_ids = known if means_all(devices) else list(dict.fromkeys(devices))
    chosen = {}
    for device in device_ids:
        if device not in known:
            raise SettingsError(
                f"no recordings of {device!r}",
                f"{guess(device, known)}there are recordings of: {', '.join(known) or 'none'}",
            )
        own = [clip for clip in clips if clip.device == device and clip.role == split]
        if own:
            chosen[device] = own
        elif means_all(devices):
            warnings.append(f"{device} has no recordings in split {split}")
        else:
            raise SettingsError(f"no recordings of {device!r} in split {split}", "name another --split")
    if not chosen:
        raise SettingsError(f"no recordings in split {split}", "add some, or name another --split")
    return chosen


def classify_devices(
    models: Sequence[SecModel],
    clips: Mapping[str, Sequence[Clip]],
    reader: SegmentReader,
    torch_device: torch.device,
    warnings: list[str],
    say: Callable[[str], None],
) -> DevicePredictions:
    """Let every model classify every device; one device's segments are in memory at a time.

    Raises:
        SettingsError: nothing can be classified, or a model knows none of the labels.
    """
    if not models:
        return DevicePredictions({}, {})
    predictions = DevicePredictions({model.name: {} for model in models}, {model.name: {} for model in models})
    networks = _Networks()
    for device, own in clips.items():
        say(f"classifying recordings of {device}")
        segments = reader.read(own)
        if not len(segments):
            warnings.append(f"{device} gives no segment")
            continue
        labels = tuple(sorted(set(segments.labels)))
        predictions.devices[device] = EvaluatedDevice(len(segments), len(set(segments.recordings)), labels)
        for row in zip(segments.labels, segments.recordings, segments.starts, strict=True):
            predictions.checksum.update("\t".join([device, *map(str, row)]).encode("utf-8", "surrogateescape") + b"\n")
        for model in models:
            _classify_one(model, device, segments, torch_device, networks, predictions)
    if not predictions.devices:
        raise SettingsError("no recording gives a segment", "see what failed, or pad short clips")
    for model in models:
        if not predictions.by_model[model.name]:
            raise SettingsError(
                f"model {model.name} knows none of the recordings' labels; it knows {some(model.classes)}",
                f"the recordings' labels: {some(predictions.n_unknown[model.name])}",
            )
    return predictions


class _Networks:
    """The networks of classifiers, read once as long as they fit into memory together."""

    def __init__(self) -> None:
        self._kept: dict[str, nn.Module] = {}
        self._n_bytes = 0

    def of(self, model: SecModel) -> nn.Module:
        """Return the network of a classifier."""
        if model.path in self._kept:
            return self._kept[model.path]
        network = load_sec(Path(model.path)).network
        n_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
        if self._n_bytes + n_bytes <= _MOST_KEPT_BYTES:
            self._kept[model.path] = network
            self._n_bytes += n_bytes
        return network


def _classify_one(
    model: SecModel,
    device: str,
    segments: Segments,
    torch_device: torch.device,
    networks: _Networks,
    predictions: DevicePredictions,
) -> None:
    number_of = {plain_name(name): number for number, name in enumerate(model.classes)}
    rows = [row for row, label in enumerate(segments.labels) if label in number_of]
    unknown = predictions.n_unknown[model.name]
    for label in segments.labels:
        if label not in number_of:
            unknown[label] = unknown.get(label, 0) + 1
    if not rows:
        return
    known = segments if len(rows) == len(segments) else segments.rows(rows)
    try:
        predicted = classify(networks.of(model), known.log_mel, torch_device)
    except SettingsError as error:
        raise SettingsError(f"model {model.name}: {error.message}", error.hint) from error
    true = np.array([number_of[label] for label in known.labels], dtype=np.intp)
    predictions.by_model[model.name][device] = Predictions(true, predicted, known.recordings)


def warn_of_labels(models: Sequence[SecModel], predictions: DevicePredictions, warnings: list[str]) -> None:
    """Say which labels models never saw, and which labels not all devices have."""
    blind: dict[str, list[str]] = {}
    for model in models:
        if unknown := predictions.n_unknown[model.name]:
            text = f"never saw {some(unknown)}; {sum(unknown.values())} segments are not counted"
            blind.setdefault(text, []).append(model.name)
    warnings += [f"{', '.join(names)} {text}" for text, names in blind.items()]
    for model in models:
        left_out = [device for device in predictions.devices if device not in predictions.by_model[model.name]]
        if left_out:
            warnings.append(f"{model.name} knows no label of {', '.join(left_out)}: its means leave them out")
    everywhere = set.intersection(*(set(device.labels) for device in predictions.devices.values()))
    partial = sorted({label for device in predictions.devices.values() for label in device.labels} - everywhere)
    if partial:
        devices = predictions.devices.items()
        where = [f"{label!r} on {', '.join(name for name, device in devices if label in device.labels)}"
                 for label in partial[:3]]  # fmt: skip
        more = f", and {len(partial) - 3} more" if len(partial) > 3 else ""
        warnings.append(
            f"labels that only some devices have ({'; '.join(where)}{more}): macro F1 is over different classes there"
        )
