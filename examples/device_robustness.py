"""Which method makes a sound event classifier survive a foreign device: the whole experiment in one command.

    python examples/device_robustness.py --preset smoke|cpu|paper [--clips DIR | --data DIR] [--output DIR]

Each draw makes a workspace of simulated devices (a source, seen and unseen ones), which all record the same clips;
clips are split by recording into train-mc, train-sec and val-sec. A classifier is trained on the source with each
method, and all are scored on every device. Methods may know the seen devices as the column "knows" says; unseen devices
are known to none, `ideal` included, and record val-sec only. Printed is Table 2 of the paper: macro F1, mean and
standard deviation over draws (devices, splits and seeds of the training are all drawn anew).

--clips holds `<label>/*.wav` (or FLAC, OGG, MP3, AIFF); devices are drawn around the phones of the package. --data is
the folder that `train_shipped_generator.py` takes: its clips, and devices drawn around the responses that the shipped
refiner never saw. Without either, sounds are synthesised.

`smoke` takes two minutes on two processors, `cpu` an hour and a half, `paper` trains ResNet-50 and every converter of
`mc` as published and wants a GPU. A run that was interrupted resumes where it stopped.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from train_shipped_generator import split_responses

from umc_cli.audio.manifest import Clip
from umc_cli.cli.training_progress import QuietTraining
from umc_cli.config import Workspace, find_workspace
from umc_cli.response.device import DeviceRegistry
from umc_cli.settings.eval_sec import EvaluateSecSettings
from umc_cli.settings.synth_fr import SynthFrSettings
from umc_cli.simulation.data_set import write_simulated_data_set
from umc_cli.simulation.device_family import draw_device
from umc_cli.simulation.sound_events import write_sound_events
from umc_cli.workflows.evaluate_sec import evaluate_sec
from umc_cli.workflows.simulate import labelled_clips
from umc_cli.workflows.synth_fr import synth_fr
from umc_cli.workflows.train import load_train_settings, train
from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec

SOURCE = "source"
SPLITS = (("train-mc", 0.4), ("train-sec", 0.8), ("val-sec", 1.0))
NOTHING, RESPONSES, RECORDINGS, LABELS = "nothing", "responses", "recordings", "labelled recordings"
INVENTED = "known-devices/invented.safetensors"
"""In a draw's folder: the devices of `unified-synth`, learned from the responses of the source and the seen devices."""


@dataclass(frozen=True)
class Row:
    """A row of the table: what its method may know of the seen devices, and the settings of `umc train-sec`."""

    knows: str
    settings: Mapping[str, Any]


def _row(knows: str, method: str, **settings: Any) -> Row:
    return Row(knows, {"method": method} | settings)


ROWS = {
    "none": _row(NOTHING, "none"),
    "gaussian-noise": _row(NOTHING, "gaussian-noise"),
    "room-reverb": _row(NOTHING, "room-reverb"),
    "pitch-shift": _row(NOTHING, "pitch-shift"),
    "spec-augment": _row(NOTHING, "spec-augment"),
    "mixup": _row(NOTHING, "mixup"),
    "filter-augment": _row(NOTHING, "filter-augment"),
    "freq-mixstyle": _row(NOTHING, "freq-mixstyle"),
    "residual-norm": _row(NOTHING, "residual-norm"),
    "rfn": _row(NOTHING, "rfn"),
    "unified-synth": _row(RESPONSES, "unified-synth"),
    "unified-synth+freq-mixstyle": _row(RESPONSES, "unified-synth+freq-mixstyle"),
    "dir": _row(RESPONSES, "dir"),
    "eq": _row(RESPONSES, "eq"),
    "eq-noise": _row(RESPONSES, "eq-noise"),
    "unified-real (refiner)": _row(RESPONSES, "unified-real", converter="refiner"),
    "unified-real (refiner, 0.8 converted)": _row(RESPONSES, "unified-real", converter="refiner", converted_share=0.8),
    "quantile": _row(RECORDINGS, "quantile"),
    "mc": _row(RECORDINGS, "mc"),
    "unified-real (refiner_quantile)": _row(RECORDINGS, "unified-real", converter="refiner_quantile"),
    **{
        f"unified-real+{name}": _row(RECORDINGS, f"unified-real+{name}", converter="refiner_quantile")
        for name in ("freq-mixstyle", "gaussian-noise", "filter-augment", "residual-norm", "rfn")
    },
    "ideal": _row(LABELS, "ideal"),
}


