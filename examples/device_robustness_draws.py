"""The draws of `device_robustness.py`: workspaces of simulated or real devices with splits of their own."""

import argparse
import csv
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from device_robustness_rows import INVENTED, PAIRED, ROWS, Preset
from numpy.typing import NDArray
from real_device_sets import REFERENCE_NOTE
from train_shipped_generator import split_responses

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.audio.manifest import Clip, read_manifest
from umc_cli.cli.training_progress import QuietTraining
from umc_cli.config import find_workspace
from umc_cli.response.device import DeviceRegistry, write_device
from umc_cli.response.flat_device import flat_device
from umc_cli.settings.measure_ir import MeasureIrSettings
from umc_cli.settings.pair import PairSettings
from umc_cli.settings.synth_fr import SynthFrSettings
from umc_cli.simulation.data_set import write_simulated_data_set
from umc_cli.simulation.device_family import draw_device
from umc_cli.simulation.sound_events import write_sound_events
from umc_cli.splits import CONVERTER, TEST, TRAIN
from umc_cli.workflows.measure_blind import measure_blind
from umc_cli.workflows.pair import pair
from umc_cli.workflows.simulate import labelled_clips
from umc_cli.workflows.synth_fr import synth_fr

SOURCE = "source"
PAIRS_S = 60.0
FINISHED = "finished"
"""In the folder of a minute of pairs: that all is learned."""
SPLITS = ((CONVERTER, 0.4), (TRAIN, 0.8), (TEST, 1.0))


