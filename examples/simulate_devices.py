"""Make a multi-device data set with known truth out of any folder of clips.

    python examples/simulate_devices.py <clips> <workspace> [--devices 8] [--unseen 2] [--seed 0]

<clips> holds `<label>/*.wav` (or FLAC, OGG, MP3, AIFF). Devices are drawn around the responses of the package's phones:
response, sensitivity, noise floor, and for some of them gain control, soft clipping, a band limit or a codec. The
result is a workspace: `umc -C <workspace> eval conversion --source sim0 --targets all` measures converters on it.

The splits differ in recordings, and with `--unseen N` in devices too: the last N devices record split val-sec only, so
`umc train` and `quantile` never meet them.

With `--of-shipped test` <clips> is the data folder of `train_shipped_generator.py`: then folds 4 (split train-mc) and 5
(val-sec) of its clips are recorded by devices drawn around the responses that the shipped refiner never saw; with
`--of-shipped train` the sounds and responses that it was trained on, all in split train-mc, for rivals to learn from.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from train_shipped_generator import TEST_FOLD, TRAIN_FOLDS, VALIDATION_FOLD, split_responses

from umc_cli.audio.files import AUDIO_SUFFIXES
from umc_cli.audio.manifest import Clip, assign_splits
from umc_cli.response.device import DeviceRegistry
from umc_cli.simulation.data_set import write_simulated_data_set
from umc_cli.simulation.device_family import draw_device

SPLITS_OF_FOLDS = {
    "train": dict.fromkeys(TRAIN_FOLDS, "train-mc"),
    "test": {VALIDATION_FOLD: "train-mc", TEST_FOLD: "val-sec"},
}


def clips_by_fold(events: Path, splits: dict[int, str]) -> list[Clip]:
    """Return the clips of some folds, in the splits that are named."""
    with (events / "metadata.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if int(row["group_fold"]) in splits]
    return [
        Clip(
            file=str(events / row["filename"]),
            device="source",
            label=row["class"],
            split=splits[int(row["group_fold"])],
            recording=Path(row["filename"]).stem,
        )
        for row in rows
    ]


def labelled_clips(folder: Path) -> list[Clip]:
    """Return the clips of any folder with a folder per label, in splits of their own."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    clips = []
    for path in paths:
        place = path.relative_to(folder)
        recording = place.with_suffix("").as_posix()
        clips.append(Clip(str(path), "source", label=place.parts[0], split="", recording=recording))
    return list(assign_splits(clips))


def main() -> None:
    """Draw the devices and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--unseen", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of-shipped", choices=SPLITS_OF_FOLDS)
    options = parser.parse_args()
    if options.of_shipped:
        clips = clips_by_fold(options.clips / "events", SPLITS_OF_FOLDS[options.of_shipped])
        responses_db = split_responses(options.clips)[options.of_shipped == "test"]
    else:
        clips = labelled_clips(options.clips)
        phones = DeviceRegistry()
        responses_db = np.array([phone.frequency_response_db for phone in phones])
    random = np.random.default_rng(options.seed)
    devices = [draw_device(f"sim{number}", responses_db, random) for number in range(options.devices)]
    unseen = [device.record.id for device in devices[max(0, len(devices) - options.unseen) :]]
    written = write_simulated_data_set(options.workspace, clips, devices, options.seed, unseen)
    print(f"{len(written)} recordings of {len(devices)} devices in {options.workspace}")


if __name__ == "__main__":
    main()