@dataclass(frozen=True)
class Preset:
    """How large the experiment is."""

    settings: Mapping[str, Any]
    """Of `umc train-sec`."""
    rows: Sequence[str]
    draws: int
    seen: int
    unseen: int
    clips_per_class: int = 20
    """Where sounds are synthesised."""
    ideal_settings: Mapping[str, Any] = field(default_factory=dict)
    """Of `ideal`, whose epochs are longer: every device's recordings are trained on."""
    pair_settings: Mapping[str, Any] = field(default_factory=dict)
    """Of `umc train --pair`, for `mc`."""


CPU_ROWS = [name for name in ROWS if name != "mc"]
PRESETS = {
    "smoke": Preset(
        {"preset": "smoke", "max_steps": 40, "validate_every": 20},
        ("none", "freq-mixstyle", "unified-synth", "eq-noise", "quantile", "ideal"),
        draws=1, seen=2, unseen=1, clips_per_class=10,
    ),
    "cpu": Preset(
        {"preset": "cpu", "batch_size": 32, "epochs": 16, "learning_rate_epochs": 6, "validate_every": 100},
        CPU_ROWS, draws=3, seen=6, unseen=3, ideal_settings={"epochs": 4, "learning_rate_epochs": 2},
    ),
    "paper": Preset({"preset": "paper"}, list(ROWS), draws=3, seen=6, unseen=3, pair_settings={"preset": "paper"}),
}  # fmt: skip


def make_workspace(
    root: Path, clips: Sequence[Clip], responses_db: NDArray[np.float64], preset: Preset, draw: int
) -> None:
    """Draw devices and splits, and let every device record every clip of its splits."""
    random = np.random.default_rng([2024, draw])
    names = [SOURCE, *_seen(preset), *(f"unseen{number}" for number in range(preset.unseen))]
    devices = [draw_device(name, responses_db, random) for name in names]
    write_simulated_data_set(root, _drawn_splits(clips, random), devices, draw, names[1 + preset.seen :])


def invent_devices(root: Path, preset: Preset, draw: int) -> None:
    """Write `INVENTED`: what `umc synth-fr` makes where nothing but the records of the known devices is there."""
    invented = root / INVENTED
    (invented.parent / "devices").mkdir(parents=True, exist_ok=True)
    for name in (SOURCE, *_seen(preset)):
        shutil.copy(root / "devices" / f"{name}.json", invented.parent / "devices")
    synth_fr(find_workspace(invented.parent), SynthFrSettings(n=200, seed=draw, output=invented), lambda _: None)


def _seen(preset: Preset) -> tuple[str, ...]:
    return tuple(f"seen{number}" for number in range(preset.seen))


def _drawn_splits(clips: Sequence[Clip], random: np.random.Generator) -> list[Clip]:
    split_of: dict[str, str] = {}
    for label in sorted({clip.label for clip in clips}):
        recordings = sorted({clip.recording for clip in clips if clip.label == label})
        for place, number in enumerate(random.permutation(len(recordings))):
            share = (place + 0.5) / len(recordings)
            split_of[recordings[number]] = next(split for split, end in SPLITS if share < end)
    return [replace(clip, split=split_of[clip.recording]) for clip in clips]


def train_row(root: Path, preset_name: str, name: str, draw: int) -> str:
    """Train one row of one draw; in a process of its own."""
    preset, workspace = PRESETS[preset_name], find_workspace(root)
    given = dict(preset.settings) | dict(ROWS[name].settings)
    is_synth = str(given["method"]).startswith("unified-synth")
    targets = (f"synth:{root / INVENTED}",) if is_synth else _seen(preset)
    given |= {"source": SOURCE, "targets": targets, "seed": draw, "name": _run_name(name)}
    given |= preset.ideal_settings if name == "ideal" else {}
    given["resume"] = (workspace.runs / given["name"] / "settings.json").is_file() or None
    train_sec(workspace, load_train_sec_settings(workspace, given), QuietTraining())
    return name


