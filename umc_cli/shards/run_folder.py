"""The folder that a run writes to: its locks, its plan, and which of its shards are complete."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from umc_cli import atomic_write
from umc_cli.errors import EnvironmentFault, InputError, SettingsError
from umc_cli.shards import schema
from umc_cli.shards.audio_index import RUN_NAME as AUDIO_RUN_NAME
from umc_cli.shards.part import Part
from umc_cli.shards.plan import Plan, is_written, read_head, read_plan, write_plan
from umc_cli.shards.plan_differences import recording_differences, setting_differences
from umc_cli.shards.schema import read_shard_header
from umc_cli.shards.updates import UPDATES_FOLDER, has_updates, remove_updates

LOCK_NAME = ".umc.lock"
"""Held by a whole run from its start to its end, by a part while it is alone."""

TURN_LOCK_NAME = ".umc.turn.lock"
"""Parts wait for it, one behind the other, to be alone."""

_LONGEST_TURN_S = 3600.0
"""To be alone is a matter of seconds, but for the first part that measures level tables."""

_LONGEST_LOOK_S = 5.0
"""A whole run that finds parts at work lets go of the folder at once."""


_REASONS_SHOWN = 4


class WriteLock:
    """The right to write to a folder: to all of it, or to the shards of one part."""

    def __init__(self, root: Path, part: Part | None) -> None:
        self._root = root
        self._part = part
        self._own: FileLock | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the other parts off, while files that belong to all of them are read and written.

        Raises:
            EnvironmentFault: a whole run holds the folder, or another part does not let go of it.
        """
        if self._part is None:
            yield
            return
        with _hold(self._root, TURN_LOCK_NAME, _LONGEST_TURN_S), _hold(self._root, LOCK_NAME, _LONGEST_LOOK_S):
            yield

    def enter(self, part: Part) -> None:
        """Take the right to write the shards of `part`; to be called when alone.

        Raises:
            EnvironmentFault: it is taken, or parts of another division are at work.
        """
        others = list(busy_parts(self._root))
        for other in others:
            if other == part:
                raise _in_use(self._root, f"another umc run of part {part}")
            if other.count != part.count:
                raise _in_use(self._root, f"part {other} of a umc run, which divides the run differently,")
        self._own = _acquire(self._root, _part_lock_name(part), 0)
        if not others:
            _remove_partial_files(self._root)

    def leave(self) -> bool:
        """Give the right to the part up, and return whether no other part is at work; to be called when alone."""
        if self._own is None:
            return True
        self.release()
        return next(busy_parts(self._root), None) is None

    def release(self) -> None:
        """Give the right to the part up, if it is still held."""
        if self._own:
            self._own.release()


@contextmanager
def locked(root: Path, part: Part | None = None) -> Iterator[WriteLock]:
    """Hold the only right to write to `root`, or to one part's shards in it; remove what killed runs left unfinished.

    The system releases the locks when the process ends, however it ends. While parts are at work nothing is removed:
    it may be theirs.

    Raises:
        EnvironmentFault: another run holds it, or the folder cannot be written.
    """
    with atomic_write.explain_os_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    lock = WriteLock(root, part)
    if part is None:
        with _hold(root, LOCK_NAME, 0):
            if other := next(busy_parts(root), None):
                raise _in_use(root, f"part {other} of a umc run")
            _remove_partial_files(root)
            yield lock
        return
    try:
        with lock.alone():
            lock.enter(part)
        yield lock
    finally:
        lock.release()


def _remove_partial_files(root: Path) -> None:
    for folder in (root, *root.glob(f"{UPDATES_FOLDER}/*")):
        # Audio files lie deeper than shards, and may be many.
        atomic_write.remove_partial_files(folder, to_any_depth=(folder / AUDIO_RUN_NAME).exists())


def busy_parts(root: Path) -> Iterator[Part]:
    """Yield the parts that are at work in `root`; the caller holds the folder's lock."""
    for path in sorted(root.glob(".umc.part-*.lock")):
        match = re.fullmatch(r"\.umc\.part-([0-9]+)-of-([0-9]+)\.lock", path.name)
        if not match:
            continue
        lock = FileLock(path)
        with atomic_write.explain_os_errors(root):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                yield Part(int(match[1]), int(match[2]))
            else:
                lock.release()


