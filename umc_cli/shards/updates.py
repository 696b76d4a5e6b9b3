"""A run that was updated: the updates lie in `updates/NNN/`, and `updates.json` says which rows still count.

Each update is a run of its own over what was new or changed. It counts from the moment that `updates.json` calls it
complete. Specified in docs/file-formats.md.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from umc_cli import atomic_write
from umc_cli.errors import SettingsError
from umc_cli.json_text import JsonFormat
from umc_cli.shards import schema
from umc_cli.wrong_settings import first_fault

UPDATES_NAME = "updates.json"
UPDATES_FOLDER = "updates"

_AGAIN = "remove it and give `umc convert --update`, which makes it again from the runs"
FORMAT = JsonFormat("umc-updates", 1, "record of updates", _AGAIN, _AGAIN)


@dataclass(frozen=True)
class Update:
    """A run over what was new or changed, and what it means for the runs before it."""

    name: str
    """Of its folder in `updates`: 001, 002, ..."""
    run_id: str
    complete: bool
    """False while its shards are being made: readers pass it over, and what it replaces still counts."""
    replaced: tuple[str, ...]
    """Recordings that were converted anew; as paths of the plan."""
    gone: tuple[str, ...]
    """Recordings that are no longer there."""


@dataclass(frozen=True)
class Updates:
    """What was done to a run since."""

    run_id: str
    """Of the run that was updated."""
    updates: tuple[Update, ...] = ()


_CONTENT = TypeAdapter(Updates)


def update_name(number: int) -> str:
    """Return the name of an update's folder; `number`: from 1."""
    return f"{number:03d}"


def update_folder(root: Path, name: str) -> Path:
    """Return the folder of an update of the run in `root`."""
    return root / UPDATES_FOLDER / name


def read_updates(root: Path) -> Updates | None:
    """Return what `<root>/updates.json` says; None where there is no such file.

    Raises:
        SettingsError: it is broken or of another version.
    """
    path = root / UPDATES_NAME
    if not path.exists():
        return None
    content = FORMAT.read(path)
    try:
        read = _CONTENT.validate_python({name: value for name, value in content.items() if name not in FORMAT.header})
    except ValidationError as error:
        raise SettingsError(f"{path} cannot be used: {first_fault(error)}", _AGAIN) from error
    if [update.name for update in read.updates] != [update_name(number + 1) for number in range(len(read.updates))]:
        raise SettingsError(f"{path} cannot be used: its updates are not numbered from 001", _AGAIN)
    return read


def write_updates(root: Path, content: Updates) -> None:
    """Write `<root>/updates.json`, all or nothing."""
    text = json.dumps(FORMAT.header | asdict(content), indent=1)
    atomic_write.write_text(root / UPDATES_NAME, text + "\n")


def complete_updates(root: Path) -> tuple[Update, ...]:
    """Return the updates of the run in `root` that count, the first one first; none where they were removed.

    Raises:
        SettingsError: see `read_updates`.
    """
    found = read_updates(root) if (root / UPDATES_FOLDER).is_dir() else None
    return tuple(update for update in found.updates if update.complete) if found else ()


def unfinished_updates(root: Path) -> list[Path]:
    """Return the folders of updates of the run in `root` that were begun and do not count yet."""
    complete = {update.name for update in complete_updates(root)}
    found = sorted((root / UPDATES_FOLDER).glob("[0-9]*/run.json"))
    return [path.parent for path in found if path.parent.name not in complete]


def run_folders(root: Path) -> list[Path]:
    """Return the folder of a run and those of its complete updates."""
    return [root, *(update_folder(root, update.name) for update in complete_updates(root))]


def has_updates(root: Path) -> bool:
    """Tell whether the run in `root` was updated, or an update was begun."""
    return (root / UPDATES_NAME).exists() or any((root / UPDATES_FOLDER).glob("[0-9]*/run.json"))


