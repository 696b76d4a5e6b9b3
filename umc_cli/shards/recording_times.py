"""What the recordings of a run were when it was planned, beside `run.json`: a new sound of the same length is noticed.

None of it is part of the run: a run whose file of times is missing goes on, and gets a new one.
"""

import json
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from umc_cli import atomic_write
from umc_cli.audio.modification import UNKNOWN, Mark
from umc_cli.errors import InputError, SettingsError
from umc_cli.json_text import parse_json
from umc_cli.shards import schema
from umc_cli.shards.part import Part
from umc_cli.shards.plan import Plan
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
        with atomic_write.atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
            file.writelines(_lines(plan))
    if not noted or not noted.touched:
        return []
    have = "1 recording has" if len(noted.touched) == 1 else f"{len(noted.touched)} recordings have"
    return [
        f"{have} a different modification time than when converted, but a sample of their bytes is the same: kept "
        f"(first: {min(noted.touched)}); if they did change, give --overwrite"
    ]


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
            for file, seen in zip(plan.files, _marks(plan), strict=True):
                name, *then = parse_json(next(lines, ""))
                if name != file.path or len(then) != len(seen):
                    return None
                before = Mark(*then)
                if before.modified_ns != seen.modified_ns:
                    same = before.sample_crc32 == seen.sample_crc32 != UNKNOWN
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
        anew = f"to convert them again, remove their shards (rm {shards}) and run again"
    else:
        anew = "to convert all again, give --overwrite"
    return f"{anew}; if only their times changed (a copy, a touch): rm {shlex.quote(str(path))}"


def _head(plan: Plan) -> dict[str, object]:
    return {"format": "umc-recording-times", "format_version": 1, "run_id": plan.run_id}


def _lines(plan: Plan) -> Iterator[str]:
    yield json.dumps(_head(plan)) + "\n"
    for file, seen in zip(plan.files, _marks(plan), strict=True):
        yield json.dumps([file.path, *seen], ensure_ascii=False) + "\n"


def _marks(plan: Plan) -> Iterator[Mark]:
    marks = plan.files.marks
    return (Mark(*marks[index : index + 2]) for index in range(0, len(marks), 2))
