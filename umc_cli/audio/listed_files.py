"""Files that the user lists: which recordings of the data folder they are, by whatever path they are named."""

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from umc_cli.audio.manifest import (
    Clip,
    FailedInput,
    Recordings,
    assign_splits,
    clip_at,
    find_manifest,
    recording_name,
)
from umc_cli.audio.names import FilesOnDisk, plain_path
from umc_cli.splits import DEFAULT_RULES, SplitRules


def list_files(
    names: Iterable[str], device: str, data: Path, everything: Recordings, rules: SplitRules = DEFAULT_RULES
) -> Recordings:
    """Return listed files as recordings of `device`. `everything`: all recordings of the folder `data`.

    A file that is among `everything`, under this or another path, is what they say, with the split that it has there;
    in `<data>/<device>/<label>/` it is what its place says; any other one gets the name of its folder as label. Splits
    of files that are not among `everything` are assigned over the listed ones.
    """
    known = _KnownFiles(everything, device, data)
    on_disk = FilesOnDisk()
    clips: list[Clip] = []
    failed: list[FailedInput] = []
    seen: set[str] = set()
    for name in names:
        found = known.clip(on_disk.spelled(os.path.abspath(name)))
        if isinstance(found, FailedInput):
            failed.append(FailedInput(name, found.reason, found.hint))
        elif found.file in seen:
            failed.append(FailedInput(name, "listed twice", "list every file once"))
        elif found.device != device:
            failed.append(
                FailedInput(
                    name,
                    f"is a recording of {found.device}, not of {device}",
                    f"use --source {found.device} for it",
                )
            )
        else:
            clips.append(found)
        if isinstance(found, Clip):
            seen.add(found.file)
    everything_else = everything.clips if any(not clip.split for clip in clips) else ()
    return Recordings(assign_splits(clips, everything_else, rules), tuple(failed), everything.warnings)


class _KnownFiles:
    """The recordings of a data folder, by any path that leads to them."""

    def __init__(self, everything: Recordings, device: str, data: Path) -> None:
        self._everything, self._device, self._data = everything, device, str(data)
        self._real_data = os.path.realpath(data)
        self._by_file = {clip.file: clip for clip in everything.clips}
        # The paths of a manifest's rows start at its folder; what was found in folders failed for its place.
        self._failed: Mapping[str, FailedInput] = (
            {os.path.normpath(data / entry.path): entry for entry in everything.failed} if find_manifest(data) else {}
        )
        self._devices = {clip.device for clip in everything.clips}

    def clip(self, file: str) -> Clip | FailedInput:
        """Return what is known of a file, or why it cannot be used. `file`: an absolute path."""
        known = self._by_file.get(file) or self._failed.get(file)
        if known:
            return known
        real = os.path.realpath(file)
        known = self._by_real_path.get(real)
        if known:
            return known
        place = _place(file, self._data) or _place(real, self._real_data)
        if len(place) >= 3:
            return clip_at(file, place)
        if len(place) == 2 and plain_path(place[0]) in self._devices:
            return FailedInput(file, "does not lie in <device>/<label>/", "move it into a folder named after its label")
        label = plain_path(os.path.basename(os.path.dirname(file))) or "unlabelled"  # noqa: PTH119, PTH120
        return Clip(file, self._device, label, "", recording_name(file))

    @cached_property
    def _by_real_path(self) -> dict[str, Clip]:
        """By path without any link. Of two clips in one file that of the device counts, else the first."""
        real_folders: dict[str, str] = {}
        links: set[str] = set()
        found: dict[str, Clip] = {}
        for clip in self._everything.clips:
            folder, name = clip.file.rsplit(os.sep, 1)
            if folder not in real_folders:
                real_folders[folder] = os.path.realpath(folder)
                links |= _links_in(folder)
            real = os.path.realpath(clip.file) if clip.file in links else real_folders[folder] + os.sep + name
            if real not in found or (clip.device == self._device != found[real].device):
                found[real] = clip
        return found


def _place(file: str, folder: str) -> tuple[str, ...]:
    """Return the parts of a path below a folder; none for one that lies elsewhere."""
    path = Path(file)
    return path.relative_to(folder).parts if path.is_relative_to(folder) else ()


def _links_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {folder + os.sep + entry.name for entry in entries if entry.is_symlink()}
    except OSError:
        return set()
