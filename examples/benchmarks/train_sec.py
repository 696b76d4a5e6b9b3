"""Conversion while a classifier is trained, over conversion to shards before; and the share of computing in training.

    python examples/benchmarks/train_sec.py [--json] [--quick] [--backbone cnn] [--repeats 3]

For each converter, in one run: `umc convert` of the split train-sec to all devices of the library and three epochs of
`umc train-sec --shards`, and the same three epochs with conversion on the fly, in turn. Left out of both are imports
and the training's own store of the source's spectrograms, which a warm-up makes; compiling the converter, the copy of
the shards' conversions, validation and saving are in. Prints a table on standard error; with --json one JSON object on
standard output. Absolute figures depend on the machine; the ratios are what to compare. `--quick` checks that
everything runs.
"""

import argparse
import csv
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile
import torch

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.cli.training_progress import QuietTraining
from umc_cli.config import Workspace, find_workspace
from umc_cli.runtime import cpu_count
from umc_cli.sec import classifier_training as training
from umc_cli.settings.convert import ConvertSettings
from umc_cli.silence import SILENT
from umc_cli.simulation.sound_events import SOUND_EVENTS, synthesize
from umc_cli.splits import TRAIN
from umc_cli.workflows.convert import convert
from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec

SOURCE = "xperia1v"
METHODS = {"refiner": "unified-real", "eq_noise": "eq-noise"}
"""By converter; `unified-real` converts with the package's refiner, as there are no recordings of the targets."""
EPOCHS = 3

WANTED = {"on_the_fly_over_shards": 0.80, "compute_share": 0.90}


def write_data_set(folder: Path, clips_per_class: int, segments_a_clip: int) -> None:
    """Write recordings of the source, all in split train-sec: synthesised sounds in noise, repeated to one length."""
    rows = [("path", "device", "label", "split")]
    random = np.random.default_rng(0)
    for label in SOUND_EVENTS:
        (folder / SOURCE / label).mkdir(parents=True)
        for number in range(clips_per_class):
            sound = np.resize(synthesize(label, number), segments_a_clip * SEGMENT_SAMPLES)
            path = f"{SOURCE}/{label}/{number:04d}.flac"
            soundfile.write(folder / path, sound + 1e-3 * random.standard_normal(len(sound)), SAMPLE_RATE_HZ)
            rows.append((path, SOURCE, label, TRAIN))
    with (folder / "manifest.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def make_shards(workspace: Workspace, converter: str, output: Path) -> None:
    """Do `umc convert --split train-sec --targets all`."""
    settings = ConvertSettings(source=SOURCE, converter=converter, split=(TRAIN,), output=output)
    convert(workspace, settings, None, SILENT)


def train(workspace: Workspace, converter: str, backbone: str, **options: Any) -> tuple[float, float]:
    """Do `umc train-sec --preset cpu`; return its seconds and the share of computing in the time of its steps.

    Computing is forward, backward and optimiser. The time of the steps runs from the first one's beginning to the last
    one's end, so it holds waiting for batches and whatever is done between steps, but no validation.
    """
    given = {"source": SOURCE, "method": METHODS[converter], "preset": "cpu", "name": "timed", "overwrite": True}
    given |= {"epochs": EPOCHS, "validate_every": 10**6, "backbone": backbone}
    settings = load_train_sec_settings(workspace, given | options)
    step, compute = training.SecTraining.step, training.sec_step
    begun: list[float] = []
    ended: list[float] = []
    computing: list[float] = []

    def timed_step(self: training.SecTraining, index: int) -> dict[str, float]:
        begun.append(time.perf_counter())
        losses = step(self, index)
        ended.append(time.perf_counter())
        return losses

    def timed_compute(*arguments: Any) -> dict[str, float]:
        started = time.perf_counter()
        losses = compute(*arguments)
        computing.append(time.perf_counter() - started)
        return losses

    with (
        patch.object(training.SecTraining, "step", timed_step),
        patch.object(training, "sec_step", timed_compute),
        QuietTraining() as progress,
    ):
        taken = seconds(lambda: train_sec(workspace, settings, progress))
    return taken, sum(computing) / (ended[-1] - begun[0])


def try_both(workspace: Workspace, converter: str, backbone: str, shards_first: bool) -> dict[str, float]:
    """Train once each way."""
    shards = workspace.root / "shards"

    def with_shards() -> dict[str, float]:
        shutil.rmtree(shards, ignore_errors=True)
        making = seconds(lambda: make_shards(workspace, converter, shards))
        taken, share = train(workspace, converter, backbone, shards=shards)
        return {"making_seconds": making, "from_shards_seconds": taken, "compute_share": share}

    def on_the_fly() -> dict[str, float]:
        taken, share = train(workspace, converter, backbone)
        return {"on_the_fly_seconds": taken, "compute_share_on_the_fly": share}

    tried: dict[str, float] = {}
    for way in (with_shards, on_the_fly) if shards_first else (on_the_fly, with_shards):
        tried |= way()
    of_shards = tried["from_shards_seconds"]
    return {
        "on_the_fly_over_shards": (tried["making_seconds"] + of_shards) / tried["on_the_fly_seconds"],
        "on_the_fly_over_ready_shards": of_shards / tried["on_the_fly_seconds"],
        **dict(sorted(tried.items())),
    }


def measure(workspace: Workspace, converter: str, backbone: str, repeats: int) -> dict[str, dict[str, float]]:
    """Return every figure's median, lowest and highest value."""
    train(workspace, converter, backbone, max_steps=1)
    trials = [try_both(workspace, converter, backbone, shards_first=turn % 2 == 0) for turn in range(repeats)]
    values = {name: [trial[name] for trial in trials] for name in trials[0]}
    return {
        name: {"median": statistics.median(column), "lowest": min(column), "highest": max(column)}
        for name, column in values.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--quick", action="store_true", help="small sizes: checks that it runs")
    parser.add_argument("--backbone", default="cnn", help="network of the classifier, as in umc train-sec")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    clips_per_class, segments_a_clip, repeats = (2, 1, 1) if options.quick else (20, 5, options.repeats)
    figures: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": cpu_count(),
        "compute_device": "cuda" if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "backbone": options.backbone,
        "segments": clips_per_class * segments_a_clip * len(SOUND_EVENTS),
    }
    with tempfile.TemporaryDirectory() as name:
        workspace = find_workspace(Path(name))
        write_data_set(workspace.data, clips_per_class, segments_a_clip)
        for converter in METHODS:
            figures[converter] = measure(workspace, converter, options.backbone, repeats)
            for figure, spread in figures[converter].items():
                wanted = f"   wanted >= {WANTED[figure]}" if figure in WANTED else ""
                values = "{median:8.3f}  {lowest:8.3f} to {highest:8.3f}".format(**spread)
                sys.stderr.write(f"{converter + ' ' + figure:38}{values}{wanted}\n")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
