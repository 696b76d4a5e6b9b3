"""The runs in an output folder: the first one and its updates; what an update would convert, and keeping the record.

A generation is the first run or an update. Each has a folder of its own with a `run.json` and shards.
"""

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from umc_cli.audio.modification import UNKNOWN, Mark
from umc_cli.errors import SettingsError
from umc_cli.shards.part import Part
from umc_cli.shards.plan import Plan, read_plan, write_plan
from umc_cli.shards.plan_differences import setting_differences
from umc_cli.shards.planned_files import PlannedFile, PlannedFiles, store_files
from umc_cli.shards.recording_times import note_marks, noted_marks, only_touched
from umc_cli.shards.run_folder import changed_targets, some
from umc_cli.shards.updates import (
    UPDATES_FOLDER,
    Update,
    Updates,
    read_updates,
    remove_folder,
    superseded_by,
    update_folder,
    update_name,
    write_updates,
)
from umc_cli.splits import role

_ANEW = "choose another --output, or convert all again: --overwrite without --update"
_AS_BEFORE = f"give what the run was made with, {_ANEW}"


@dataclass(frozen=True)
class Generation:
    """A run in an output folder: the first one, or an update."""

    folder: Path
    plan: Plan
    targets: Mapping[str, str] = field(default_factory=dict)
    """Device id to the hash of what was known of it, as its `run.json` has them."""
    superseded: frozenset[str] = frozenset()
    """Recordings whose rows no longer count."""

    def n_segments(self, part: Part) -> int:
        """Return how many segments a part of its shards has."""
        return sum(self.plan.summary.shard_sizes[index] for index in part.shards(self.plan.n_shards))


@dataclass
class Changes:
    """How the recordings differ from those that were converted."""

    new: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    """In their sound, or in what is said of them: label, split, name or further columns."""
    gone: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    """Another time, but the same sample of bytes: kept."""
    n_kept: int = 0
    n_moved: int = 0
    """Of the changed: only their split."""

    @property
    def is_none(self) -> bool:
        """Tell whether there is nothing to do."""
        return not (self.new or self.changed or self.gone)


@dataclass
class UpdatePlan:
    """All runs of an output folder with the one to come, if anything is new, changed or gone."""

    root: Path
    generations: list[Generation]
    updates: Updates
    """Of all but the first generation."""
    changes: Changes
    now: PlannedFiles
    """All recordings, with what they are."""

    @property
    def name(self) -> str | None:
        """Return the name of the update to come."""
        return self.updates.updates[-1].name if not self.changes.is_none else None


def plan_update(
    root: Path, now: Plan, target_ids: Mapping[str, str], inputs: Path, folder: Path, *, are_listed: bool
) -> UpdatePlan | None:
    """Return what an update of the run in `root` would convert; None where there is no run. Writes nothing.

    `now`: the plan of a run over all recordings. `inputs`: what their relative paths start from. `folder`: where to
    store the recordings of the update. `are_listed`: a recording that is not among those now counts as gone only if its
    file is.

    Raises:
        SettingsError: something else than the recordings changed since, or the run has targets that are not named.
    """
    generations, updates = _read_generations(root)
    if not generations:
        return None
    if UPDATES_FOLDER in target_ids:
        raise SettingsError(
            f"a run with a target called {UPDATES_FOLDER} cannot be updated: its folder would hold the updates too",
            "give the device another name, and choose another --output",
        )
    first = generations[0]
    reasons = [*setting_differences(first.plan, now), *changed_targets(first.targets, target_ids)]
    if reasons:
        raise SettingsError(f"the run in {root} cannot be updated, it was made otherwise ({some(reasons)})", _AS_BEFORE)
    left_behind = [target for target in first.targets if target not in target_ids]
    if left_behind:
        option = "--with-source" if left_behind == [now.source] else "--targets"
        raise SettingsError(
            f"the run in {root} has targets that the update would leave behind: {some(left_behind)}",
            f"an update converts to all targets of the run: name them too ({option})",
        )
    live = _live(generations, updates)
    changes = _compare(live, now, inputs, are_listed)
    if not changes.is_none:
        wanted = changes.new | changes.changed
        plan = replace(now, files=_only(now.files, wanted, folder), chosen_by=first.plan.chosen_by)
        name = update_name(len(updates.updates) + 1)
        replaced, gone = sorted(wanted & live.place.keys()), sorted(changes.gone)
        update = Update(name, plan.run_id, False, tuple(replaced), tuple(gone))
        updates = replace(updates, updates=(*updates.updates, update))
        generations.append(Generation(update_folder(root, name), plan))
    superseded = superseded_by(updates.updates)
    generations = [replace(each, superseded=paths) for each, paths in zip(generations, superseded, strict=True)]
    return UpdatePlan(root, generations, updates, changes, now.files)


