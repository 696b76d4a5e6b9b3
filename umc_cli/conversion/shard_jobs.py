"""What of a run is still to be made: the shards that are missing, and what each one says of itself."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from umc_cli.audio.segments import read_segments_within
from umc_cli.audio.time_limit import TimedOutError
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.shard_actor import Order
from umc_cli.conversion.shard_job import ShardJob
from umc_cli.errors import InputError
from umc_cli.runtime import versions
from umc_cli.shards import schema
from umc_cli.shards.part import Part
from umc_cli.shards.plan import Piece, Plan
from umc_cli.shards.run_folder import complete_shard

_LOOKS_AT_ONCE = 16
"""Inputs that failed before and are read once more, and shards that are looked at for it."""


def open_jobs(
    order: Order, plan: Plan, part: Part, target_ids: Mapping[str, str], superseded: Set[str] = frozenset()
) -> Iterator[ShardJob]:
    """Yield the shards of one part, in order, each with what of it is still to be made; looked at when it is its turn.

    Complete shards of this very run are kept, unless an input that failed in them can be read now. That is tried for
    many shards at the same time: of inputs that hang, each takes all the time it may. `superseded`: inputs that an
    update replaced or found gone; they are not tried.
    """
    pool = ThreadPoolExecutor(_LOOKS_AT_ONCE, "umc-look")
    looked_at: deque[_LookedAt] = deque()
    try:
        for shard in _look_at(order, plan, part, target_ids, superseded, pool):
            looked_at.append(shard)
            while looked_at and (looked_at[0].is_known or len(looked_at) > _LOOKS_AT_ONCE):
                yield looked_at.popleft().job()
        while looked_at:
            yield looked_at.popleft().job()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _LookedAt:
    """A shard, its headers, and the inputs that failed in it, which are being read once more."""

    whole: ShardJob
    """With the paths of all targets."""
    headers: Mapping[str, schema.ShardHeader | None]
    again: Mapping[str, Future[bool]]
    """By the path of an input: whether it can be read now."""

    @property
    def is_known(self) -> bool:
        return all(future.done() for future in self.again.values())

    def job(self) -> ShardJob:
        """Return what is still to be made of the shard."""
        fixed = {path for path, future in self.again.items() if future.result()}
        missing = {
            target: self.whole.paths[target]
            for target, header in self.headers.items()
            if header is None or any(entry["path"] in fixed for entry in header.failed)
        }
        return replace(self.whole, paths=missing)


def _look_at(
    order: Order,
    plan: Plan,
    part: Part,
    target_ids: Mapping[str, str],
    superseded: Set[str],
    pool: ThreadPoolExecutor,
) -> Iterator[_LookedAt]:
    descriptions = {target: _description(plan, target, order.conversion) for target in target_ids}
    wanted = part.shards(plan.n_shards)
    hanging: set[str] = set()
    for index, pieces in enumerate(plan.shards()):
        if index not in wanted:
            continue
        attributes = {
            target: {
                "run_id": plan.run_id,
                "target_id": target_id,
                "shard_index": index,
                "source": plan.source,
                "target": target,
                "description": descriptions[target],
            }
            for target, target_id in target_ids.items()
        }
        paths = {target: order.root / target / schema.shard_name(index) for target in target_ids}
        headers = {target: complete_shard(path, attributes[target]) for target, path in paths.items()}
        failed = {entry["path"] for header in headers.values() if header for entry in header.failed}
        again = {
            piece.file.path: pool.submit(_is_readable, piece, order, hanging)
            for piece in pieces
            if piece.file.path in failed - superseded
        }
        whole = ShardJob(pieces, paths, attributes, plan.summary.extra_columns, str(plan.settings["converter"]))
        yield _LookedAt(whole, headers, again)


def _is_readable(piece: Piece, order: Order, hanging: set[str]) -> bool:
    """Tell whether an input can be read; `hanging` remembers those that took too long, which may fill many shards."""
    if piece.file.path in hanging:
        return False
    path, cut = order.inputs / piece.file.path, order.segments
    try:
        read_segments_within(order.stream.reader_timeout_s, path, piece.file.header, piece.starts(cut), cut)
    except TimedOutError:
        hanging.add(piece.file.path)
        return False
    except InputError:
        return False
    return True


def _description(plan: Plan, target: str, conversion: Conversion) -> str:
    of_target = conversion.differences(target) | conversion.adapted_with(target) | conversion.floors_of(target)
    return json.dumps({"settings": plan.settings, **of_target, "versions": versions()})
