"""What of a run is still to be made: the shards that are missing, and what each one says of itself."""

import json
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.segments import read_segments_within
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.streaming import ShardJob
from umc_cli.errors import InputError
from umc_cli.response.difference import fr_difference_db, level_difference_db
from umc_cli.runtime import versions
from umc_cli.shards import schema
from umc_cli.shards.part import Part
from umc_cli.shards.plan import Piece, Plan, hash_of
from umc_cli.shards.run_folder import complete_shard
from umc_cli.workflows.shard_actor import Order


def levels_hash(levels_db: NDArray[np.float32] | None) -> str | None:
    """Return the hash of a level table [20, 80], if there is one."""
    return None if levels_db is None else hash_of(levels_db.tolist())


def target_id(target: str, ingredients: Ingredients) -> str:
    """Return the hash of all that is known of a target: its record and its level table."""
    record = ingredients.devices.get(target)
    levels = levels_hash(ingredients.level_quantiles.get(target))
    return hash_of([target, record.model_dump(mode="json") if record else None, levels])


def open_jobs(order: Order, plan: Plan, part: Part, target_ids: Mapping[str, str]) -> Iterator[ShardJob]:
    """Yield the shards of one part, in order, each with what of it is still to be made; looked at when it is its turn.

    Complete shards of this very run are kept, unless a bad input was mended.
    """
    descriptions = {target: _description(plan, target, order.ingredients) for target in target_ids}
    wanted = part.shards(plan.n_shards)
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
        mended = {piece.file.path for piece in pieces if piece.file.path in failed and _is_readable(piece, order)}
        missing = {
            target: paths[target]
            for target, header in headers.items()
            if header is None or any(entry["path"] in mended for entry in header.failed)
        }
        yield ShardJob(pieces, missing, attributes, plan.summary.extra_columns, str(plan.settings["converter"]))


def _is_readable(piece: Piece, order: Order) -> bool:
    path, cut = order.inputs / piece.file.path, order.segments
    try:
        read_segments_within(order.stream.reader_timeout_s, path, piece.file.header, piece.starts(cut), cut)
    except InputError:
        return False
    return True


def _description(plan: Plan, target: str, ingredients: Ingredients) -> str:
    devices = ingredients.devices
    known = plan.source in devices and target in devices
    return json.dumps(
        {
            "settings": plan.settings,
            "fr_difference_db": [
                round(float(value), 3) for value in fr_difference_db(devices[plan.source], devices[target])
            ]
            if known
            else None,
            "level_difference_db": level_difference_db(devices[plan.source], devices[target]) if known else None,
            "versions": versions(),
        }
    )
