"""`umc demo`: two simulated phones record synthesized sounds; one's recordings are converted to the other's."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments
from umc_cli.config import Workspace, find_workspace
from umc_cli.conversion.chosen.choice import open_conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.errors import SettingsError
from umc_cli.evaluation.conversion_metrics import log_spectral_distance
from umc_cli.evaluation.report.demo_figure import ConvertedSound, draw_demo_figure
from umc_cli.settings.convert import ConvertSettings
from umc_cli.settings.simulate import SimulateSettings
from umc_cli.shards.schema import LOG_MEL, open_shard, shard_name
from umc_cli.simulation.data_set import SIMULATION_NAME
from umc_cli.simulation.sound_events import SOUND_EVENTS, write_sound_events
from umc_cli.splits import TEST
from umc_cli.workflows.convert import convert
from umc_cli.workflows.convert_report import ConvertProgress, ConvertReport
from umc_cli.workflows.listening import write_listening
from umc_cli.workflows.simulate import simulate

SOURCE, TARGET = "phone-0", "phone-1"
CLIPS_PER_CLASS = 6

LISTENING = "listen"
"""Folder of the sounds to listen to."""

_PREFIX, _SEED = "phone-", 4
_PICTURED = ("plucked_string", "knock", "bell")


@dataclass(frozen=True)
class DemoReport:
    """What the demo made."""

    workspace: str
    n_clips: int
    n_labels: int
    conversion: ConvertReport
    picture: str
    listen: str
    """Folder of sounds to listen to: recorded, converted, recorded by the target."""
    n_measured: int
    """Segments in split test, which nothing was learned from."""
    distance_before_db: float
    """Mean log-spectral distance of what the source recorded from what the target recorded."""
    distance_after_db: float
    """The same after conversion."""

    @property
    def exit_code(self) -> int:
        """That of the conversion."""
        return self.conversion.exit_code


def run_demo(folder: Path, progress: ConvertProgress) -> DemoReport:
    """Simulate two phones in a workspace at `folder`, convert from one to the other, measure, draw a picture.

    Raises:
        SettingsError: the folder holds something else.
        EnvironmentFault: the folder cannot be written.
    """
    if not _is_demo(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SettingsError(f"{folder} is not empty", "name a new folder: umc demo DIR")
        settings = SimulateSettings(devices=2, prefix=_PREFIX, seed=_SEED, output=folder)
        with tempfile.TemporaryDirectory() as sounds:
            write_sound_events(Path(sounds), CLIPS_PER_CLASS, None, seed=0)
            simulate(find_workspace(folder.parent), settings, Path(sounds), lambda _: None)
    workspace = find_workspace(folder)
    report = convert(workspace, ConvertSettings(source=SOURCE, targets=(TARGET,)), None, progress)
    clips = [clip for clip in find_recordings(workspace.data, workspace.splits).clips if clip.device == SOURCE]
    measured = _measure(workspace.root, Path(report.output) / TARGET / shard_name(0), clips)
    before, after = (
        float(np.mean([getattr(each, name) for each in measured]))
        for name in ("distance_given_db", "distance_converted_db")
    )
    picture = folder / "conversion.png"
    pictured = [next(each for each in measured if each.name == label) for label in _PICTURED]
    _write_sounds(workspace, clips, Path(report.output))
    draw_demo_figure(picture, pictured, SOURCE, TARGET, report.converter, (before, after), len(measured))
    return DemoReport(
        str(folder),
        len(clips),
        len(SOUND_EVENTS),
        report,
        str(picture),
        str(folder / LISTENING),
        len(measured),
        round(before, 2),
        round(after, 2),
    )


def _write_sounds(workspace: Workspace, clips: Sequence[Clip], converted: Path) -> None:
    """Write a test clip of each pictured label to `listen/`: as recorded, as converted, as the target recorded it."""
    settings = ConversionSettings(source=SOURCE, targets=(TARGET,))
    conversion = open_conversion(workspace, settings, tables_folder=converted)
    for label in _PICTURED:
        recorded = next(clip.file for clip in clips if clip.role == TEST and clip.label == label)
        true = Path(recorded.replace(f"/{SOURCE}/", f"/{TARGET}/"))
        write_listening(workspace.root / LISTENING, label, Path(recorded), TARGET, true, conversion)


def _is_demo(folder: Path) -> bool:
    try:
        truth = json.loads((folder / SIMULATION_NAME).read_text(encoding="utf-8"))
        return truth["seed"] == _SEED and list(truth["devices"]) == [SOURCE, TARGET]
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _measure(folder: Path, shard_path: Path, clips: Sequence[Clip]) -> list[ConvertedSound]:
    """Return every segment of split test: as recorded, as converted, as the target recorded it."""
    labels = {Path(clip.file).relative_to(folder).as_posix(): clip.label for clip in clips if clip.role == TEST}
    measured = []
    with open_shard(shard_path) as shard:
        paths, starts = shard["source_path"].asstr()[()], shard["segment_start"][()]
        for row, path in enumerate(paths):
            if path not in labels:
                continue
            converted = shard[LOG_MEL][row].astype(np.float32)
            given = _spectrogram(folder / path, int(starts[row]))
            true = _spectrogram(folder / path.replace(f"/{SOURCE}/", f"/{TARGET}/"), int(starts[row]))
            distances = [float(log_spectral_distance(each[None], true[None])[0]) for each in (given, converted)]
            measured.append(ConvertedSound(labels[path], given, converted, true, *distances))
    return measured


def _spectrogram(path: Path, start: int) -> NDArray[np.float32]:
    segments, _ = read_segments(path, read_header(path), range(start, start + 1), SegmentSettings())
    spectrogram: NDArray[np.float32] = log_mel(torch.from_numpy(segments))[0].numpy()
    return spectrogram
