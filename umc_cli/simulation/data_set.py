"""A multi-device data set with known truth: every clip as every simulated device records it, ready as a workspace."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from umc_cli import atomic_write
from umc_cli.audio.files import read_header, read_samples, write_samples
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.config import dump_settings
from umc_cli.errors import InputError, SettingsError
from umc_cli.response.device import write_device
from umc_cli.simulation.simulated_device import SimulatedDevice
from umc_cli.splits import TEST

SIMULATION_NAME = "simulation.json"
LONGEST_S = 300
"""Of one clip, in s: all of it is in memory several times."""
_COLUMNS = ("path", "device", "label", "split", "recording")


def write_simulated_data_set(
    folder: Path,
    clips: Sequence[Clip],
    devices: Sequence[SimulatedDevice],
    seed: int,
    unseen: Collection[str] = (),
    failed: list[FailedInput] | None = None,
    done: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write `data/<device>/<label>/*.flac`, `data/manifest.csv`, `devices/*.json` and `simulation.json` to `folder`.

    Clips keep their label, split and `recording`, which all devices share; FLAC of 24 bits at 22,050 Hz. The devices
    `unseen` (ids) record the split `test` only, so that what is trained on the others can be measured on them.
    `simulation.json` holds what no record does: gain control, clipping, codec. Equal seeds give equal files. Of
    a clip longer than `LONGEST_S` the beginning is recorded. A clip that cannot be read is added to `failed`.
    `done` is told how many clips were recorded so far, after each.

    Raises:
        SettingsError: the folder already holds recordings, or two devices share a name, or a clip is named twice, or an
            unseen device would have nothing to record.
        InputError: a clip cannot be read, and there is no list `failed`.
        EnvironmentFault: the folder cannot be written.
    """
    if (folder / "data").exists():
        raise SettingsError(f"{folder} already holds recordings", "name a new folder")
    for kind, values in (("devices", [device.record.id for device in devices]), ("clips", [c.file for c in clips])):
        twice = sorted(value for value, count in Counter(values).items() if count > 1)
        if twice:
            raise SettingsError(f"two {kind} are called {twice[0]!r}", "rename one of them")
    if unseen and all(clip.role != TEST for clip in clips):
        raise SettingsError(f"no clip is in split {TEST}, which unseen devices record", "put some clips into it")
    rows = []
    for number, (clip, name) in enumerate(zip(clips, _names(clips), strict=True)):
        try:
            header = read_header(clip.path)
            sound = read_samples(clip.path, header, 0, min(header.n_samples, LONGEST_S * SAMPLE_RATE_HZ))
        except InputError as error:
            if failed is None:
                raise
            failed.append(FailedInput(clip.file, error.message, error.hint))
            continue
        for device_number, device in enumerate(devices):
            if device.record.id in unseen and clip.role != TEST:
                continue
            # A seed per file: its noise does not depend on which other devices there are.
            random = np.random.default_rng([seed, number, device_number])
            path = Path(device.record.id) / name
            samples = device.record_sound(sound, random)
            write_samples(folder / "data" / path, samples, SAMPLE_RATE_HZ, "FLAC", "PCM_24")
            rows.append((path.as_posix(), device.record.id, clip.label, clip.split, clip.recording))
        if done:
            done(number + 1)
    for device in devices:
        write_device(device.record, folder / "devices")
    truth = {device.record.id: dump_settings(device.settings) for device in devices}
    atomic_write.write_text(folder / SIMULATION_NAME, json.dumps({"seed": seed, "devices": truth}, indent=1) + "\n")
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([_COLUMNS, *rows])
    # Last: without a manifest a half-written data set has no splits that look whole.
    atomic_write.write_text(folder / "data" / "manifest.csv", table.getvalue())
    return [folder / "data" / row[0] for row in rows]


def _names(clips: Sequence[Clip]) -> list[str]:
    """Return a path below a device's folder for every clip: clips of one label and name are numbered."""
    names: dict[str, None] = {}
    for clip in clips:
        folder = re.sub(r"[^\w .-]", "_", clip.label).strip(". ") or "_"
        stem, number = f"{folder}/{clip.path.stem}", 1
        name = f"{stem}.flac"
        while name in names:
            number += 1
            name = f"{stem}-{number}.flac"
        names[name] = None
    return list(names)