def begin_update(update: UpdatePlan, target_ids: Mapping[str, str], *, note_times: bool) -> None:
    """Write down that an update is begun, and its plan. `note_times`: also the new times of what is kept.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    if note_times:
        _note_touched(update)
    if not update.name:
        _write(update)
        return
    generation = update.generations[-1]
    remove_folder(generation.folder)  # of an update that was removed halfway
    _write(update)
    note_marks(generation.folder, generation.plan, generation.plan.files.each_mark())
    write_plan(generation.plan, dict(target_ids), generation.folder)


def complete_update(update: UpdatePlan, is_complete: Mapping[Path, bool]) -> None:
    """Write down which updates are complete, in their order; readers follow from then on. By folder, if all is there.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    done, earlier_are = [], True
    for each in update.updates.updates:
        earlier_are = earlier_are and (each.complete or is_complete[update_folder(update.root, each.name)])
        done.append(replace(each, complete=earlier_are))
    update.updates = replace(update.updates, updates=tuple(done))
    _write(update)


def _write(update: UpdatePlan) -> None:
    if update.updates.updates and read_updates(update.root) != update.updates:
        write_updates(update.root, update.updates)


def complete_generations(root: Path) -> list[Generation]:
    """Return the first run in `root` and its complete updates, in order; none where there is no plan.

    Raises:
        SettingsError: a plan or the record of updates is broken, or they do not belong together.
    """
    generations, updates = _read_generations(root)
    complete = [update for update in updates.updates if update.complete]
    superseded = superseded_by(complete)
    return [replace(each, superseded=paths) for each, paths in zip(generations, superseded, strict=False)]


def _read_generations(root: Path) -> tuple[list[Generation], Updates]:
    first = read_plan(root)
    if first is None:
        return [], Updates("")
    generations = [Generation(root, *first)]
    written = read_updates(root) or Updates(first[0].run_id)
    if written.run_id != first[0].run_id:
        raise SettingsError(f"the updates in {root / UPDATES_FOLDER} are not of the run in {root}", _ANEW)
    updates = []
    for number in count(1):
        name = update_name(number)
        folder = update_folder(root, name)
        known = next((update for update in written.updates if update.name == name), None)
        planned = read_plan(folder)
        if planned is None:
            if known and known.complete:
                raise SettingsError(f"{folder} has no run.json, though it is an update of the run in {root}", _ANEW)
            break  # none, or it was killed before it began
        plan, targets = planned
        if (known and known.run_id != plan.run_id) or list(setting_differences(first[0], plan)):
            raise SettingsError(f"{folder} is not an update of the run in {root}", _ANEW)
        if known is None:  # what was written is lost
            known = Update(name, plan.run_id, False, tuple(file.path for file in plan.files), ())
        updates.append(known)
        generations.append(Generation(folder, plan, targets))
    return generations, replace(written, updates=tuple(updates))


class _Known(NamedTuple):
    """A recording as it was converted."""

    sound: int
    words: int
    split: int
    mark: Mark | None


