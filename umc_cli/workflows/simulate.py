"""`umc simulate`: a workspace of simulated devices, with known truth, that all record the same clips."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from umc_cli import atomic_write
from umc_cli.audio.manifest import Recordings, recordings_if_any, scan_labels
from umc_cli.config import Workspace
from umc_cli.errors import SettingsError
from umc_cli.response.device import DeviceRegistry, check_device_id
from umc_cli.settings.simulate import SimulateSettings
from umc_cli.simulation.data_set import write_simulated_data_set
from umc_cli.simulation.device_family import draw_device
from umc_cli.workflows.report_base import Report

_SECONDS_BETWEEN_LINES = 10
_WORKSPACE_FILE = """\
# A workspace of simulated devices, made by `umc simulate`: its recordings are computed, not recorded.
[convert]
source = "{source}"

[train-sec]
source = "{source}"

[eval-conversion]
source = "{source}"
"""


@dataclass
class SimulateReport(Report):
    """What was simulated."""

    output: str
    """Folder of the new workspace."""
    devices: list[str]
    """The first one stands for the phone that the user has."""
    unseen: list[str]
    """Those among them that record split test only."""
    n_clips: int
    n_recordings: int
    labels: int


def simulate(
    workspace: Workspace,
    settings: SimulateSettings,
    folder: Path | None,
    say: Callable[[str], None],
    responses_db: NDArray[np.float64] | None = None,
) -> SimulateReport:
    """Write a workspace in which simulated devices record the clips of `folder` (`<label>/*.wav`), or of a device.

    All or nothing: the workspace appears when it is complete. Equal settings give equal files. `responses_db`: [n, 128]
    microphone responses to draw around; None: those of the package's phones. `say` is told what is being done.

    Raises:
        SettingsError: there are no clips, an id is taken, or the output is there already.
        EnvironmentFault: the output cannot be written.
    """
    started = time.monotonic()
    ids = _ids(settings)
    output = settings.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SettingsError(f"{output} is not empty", "name a new folder with --output")
    found = labelled_clips(folder) if folder else _clips_of_a_device(workspace, settings.source)
    unseen = ids[len(ids) - settings.unseen :]
    if responses_db is None:
        responses_db = np.array([phone.frequency_response_db for phone in DeviceRegistry()])
    random = np.random.default_rng(settings.seed)
    devices = [draw_device(name, responses_db, random) for name in ids]
    report = SimulateReport(str(output), ids, unseen, 0, 0, 0, failed=list(found.failed), warnings=list(found.warnings))
    say(f"{len(devices)} devices record {len(found.clips)} clips")
    with _whole_folder(output) as partial:
        written = write_simulated_data_set(
            partial, found.clips, devices, settings.seed, unseen, report.failed, _now_and_then(say, len(found.clips))
        )
        if not written:
            raise SettingsError(
                f"none of the {len(found.clips)} clips can be read ({report.failed[0].reason})", report.failed[0].hint
            )
        atomic_write.write_text(partial / "umc.toml", _WORKSPACE_FILE.format(source=ids[0]))
    report.n_recordings = len(written)
    used = {clip.label for clip in found.clips}
    report.n_clips, report.labels = len(found.clips) - (len(report.failed) - len(found.failed)), len(used)
    if len(used) < 2:
        report.warnings.append("the clips have one label: a classifier cannot be trained on them")
    report.seconds = time.monotonic() - started
    return report


def _now_and_then(say: Callable[[str], None], n_clips: int) -> Callable[[int], None]:
    """Return what says every ten seconds how many clips are done."""
    last = time.monotonic()

    def done(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{count} of {n_clips} clips")

    return done


def labelled_clips(folder: Path) -> Recordings:
    """Return the clips of any folder with a folder per label, in splits of their own.

    Raises:
        SettingsError: there is no such folder, or it holds no clips.
    """
    if not folder.is_dir():
        raise SettingsError(f"there is no folder {folder}", "name a folder that holds <label>/*.wav")
    found = scan_labels(folder, "source")
    if not found.clips:
        raise SettingsError(f"{folder} holds no recordings in folders of labels", "put them into <label>/*.wav")
    return found


def _clips_of_a_device(workspace: Workspace, source: str | None) -> Recordings:
    found = recordings_if_any(workspace.data, workspace.splits)
    devices = sorted({clip.device for clip in found.clips})
    if source is None and len(devices) > 1:
        raise SettingsError(f"there are recordings of {', '.join(devices)}", "name one with --source")
    source = source or next(iter(devices), None)
    clips = tuple(clip for clip in found.clips if clip.device == source)
    if not clips:
        there = f"; there are recordings of: {', '.join(devices)}" if devices else ""
        raise SettingsError(
            f"no recordings of {source or 'any device'} in {workspace.data}",
            f"put them into {workspace.data}/<device>/<label>/, or name a folder that holds <label>/*.wav{there}",
        )
    return replace(found, clips=clips)


def _ids(settings: SimulateSettings) -> list[str]:
    if settings.unseen >= settings.devices:
        raise SettingsError(
            f"{settings.unseen} of {settings.devices} devices are unseen: none is left to train on",
            "lower --unseen, or raise --devices",
        )
    ids = [check_device_id(f"{settings.prefix}{number}") for number in range(settings.devices)]
    library = DeviceRegistry()
    taken = next((name for name in ids if name in library or name == settings.source), None)
    if taken:
        raise SettingsError(f"there is a real device {taken!r}", "give the simulated ones another --prefix")
    return ids


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; rename it to `folder` if the block ends well, else remove it."""
    partial = folder.with_name(f".{folder.name}{atomic_write.PARTIAL_MARK}{time.time_ns():x}")
    try:
        with atomic_write.explain_os_errors(folder):
            partial.mkdir(parents=True)
            yield partial
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
