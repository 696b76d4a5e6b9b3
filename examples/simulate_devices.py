"""Make the data sets that the shipped refiner is measured on: simulated devices whose responses it never saw.

    python examples/simulate_devices.py test <data> <workspace> [--devices 8] [--seed 0]

<data> is the data folder of `train_shipped_generator.py`. With `test`, folds 4 (split train-mc) and 5 (val-sec) of its
clips are recorded by devices drawn around the responses that the shipped refiner never saw; with `train`, the sounds
and responses that it was trained on, all in split train-mc, for rivals to learn from. For clips of your own:
`umc simulate`.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from train_shipped_generator import TEST_FOLD, TRAIN_FOLDS, VALIDATION_FOLD, split_responses

from umc_cli.audio.manifest import Clip
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


def main() -> None:
    """Draw the devices and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("of_shipped", choices=SPLITS_OF_FOLDS)
    parser.add_argument("data", type=Path)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    clips = clips_by_fold(options.data / "events", SPLITS_OF_FOLDS[options.of_shipped])
    responses_db = split_responses(options.data)[options.of_shipped == "test"]
    random = np.random.default_rng(options.seed)
    devices = [draw_device(f"sim{number}", responses_db, random) for number in range(options.devices)]
    written = write_simulated_data_set(options.workspace, clips, devices, options.seed)
    print(f"{len(written)} recordings of {len(devices)} devices in {options.workspace}")


if __name__ == "__main__":
    main()
