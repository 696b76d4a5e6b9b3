"""Log-mel segments of several devices for adversarial training, some recordings held out on all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.errors import SettingsError
from umc_cli.training.held_out import held_out_recordings
from umc_cli.training.segment_store import mean_and_std, store_segments

MIN_SEGMENTS = 2
"""Training segments that a device must have at the least."""


@dataclass(frozen=True)
class TrainingSegments:
    """The segments of all devices, in the order of `devices`."""

    devices: tuple[str, ...]
    train: tuple[NDArray[np.float16], ...]
    """By device, [n, 80, 80] (mel bands, frames), dB re full scale; mapped from a file."""
    held_out: tuple[NDArray[np.float16], ...]
    """Of recordings that are not trained on, on whichever device; may be empty."""
    normalisation: Normalisation
    """Of the training segments of all devices."""
    failed: tuple[FailedInput, ...]
    fingerprint: str
    """Of the recordings' names and sizes and the segment settings."""
    content_sha256: str = ""
    """Of all segments."""


def parts_of(clips: Mapping[str, Sequence[Clip]], held_out_share: float) -> dict[str, list[Clip]]:
    """Return the recordings to train on and those that are held out, by `<device>.train` and `<device>.held-out`."""
    held_out = held_out_recordings([clip for of_device in clips.values() for clip in of_device], held_out_share)
    parts: dict[str, list[Clip]] = {}
    for device, of_device in clips.items():
        ordered = sorted(of_device, key=lambda clip: clip.file)
        parts[f"{device}.train"] = [clip for clip in ordered if clip.recording not in held_out]
        parts[f"{device}.held-out"] = [clip for clip in ordered if clip.recording in held_out]
    return parts


def check_counts(n_train: Mapping[str, int]) -> None:
    """Refuse a device with too few segments to train on; `n_train`: their number by device.

    Raises:
        SettingsError: naming it.
    """
    for device, count in n_train.items():
        if count < MIN_SEGMENTS:
            raise SettingsError(
                f"device {device} has {count} segments to train on; {MIN_SEGMENTS} are needed",
                "add recordings of it to the split train, or leave it out with --devices",
            )


def gather_segments(
    folder: Path,
    devices: Sequence[str],
    parts: Mapping[str, Sequence[Clip]],
    settings: SegmentSettings,
    workers: int,
) -> TrainingSegments:
    """Return the segments of every device's recordings, from `folder` if an earlier run left them there.

    `parts`: see `parts_of`.

    Raises:
        SettingsError: a device has fewer than 2 training segments, or all segments are equal.
        EnvironmentFault: `folder` cannot be written.
    """
    store = store_segments(folder, parts, settings, workers)
    train = tuple(store.parts[f"{device}.train"].segments for device in devices)
    check_counts({device: len(segments) for device, segments in zip(devices, train, strict=True)})
    known = mean_and_std(store.moments[f"{device}.train"] for device in devices)
    if known is None:
        raise SettingsError("all training segments have the same level", "check the recordings")
    return TrainingSegments(
        devices=tuple(devices),
        train=train,
        held_out=tuple(store.parts[f"{device}.held-out"].segments for device in devices),
        normalisation=Normalisation(mean_db=known[0], std_db=known[1]),
        failed=store.failed,
        fingerprint=store.fingerprint,
        content_sha256=store.content_sha256,
    )