class _Live:
    """The recordings whose rows count, by path: 130 bytes each and the path, as there may be millions."""

    def __init__(self) -> None:
        self.place: dict[str, int] = {}
        self._values = array("q")

    def add(self, file: PlannedFile, noted: Mark | None) -> None:
        """Note a recording as a generation converted it; what an earlier one knew of it is forgotten."""
        self.place[file.path] = len(self._values)
        self._values.extend((_sound(file), _words(file), hash(role(file.split)), noted is not None))
        self._values.extend(noted or (0, 0))

    def get(self, path: str) -> _Known | None:
        """Return what is known of a recording; None where it is new."""
        place = self.place.get(path)
        if place is None:
            return None
        sound, words, split, is_noted, *noted = self._values[place : place + 6]
        return _Known(sound, words, split, Mark(*noted) if is_noted else None)


def _sound(file: PlannedFile) -> int:
    return hash((file.size_bytes, file.sample_rate_hz, file.channels, file.frames, file.n_segments))


def _words(file: PlannedFile) -> int:
    return hash((file.label, file.recording, tuple(sorted(file.extra.items()))))


def _live(generations: Sequence[Generation], updates: Updates) -> _Live:
    """Return the recordings whose rows count, as the last generation that converted them knew them."""
    live = _Live()
    for generation, update in zip(generations, (None, *updates.updates), strict=True):
        for path in update.gone if update else ():
            live.place.pop(path, None)
        for file, noted in noted_marks(generation.folder, generation.plan):
            live.add(file, noted)
    return live


def _compare(live: _Live, now: Plan, inputs: Path, are_listed: bool) -> Changes:
    changes = Changes()
    missing = dict(live.place)
    for file, seen in zip(now.files, now.files.each_mark(), strict=True):
        known = live.get(file.path)
        missing.pop(file.path, None)
        if known is None:
            changes.new.add(file.path)
            continue
        same_bytes = only_touched(known.mark, seen) if known.mark else None
        is_moved = known.split != hash(role(file.split))
        is_other = (known.sound, known.words) != (_sound(file), _words(file)) or same_bytes is False
        if is_other or is_moved:
            changes.changed.add(file.path)
            changes.n_moved += not is_other
            continue
        changes.n_kept += 1
        if same_bytes:
            changes.touched.add(file.path)
    unreadable = {entry.path for entry in now.failed}
    changes.gone = {
        path
        for path in missing
        if not _failed(path, inputs, unreadable) and not (are_listed and (inputs / path).exists())
    }
    return changes


def _failed(path: str, inputs: Path, unreadable: Collection[str]) -> bool:
    """Tell whether a recording is not found because it, its row of the manifest or a folder could not be read."""
    if not unreadable:
        return False
    parts = PurePosixPath(path).parts
    as_given = ("/".join(parts[start:]) for start in range(len(parts)))
    place = inputs / path
    return any(name in unreadable for name in (*as_given, str(place), *map(str, place.parents)))


def _only(files: PlannedFiles, wanted: Collection[str], folder: Path) -> PlannedFiles:
    marks = array("q")

    def chosen() -> Iterator[PlannedFile]:
        for file, seen in zip(files, files.each_mark(), strict=True):
            if file.path in wanted:
                marks.extend(seen)
                yield file

    some_files = store_files(chosen(), folder)
    some_files.marks = marks
    return some_files


def _note_touched(update: UpdatePlan) -> None:
    """Note the times of recordings that only got others, and those of all where none were noted."""
    touched = update.changes.touched
    earlier = update.generations[:-1] if update.name else update.generations
    lacking = [
        generation
        for generation in earlier
        if any(mark is None or file.path in touched for file, mark in noted_marks(generation.folder, generation.plan))
    ]
    if not lacking:
        return
    now = {file.path: seen for file, seen in zip(update.now, update.now.each_mark(), strict=True)}
    unknown = Mark(UNKNOWN, UNKNOWN)
    for generation in lacking:
        marks = [
            now.get(file.path, mark or unknown) if mark is None or file.path in touched else mark
            for file, mark in noted_marks(generation.folder, generation.plan)
        ]
        note_marks(generation.folder, generation.plan, marks)