def train_pairs(workspace: Workspace, preset: Preset) -> None:
    """Train the converters of `mc`, one for every seen device."""
    for name in _seen(preset):
        pair = f"{SOURCE}:{name}"
        if (workspace.checkpoints / f"{pair.replace(':', '-to-')}.safetensors").is_file():
            continue
        resume = (workspace.runs / pair.replace(":", "-") / "settings.json").is_file() or None
        settings = load_train_settings(workspace, dict(preset.pair_settings) | {"pair": pair, "resume": resume})
        train(workspace, settings, QuietTraining())


def _run_name(row: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in row).strip("-")


def score(root: Path, rows: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the macro F1 of every row on every device of one draw; the page is written to `report/`."""
    workspace = find_workspace(root)
    settings = EvaluateSecSettings(
        model=tuple(_run_name(name) for name in rows), output=root / "report", overwrite=True
    )
    report = evaluate_sec(workspace, settings, lambda _: None)
    by_run = {model.name: model for model in report.models}
    return {
        name: {device: scores.macro_f1 for device, scores in by_run[_run_name(name)].devices.items()} for name in rows
    }


def summary(draws: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    """Return by row: macro F1 on the source, over seen and over unseen devices, for every draw."""
    groups = {"source": SOURCE, "seen": "seen", "unseen": "unseen"}
    return {
        row: {
            group: [mean(f1 for device, f1 in draw[row].items() if device.startswith(start)) for draw in draws]
            for group, start in groups.items()
        }
        for row in draws[0]
    }


def markdown(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the table: mean and standard deviation over draws, and the share of the gap that a row closes."""
    lines = [
        "| method | knows of the seen devices | source | seen devices | gap closed | unseen devices | gap closed |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, scores in found.items():
        cells = [name, ROWS[name].knows, _mean_text(scores["source"])]
        for group in ("seen", "unseen"):
            low, high = (mean(found[end][group]) for end in ("none", "ideal"))
            closed = f"{100 * (mean(scores[group]) - low) / (high - low):.0f} %" if high > low else "-"
            cells += [_mean_text(scores[group]), closed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean_text(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"


def main() -> None:
    """Make the draws, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="smoke")
    sounds = parser.add_mutually_exclusive_group()
    sounds.add_argument("--clips", type=Path)
    sounds.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("device-robustness"))
    parser.add_argument("--draws", type=int, help="default: as the preset says")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time (one processor each)")
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    if options.data:
        clips, responses_db = labelled_clips(options.data / "events").clips, split_responses(options.data)[1]
    else:
        folder = options.clips or options.output / "sounds"
        if not folder.exists():
            write_sound_events(folder, preset.clips_per_class, None, seed=0)
        clips = labelled_clips(folder).clips
        responses_db = np.array([phone.frequency_response_db for phone in DeviceRegistry()])
    roots = [options.output / options.preset / f"draw{draw}" for draw in range(options.draws or preset.draws)]
    for draw, root in enumerate(roots):
        if not (root / "data" / "manifest.csv").is_file():
            print(f"{root}: recording {len(clips)} clips", file=sys.stderr)
            make_workspace(root, clips, responses_db, preset, draw)
        if not (root / INVENTED).is_file():
            invent_devices(root, preset, draw)
        if "mc" in preset.rows:
            train_pairs(find_workspace(root), preset)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that train
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {
            pool.submit(train_row, root, options.preset, name, draw): f"{root}: {name}"
            for draw, root in enumerate(roots)
            for name in preset.rows
        }
        for number, done in enumerate(as_completed(waiting), 1):
            done.result()
            print(f"{number}/{len(waiting)} {waiting[done]}", file=sys.stderr)
    found = summary([score(root, preset.rows) for root in roots])
    table = markdown(found)
    (options.output / options.preset / "results.json").write_text(json.dumps(found, indent=1))
    (options.output / options.preset / "results.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