def remove_updates(root: Path) -> None:
    """Remove all updates of the run in `root`: the record first, so that readers see one state or the other."""
    with atomic_write.explain_os_errors(root):
        (root / UPDATES_NAME).unlink(missing_ok=True)
    for folder in sorted((root / UPDATES_FOLDER).glob("[0-9]*")):
        remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove what an update made; its `run.json` first, so that what is left of a killed removal is not taken for it.

    Raises:
        EnvironmentFault: it cannot be removed.
    """
    with atomic_write.explain_os_errors(folder):
        (folder / "run.json").unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)


def superseded_by(updates: Sequence[Update]) -> list[frozenset[str]]:
    """Return the recordings whose rows no longer count: in the first run, then in each of its updates."""
    later: frozenset[str] = frozenset()
    found = [later]
    for update in reversed(updates):
        later |= {*update.replaced, *update.gone}
        found.append(later)
    return found[::-1]


def find_shards(root: Path) -> list[Path]:
    """Return the shards below `root` (an output root or one target's folder), in order, those of updates at the end.

    Updates that are not complete are passed over, unless `root` lies in one. The rows that count are those that
    `LiveRows` tells.

    Raises:
        SettingsError: there are none, or a record of updates is broken.
    """
    here = root.absolute()
    first, later = [], []
    complete: dict[Path, set[str]] = {}
    for path in sorted(root.rglob(schema.SHARD_GLOB)) if root.is_dir() else ():
        run, of_update = _run_of(path)
        if not of_update:
            first.append(path)
        elif not run.is_relative_to(here):
            later.append(path)
        else:
            if run not in complete:
                complete[run] = {update.name for update in complete_updates(run)}
            if of_update in complete[run]:
                later.append(path)
    for update in complete_updates(here.parent):  # of one target's folder
        later += sorted((update_folder(here.parent, update.name) / here.name).glob(schema.SHARD_GLOB))
    if not first and not later:
        raise SettingsError(f"no shards in {root}", "name the folder that `umc convert` wrote to")
    return first + later


def _run_of(shard: Path) -> tuple[Path, str]:
    """Return the output folder that a shard belongs to, and the name of the update, if it lies in one."""
    folder = shard.absolute().parent.parent
    if folder.parent.name == UPDATES_FOLDER and re.fullmatch("[0-9]+", folder.name):
        return folder.parent.parent, folder.name
    return folder, ""


class LiveRows:
    """Knows which rows of shards still count: those of recordings that no later update replaced or found gone."""

    def __init__(self) -> None:
        self._superseded: dict[Path, dict[str, frozenset[str]]] = {}

    def superseded(self, shard: Path) -> frozenset[str]:
        """Return the recordings whose rows in a shard do not count.

        Raises:
            SettingsError: the record of updates is broken.
        """
        root, of_update = _run_of(shard)
        if root not in self._superseded:
            updates = complete_updates(root)
            names = ["", *(update.name for update in updates)]
            self._superseded[root] = dict(zip(names, superseded_by(updates), strict=True))
        return self._superseded[root].get(of_update, frozenset())

    def of(self, shard: Path, file: h5py.File, n_rows: int) -> NDArray[np.bool_] | None:
        """Return which rows of an open shard count; None where all do. Shape: [n_rows].

        Raises:
            SettingsError: see `superseded`.
            InputError: the shard is damaged.
        """
        superseded = self.superseded(shard)
        return live_rows(file, n_rows, superseded) if superseded else None


def live_rows(file: h5py.File, n_rows: int, superseded: frozenset[str]) -> NDArray[np.bool_]:
    """Return which rows of an open shard are not of superseded recordings. Shape: [n_rows]."""
    paths = schema.read_texts(file, "source_path", n_rows)
    return np.array([path not in superseded for path in paths], dtype=bool)


def count_live(path: Path, header: schema.ShardHeader, superseded: frozenset[str]) -> int:
    """Return how many rows of a shard count."""
    if not superseded:
        return header.n_segments
    with schema.open_shard(path) as file:
        return int(live_rows(file, header.n_segments, superseded).sum())
