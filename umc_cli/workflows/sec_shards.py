"""Conversions of training samples that `umc convert` made before: read from its shards instead of made on the fly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.atomic_write import explain_os_errors
from umc_cli.audio.log_mel import LOG_MEL_SETTINGS
from umc_cli.config import dump_settings
from umc_cli.errors import SettingsError
from umc_cli.shards import schema
from umc_cli.shards.reader import find_shards, read_shard_header

_FOLDER = "converted"


@dataclass(frozen=True)
class ShardConversions:
    """Gives every sample one of its conversions, all targets equally likely; see `sec.dataset.SegmentConverter`."""

    converter: str
    targets: tuple[str, ...]
    made_with: Mapping[str, str]
    """By target: the run that converted it."""
    log_mel: Sequence[NDArray[np.float16]]
    """By target: [training segments, 80, 80] dB, mapped from a file."""

    def __call__(self, log_mel: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
        """Shape: [B, 80, 80] dB -> the same."""
        drawn = torch.randint(len(self.targets), (len(rows),), generator=random).tolist()
        chosen = [self.log_mel[target][row] for target, row in zip(drawn, rows.tolist(), strict=True)]
        return torch.from_numpy(np.stack(chosen).astype(np.float32))


def open_shard_conversions(
    shards: Path,
    place: Path,
    source: str,
    targets: tuple[str, ...],
    converters: Sequence[str],
    segments: Sequence[tuple[str, int]],
) -> ShardConversions:
    """Copy the conversions of the training segments to files in `place`, in the order of the segments.

    Shards hold segments in another order, compressed; a batch wants a few of everywhere.

    `targets`: of the shards, or `all`; `converters`: those whose conversions are wanted; `segments`: recording and
    first sample of each training segment.

    Raises:
        SettingsError: the shards are of another source, converter or log-mel, or lack a target or a segment.
        InputError: a shard is damaged.
        EnvironmentFault: `place` cannot be written.
    """
    by_target: dict[str, list[Path]] = {}
    first: dict[str, schema.ShardHeader] = {}
    for path in find_shards(shards):
        header = read_shard_header(path)
        _check(path, header, source, converters)
        by_target.setdefault(header.target, []).append(path)
        first.setdefault(header.target, header)
    chosen = tuple(sorted(by_target)) if targets == ("all",) else targets
    missing = [target for target in chosen if target not in by_target]
    if missing:
        raise SettingsError(
            f"no shards of {', '.join(missing)} below {shards}", f"there are shards of: {', '.join(sorted(by_target))}"
        )
    row_of = {segment: row for row, segment in enumerate(segments)}
    with explain_os_errors(place):
        (place / _FOLDER).mkdir(parents=True, exist_ok=True)
        copies = [
            _copied(by_target[target], place / _FOLDER / f"{number}.float16", target, row_of)
            for number, target in enumerate(chosen)
        ]
    made_with = {target: first[target].run_id for target in chosen}
    return ShardConversions(first[chosen[0]].converter, chosen, made_with, copies)


def _check(path: Path, header: schema.ShardHeader, source: str, converters: Sequence[str]) -> None:
    if header.source != source:
        raise SettingsError(f"{path} was converted from {header.source}, not from {source}", "name other --shards")
    if header.converter not in converters:
        raise SettingsError(
            f"{path} was made by converter {header.converter!r}; the method takes {' or '.join(converters)}",
            "name the --method that the shards are of, or other --shards",
        )
    settings: Mapping[str, Any] = header.description.get("settings", {})
    if settings.get("log_mel") != dump_settings(LOG_MEL_SETTINGS):
        raise SettingsError(f"{path} holds other log-mel spectrograms than this umc makes", "convert again")


def _copied(
    shards: Sequence[Path], copy: Path, target: str, row_of: Mapping[tuple[str, int], int]
) -> NDArray[np.float16]:
    shape = (len(row_of), *schema.SEGMENT_SHAPE)
    rows_there = np.zeros(len(row_of), dtype=bool)
    written = np.memmap(copy, np.float16, "w+", shape=shape)
    for path in shards:
        schema.check_bytes(path)
        with schema.open_shard(path) as file:
            keys = zip(file["recording"].asstr()[()].tolist(), file["segment_start"][()].tolist(), strict=True)
            rows = np.array([row_of.get(key, -1) for key in keys], dtype=np.int64)
            wanted = rows >= 0
            if wanted.any():
                written[rows[wanted]] = file[schema.LOG_MEL][()][wanted]
                rows_there[rows[wanted]] = True
    if not rows_there.all():
        recording, start = next(key for key, row in row_of.items() if not rows_there[row])
        raise SettingsError(
            f"the shards of {target} lack {np.count_nonzero(~rows_there)} of {len(row_of)} training segments, such as "
            f"{recording} from sample {start}",
            "convert split train-sec with the same --hop, --short-clips and --remainder, and mend what failed",
        )
    written.flush()
    return np.memmap(copy, np.float16, "r", shape=shape)