def _part_lock_name(part: Part) -> str:
    return f".umc.part-{part.number}-of-{part.count}.lock"


@contextmanager
def _hold(root: Path, name: str, timeout_s: float) -> Iterator[None]:
    lock = _acquire(root, name, timeout_s)
    try:
        yield
    finally:
        lock.release()


def _acquire(root: Path, name: str, timeout_s: float) -> FileLock:
    lock = FileLock(root / name)
    with atomic_write.explain_os_errors(root):
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise _in_use(root, "another umc run") from error
    return lock


def _in_use(root: Path, who: str) -> EnvironmentFault:
    return EnvironmentFault(f"{who} is writing to {root}", "wait until it ends, or choose another --output")


def settle(root: Path, plan: Plan, target_ids: dict[str, str], overwrite: bool) -> None:
    """Make `run.json` say this plan; refuse to mix it with another one's shards unless told to overwrite them.

    Targets may be added to a run; `target_ids` holds the hash of what is known of each.

    Raises:
        SettingsError: the folder holds another run's results, and `overwrite` is not given.
    """
    if not overwrite and is_written(plan, target_ids, root):
        return
    all_targets = target_ids if overwrite else check_same_run(root, plan, target_ids) | target_ids
    if overwrite:
        remove_updates(root)
        with atomic_write.explain_os_errors(root):
            for shard in list(root.glob(f"*/{schema.SHARD_GLOB}")):
                shard.unlink()
    write_plan(plan, all_targets, root)


def check_same_run(root: Path, plan: Plan, target_ids: dict[str, str]) -> dict[str, str]:
    """Return the targets in `run.json`, if what it says is this plan.

    Raises:
        SettingsError: the folder holds another run's results.
    """
    before = read_plan(root)
    if not before:
        if next(root.glob(f"*/{schema.SHARD_GLOB}"), None):
            raise SettingsError(
                f"{root} holds shards but no run.json that says how they were made",
                "choose another --output, or give --overwrite to remove them",
            )
        return {}
    old_plan, old_targets = before
    recordings: list[str] = []
    reasons = changed_targets(old_targets, target_ids)
    if old_plan.run_id != plan.run_id:
        recordings = list(recording_differences(old_plan, plan))
        reasons = [*setting_differences(old_plan, plan), *recordings, *reasons]
    if reasons:
        only_recordings = reasons == recordings
        update = "give --update to convert only what is new or changed, " if only_recordings else ""
        raise SettingsError(
            f"{root} holds the results of another run ({some(reasons)})",
            f"{update}choose another --output, or give --overwrite to remove them",
        )
    return old_targets


def changed_targets(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Say which targets changed. `old`, `new`: the hash of what is known of each."""
    return [
        f"target {name}: its record changed, or recordings that levels are learned from"
        for name, known in new.items()
        if old.get(name, known) != known
    ]


def some(reasons: Sequence[str]) -> str:
    """Return the first few reasons, and how many more there are."""
    more = f"; and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
    return "; ".join(reasons[:_REASONS_SHOWN]) + more


def refuse_updated(root: Path) -> None:
    """Refuse to make a run where it was updated: readers would be told otherwise than what is made.

    Raises:
        SettingsError: it was.
    """
    if has_updates(root):
        raise SettingsError(
            f"the run in {root} was updated (umc convert --update)",
            "give --update again, choose another --output, or give --overwrite to remove all",
        )


def devices_of_run(root: Path) -> tuple[str, ...]:
    """Return the devices of the run in `root`, the source first; none where there is no run that can be read."""
    with suppress(SettingsError):  # it is told where the run is settled
        head = read_head(root)
        return head.devices if head else ()
    return ()


def complete_shard(path: Path, attributes: Mapping[str, Any]) -> schema.ShardHeader | None:
    """Return the header of `path` if it is this very shard: of this run, this target and this place in the plan.

    A shard has its name only when it is complete.
    """
    if not path.exists():
        return None
    try:
        header = read_shard_header(path)
    except InputError:
        return None
    found = (header.run_id, header.target_id, header.index)
    return header if found == (attributes["run_id"], attributes["target_id"], attributes["shard_index"]) else None
