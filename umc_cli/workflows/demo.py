"""`umc demo`: a small workspace of synthesized sounds, converted and drawn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from umc_cli import atomic_write
from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments
from umc_cli.config import find_workspace
from umc_cli.errors import SettingsError
from umc_cli.evaluation.report.conversion_figure import draw_conversion_figure
from umc_cli.response.device import DeviceRegistry
from umc_cli.response.difference import fr_difference_db
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards.schema import LOG_MEL, open_shard, shard_name
from umc_cli.simulation.sound_events import SOUND_EVENTS, write_sound_events
from umc_cli.workflows.convert import convert
from umc_cli.workflows.convert_report import ConvertProgress, ConvertReport

SOURCE = "xperia1v"
PICTURED_TARGETS = ("pixel3", "xperia1", "xperia1ii")
PICTURED_LABEL = "plucked_string"
CLIPS_PER_CLASS = 6

_NOISE_LEVEL_DBFS = -75.0
"""RMS of the noise in the synthesized recordings: a quiet room, far above the microphone's own noise."""

_WORKSPACE_FILE = """\
# A workspace of `umc`: made by `umc demo`. The sounds in data/ are synthesized, not recorded.
[convert]
source = "{source}"
targets = "all"
"""


@dataclass(frozen=True)
class DemoReport:
    """What the demo made."""

    workspace: str
    n_clips: int
    n_labels: int
    conversion: ConvertReport
    picture: str

    @property
    def exit_code(self) -> int:
        """That of the conversion."""
        return self.conversion.exit_code


def run_demo(folder: Path, progress: ConvertProgress) -> DemoReport:
    """Write a workspace of synthesized sounds to `folder`, convert it to all devices of the library, draw a picture.

    Raises:
        SettingsError: the folder holds something else.
        EnvironmentFault: the folder cannot be written.
    """
    settings_path = folder / "umc.toml"
    content = _WORKSPACE_FILE.format(source=SOURCE)
    if folder.exists() and any(folder.iterdir()) and not _is_demo(settings_path, content):
        raise SettingsError(f"{folder} is not empty", "name a new folder: umc demo DIR")
    atomic_write.write_text(settings_path, content)
    clips = write_sound_events(folder / "data" / SOURCE, CLIPS_PER_CLASS, _NOISE_LEVEL_DBFS, seed=0)
    workspace = find_workspace(folder)
    report = convert(workspace, ConvertSettings(source=SOURCE), None, progress)
    picture = folder / "conversion.png"
    _draw(picture, folder, Path(report.output))
    return DemoReport(str(folder), len(clips), len(SOUND_EVENTS), report, str(picture))


def _is_demo(settings_path: Path, content: str) -> bool:
    return settings_path.is_file() and settings_path.read_text(encoding="utf-8") == content


def _draw(picture: Path, folder: Path, converted_root: Path) -> None:
    """Draw one segment as in the paper's Figure 4: input, difference, converted, for three targets."""
    registry = DeviceRegistry(folder / "devices")
    source = registry.get(SOURCE)
    clip = Path("data") / SOURCE / PICTURED_LABEL / f"{PICTURED_LABEL}-00.flac"
    converted = {}
    for target in PICTURED_TARGETS:
        with open_shard(converted_root / target / shard_name(0)) as shard:
            row = int(np.flatnonzero(shard["source_path"].asstr()[()] == clip.as_posix())[0])
            converted[target] = shard[LOG_MEL][row].astype(np.float32)
    segments, _ = read_segments(folder / clip, read_header(folder / clip), range(1), SegmentSettings())
    draw_conversion_figure(
        picture,
        input_log_mel=log_mel(torch.from_numpy(segments))[0].numpy(),
        differences={target: fr_difference_db(source, registry.get(target)) for target in PICTURED_TARGETS},
        converted=converted,
        source=SOURCE,
        band_centres_hz=np.array(source.band_centres_hz),
    )
