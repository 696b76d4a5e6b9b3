"""What the recordings of a run were when it was planned, beside `run.json`: a new sound of the same length is noticed.

None of it is part of the run: a run whose file of times is missing goes on, and gets a new one.
"""

import json
import shlex
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from umc_cli import atomic_write
from umc_cli.audio.modification import UNKNOWN, Mark
from umc_cli.errors import InputError, SettingsError
from umc_cli.json_text import parse_json
from umc_cli.shards import schema
from umc_cli.shards.part import Part
from umc_cli.shards.plan import Plan
from umc_cli.shards.planned_files import PlannedFile
from umc_cli.shards.schema import read_shard_header

TIMES_NAME = "recording_times.jsonl"

_SHOWN = 3


def check_times(root: Path, plan: Plan, part: Part) -> list[str]:
    """Refuse to keep shards that were made of recordings which have changed since; else note what they are now.

    Returns what a user should know. Recordings that no complete shard holds, or that failed in it, may change. A part
    looks at its own shards, and leaves the times that another one noted: each machine may have its own copy.

    Raises:
        SettingsError: naming the recordings, and the shards to remove.
        EnvironmentFault: the folder cannot be written.
    """
    path = root / TIMES_NAME
    noted = _compared(path, plan)
    if noted and not noted.changed and not noted.touched:
        return []
    shards = part.shards(plan.n_shards)
    stale = list(_made_of(root, plan, shards, noted.changed)) if noted and noted.changed else []
    if stale:
        recordings = sorted({name for _, names in stale for name in names})
        raise SettingsError(_message(recordings), _remedy(root, path, sorted({index for index, _ in stale})))
    if not noted or part.count == 1:
        note_marks(root, plan, plan.files.each_mark())
    return [touched_warning(noted.touched)] if noted and noted.touched else []


def noted_marks(root: Path, plan: Plan) -> Iterator[tuple[PlannedFile, Mark | None]]:
    """Yield the recordings of the plan in `root`, each with what it was when that was noted; None if it was not."""
    with ExitStack() as open_files:
        lines: Iterator[str] = iter(())
        with suppress(OSError, ValueError):
            text = open_files.enter_context((root / TIMES_NAME).open(encoding="utf-8", errors="replace"))
            if parse_json(next(text, "")) == _head(plan):
                lines = text
        for file in plan.files:
            yield file, _mark_in(next(lines, ""), file.path)


def _mark_in(line: str, path: str) -> Mark | None:
    try:
        name, modified_ns, sample_crc32 = parse_json(line)
    except (ValueError, TypeError):
        return None
    is_mark = all(isinstance(value, int) and abs(value) < 1 << 63 for value in (modified_ns, sample_crc32))
    return Mark(modified_ns, sample_crc32) if name == path and is_mark else None


def note_marks(root: Path, plan: Plan, marks: Iterable[Mark]) -> None:
    """Note what the recordings of the plan in `root` are. `marks`: in the order of its files.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    with atomic_write.atomic_path(root / TIMES_NAME) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(_head(plan)) + "\n")
        for planned, seen in zip(plan.files, marks, strict=True):
            file.write(json.dumps([planned.path, *seen], ensure_ascii=False) + "\n")


def only_touched(before: Mark, now: Mark) -> bool | None:
    """Tell whether a recording has another time but the same sample of bytes; None where its time is the same."""
    if before.modified_ns == now.modified_ns:
        return None
    return before.sample_crc32 == now.sample_crc32 != UNKNOWN


def touched_warning(paths: Collection[str]) -> str:
    """Return what a user should know of recordings that are kept though their times differ."""
    have = "1 recording has" if len(paths) == 1 else f"{len(paths)} recordings have"
    return (
        f"{have} a different modification time than when converted, but a sample of their bytes is the same: kept "
        f"(first: {min(paths)}); if they did change, give --overwrite"
    )


class _Compared(NamedTuple):
    """Recordings that are not as they were noted."""

    changed: set[str]
    touched: set[str]
    """Another time, but the same sample of bytes."""


def _compared(path: Path, plan: Plan) -> _Compared | None:
    """Compare the recordings with what `path` says of them; None where it does not speak of this run."""
    compared = _Compared(set(), set())
    try:
        with path.open(encoding="utf-8") as lines:
            if parse_json(next(lines, "")) != _head(plan):
                return None
            for file, seen in zip(plan.files, plan.files.each_mark(), strict=True):
                name, *then = parse_json(next(lines, ""))
                if name != file.path or len(then) != len(seen):
                    return None
                same = only_touched(Mark(*then), seen)
                if same is not None:
                    (compared.touched if same else compared.changed).add(file.path)
    except (OSError, ValueError, TypeError):
        return None
    return compared


def _made_of(root: Path, plan: Plan, shards: range, changed: set[str]) -> Iterator[tuple[int, set[str]]]:
    """Yield the shards of any target that hold rows of changed recordings: their index, and those recordings."""
    for index, pieces in enumerate(plan.shards()):
        names = changed & {piece.file.path for piece in pieces}
        if not names or index not in shards:
            continue
        for path in root.glob(f"*/{schema.shard_name(index)}"):
            with suppress(InputError):  # it will be made again
                header = read_shard_header(path)
                held = names - {entry["path"] for entry in header.failed}
                if header.run_id == plan.run_id and held:
                    yield index, held


def _message(recordings: list[str]) -> str:
    more = f" and {len(recordings) - _SHOWN} more" if len(recordings) > _SHOWN else ""
    listed = ", ".join(recordings[:_SHOWN]) + more
    if len(recordings) == 1:
        return f"a recording was changed after it was converted, though its length is the same: {listed}"
    return f"{len(recordings)} recordings were changed after they were converted, though of the same length: {listed}"


def _remedy(root: Path, path: Path, indices: list[int]) -> str:
    folder = shlex.quote(str(root))
    if len(indices) <= _SHOWN:
        shards = " ".join(f"{folder}/*/{schema.shard_name(index)}" for index in indices)
        anew = f"to convert them again, give --update, or remove their shards (rm {shards}) and run again"
    else:
        anew = "to convert them again, give --update, or --overwrite to convert all again"
    return f"{anew}; if only their times changed (a copy, a touch): rm {shlex.quote(str(path))}"


def _head(plan: Plan) -> dict[str, object]:
    return {"format": "umc-recording-times", "format_version": 1, "run_id": plan.run_id}
