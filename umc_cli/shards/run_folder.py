"""The folder that a run writes to: its lock, its plan, and which of its shards are complete."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from umc_cli import atomic_write
from umc_cli.errors import EnvironmentFault, InputError, SettingsError
from umc_cli.shards import schema
from umc_cli.shards.plan import Plan, differences, read_plan, write_plan
from umc_cli.shards.reader import read_shard_header

LOCK_NAME = ".umc.lock"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the only right to write to `root`; remove what a killed run left unfinished.

    The system releases the lock when the process ends, however it ends.

    Raises:
        EnvironmentFault: another run holds it, or the folder cannot be written.
    """
    lock = FileLock(root / LOCK_NAME)
    with atomic_write.explain_os_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise EnvironmentFault(
                f"another umc run is writing to {root}", "wait until it ends, or choose another --output"
            ) from error
    try:
        atomic_write.remove_partial_files(root)
        yield
    finally:
        lock.release()


def settle(root: Path, plan: Plan, target_ids: dict[str, str], overwrite: bool) -> None:
    """Make `run.json` say this plan; refuse to mix it with another one's shards unless told to overwrite them.

    Targets may be added to a run; `target_ids` holds the hash of what is known of each.

    Raises:
        SettingsError: the folder holds another run's results, and `overwrite` is not given.
    """
    try:
        before = read_plan(root)
    except SettingsError:
        if not overwrite:
            raise
        before = None
    all_targets = dict(target_ids)
    shards = list(root.glob(f"*/{schema.SHARD_GLOB}"))
    if shards and not before and not overwrite:
        raise SettingsError(
            f"{root} holds shards but no run.json that says how they were made",
            "choose another --output, or give --overwrite to remove them",
        )
    if before:
        old_plan, old_targets = before
        reasons = list(differences(old_plan, plan))
        reasons += [
            f"target {name}: its record changed"
            for name, known in target_ids.items()
            if old_targets.get(name, known) != known
        ]
        if reasons and not overwrite:
            more = f"; and {len(reasons) - 4} more" if len(reasons) > 4 else ""
            raise SettingsError(
                f"{root} holds the results of another run ({'; '.join(reasons[:4])}{more})",
                "choose another --output, or give --overwrite to remove them",
            )
        if not reasons:
            all_targets = old_targets | target_ids
    if overwrite:
        with atomic_write.explain_os_errors(root):
            for shard in shards:
                shard.unlink()
    write_plan(plan, all_targets, root)


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