@dataclass(frozen=True)
class Draw:
    """A workspace, and what its devices are to the methods."""

    root: Path
    number: int
    source: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Return the devices that methods may know."""
        return self.source, *self.seen


def make_simulated(draw: Draw, clips: Sequence[Clip], responses_db: NDArray[np.float64]) -> None:
    """Draw devices and splits, and let every device record every clip of its splits."""
    random = np.random.default_rng([2024, draw.number])
    devices = [draw_device(name, responses_db, random) for name in (*draw.known, *draw.unseen)]
    write_simulated_data_set(draw.root, _drawn_splits(clips, random), devices, draw.number, draw.unseen)


def make_real(draw: Draw, clips: Sequence[Clip], most_of_a_class: int) -> None:
    """Draw splits of what real devices recorded at once, and measure the devices blind, next to the source."""
    random = np.random.default_rng([2024, draw.number])
    of_label = defaultdict(set)
    for clip in clips:
        of_label[clip.label].add(clip.recording)
    kept = {
        name
        for label in sorted(of_label)
        for name in random.permutation(sorted(of_label[label]))[:most_of_a_class].tolist()
    }
    chosen = _drawn_splits([clip for clip in clips if clip.recording in kept], random)
    workspace = find_workspace(_begun(draw.root))
    write_device(flat_device(draw.source, REFERENCE_NOTE), workspace.devices)
    _write_manifest(draw.root, chosen)
    for device in draw.seen:
        settings = MeasureIrSettings(device=device, blind=True, reference_device=draw.source)
        report = measure_blind(workspace, settings, ())
        floor = {"noise_floor_db": report.reference_noise_floor_db}
        write_device(flat_device(draw.source, REFERENCE_NOTE).model_copy(update=floor), workspace.devices)


def make_paired(draw: Draw, pair_settings: Mapping[str, Any]) -> None:
    """Let `umc pair` learn from a minute of pairs of split train-converter, in a workspace of its own."""
    root = draw.root / PAIRED
    workspace = find_workspace(_begun(root))
    clips = read_manifest(draw.root / "data" / "manifest.csv").clips
    own = [clip for clip in clips if (clip.device, clip.split) == (draw.source, CONVERTER)]
    own = [own[number] for number in np.random.default_rng([2024, draw.number]).permutation(len(own))]
    ends_s = np.cumsum([read_header(clip.path).n_samples / SAMPLE_RATE_HZ for clip in own])
    minute = {clip.recording for clip, end_s in zip(own, ends_s, strict=True) if end_s <= PAIRS_S}
    _write_manifest(root, [clip for clip in clips if clip.split == CONVERTER and clip.recording in minute])
    workspace.devices.mkdir()
    shutil.copy(draw.root / "devices" / f"{draw.source}.json", workspace.devices)
    given = {"reference_device": draw.source, "from_data": True, "seed": draw.number, "overwrite": True}
    pair(workspace, PairSettings(**(given | dict(pair_settings))), (), QuietTraining())
    _write_manifest(root, clips)


def _write_manifest(root: Path, clips: Sequence[Clip]) -> None:
    manifest = root / "data" / "manifest.csv"
    manifest.parent.mkdir(exist_ok=True)
    with manifest.with_suffix(".partial").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "device", "label", "split", "recording"))
        rows.writerows((c.path.resolve(), c.device, c.label, c.split, c.recording) for c in clips)
    manifest.with_suffix(".partial").rename(manifest)


def _begun(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "umc.toml").touch()
    shutil.rmtree(root / "devices", ignore_errors=True)
    return root


def _drawn_splits(clips: Sequence[Clip], random: np.random.Generator) -> list[Clip]:
    split_of: dict[str, str] = {}
    for label in sorted({clip.label for clip in clips}):
        recordings = sorted({clip.recording for clip in clips if clip.label == label})
        for place, number in enumerate(random.permutation(len(recordings))):
            share = (place + 0.5) / len(recordings)
            split_of[recordings[number]] = next(split for split, end in SPLITS if share < end)
    return [replace(clip, split=split_of[clip.recording]) for clip in clips]


def invent_devices(draw: Draw) -> None:
    """Write `INVENTED`: what `umc synth-fr` makes where nothing but the records of the known devices is there."""
    invented = draw.root / INVENTED
    (invented.parent / "devices").mkdir(parents=True, exist_ok=True)
    for name in draw.known:
        shutil.copy(draw.root / "devices" / f"{name}.json", invented.parent / "devices")
    synth_fr(find_workspace(invented.parent), SynthFrSettings(n=200, seed=draw.number, output=invented), lambda _: None)


def prepare(options: argparse.Namespace, preset: Preset, rows: Sequence[str]) -> list[Draw]:
    """Make the workspaces of all draws that are not there yet."""
    n_draws = options.draws or preset.draws
    kind = f"{options.preset}-{options.real.name}" if options.real else options.preset
    roots = [options.output / kind / f"draw{number}" for number in range(n_draws)]
    if options.real:
        clips: Sequence[Clip] = read_manifest(options.real / "manifest.csv").clips
        devices = sorted({clip.device for clip in clips})
        sources = [devices[number % len(devices)] for number in range(n_draws)]
        draws = [
            Draw(root, number, source, tuple(name for name in devices if name != source))
            for number, (root, source) in enumerate(zip(roots, sources, strict=True))
        ]
    else:
        clips, responses_db = _sounds(options, preset)
        seen, unseen = (tuple(f"{kind}{n}" for n in range(getattr(preset, kind))) for kind in ("seen", "unseen"))
        draws = [Draw(root, number, SOURCE, seen, unseen) for number, root in enumerate(roots)]
    for draw in draws:
        records = (draw.root / "devices" / f"{name}.json" for name in draw.known)
        if not all(path.is_file() for path in (draw.root / "data" / "manifest.csv", *records)):
            print(f"{draw.root}: recording {len(clips)} clips", file=sys.stderr)
            if options.real:
                make_real(draw, clips, options.most_of_a_class or preset.clips_per_class)
            else:
                make_simulated(draw, clips, responses_db)
        if not (draw.root / INVENTED).is_file():
            invent_devices(draw)
        if any(ROWS[name].needs_side_by_side for name in rows) and not (draw.root / PAIRED / FINISHED).is_file():
            print(f"{draw.root}: learning from a minute of pairs", file=sys.stderr)
            make_paired(draw, preset.pair_settings)
            (draw.root / PAIRED / FINISHED).touch()
    return draws


def _sounds(options: argparse.Namespace, preset: Preset) -> tuple[Sequence[Clip], NDArray[np.float64]]:
    if options.data:
        return labelled_clips(options.data / "events").clips, split_responses(options.data)[1]
    folder = options.clips or options.output / "sounds"
    if not folder.exists():
        write_sound_events(folder, preset.clips_per_class, None, seed=0)
    return labelled_clips(folder).clips, np.array([phone.frequency_response_db for phone in DeviceRegistry()])
