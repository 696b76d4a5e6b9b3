"""Conversions of training samples that `umc convert` made before: read from its shards instead of made on the fly."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.atomic_write import explain_os_errors
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.names import plain_name
from umc_cli.config import dump_settings, means_all
from umc_cli.errors import SettingsError, guess
from umc_cli.evaluation.recorded_segments import pair_files
from umc_cli.sec.target_draws import draw_targets
from umc_cli.shards import schema
from umc_cli.shards.schema import read_shard_header
from umc_cli.shards.updates import LiveRows, find_shards
from umc_cli.training.torchrun import is_first_process

_FOLDER = "converted"
_MAY_DIFFER = frozenset({"label", "split", "batch_size", "dtype"})
"""Of a conversion's settings: they do not change what a segment is converted to, but for the rounding."""
_IN_WORDS = {
    "made_with": "weights or engine",
    "source_record_sha256": "record of the source",
    "source_levels_sha256": "levels of the source's recordings",
    "target_id": "record or levels of the target",
}


class TrainedSegment(NamedTuple):
    """Where a training segment comes from."""

    recording: str
    path: str
    """Of its file, as shards hold it."""
    start: int
    """First sample."""


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
        drawn = draw_targets(len(self.targets), len(rows), random)
        chosen = [self.log_mel[target][row] for target, row in zip(drawn, rows.tolist(), strict=True)]
        return torch.from_numpy(np.stack(chosen).astype(np.float32))


def open_shard_conversions(
    shards: Path,
    place: Path,
    source: str,
    targets: tuple[str, ...],
    converters: Sequence[str],
    weights_per_target: bool,
    segments: Sequence[TrainedSegment],
) -> ShardConversions:
    """Copy the conversions of the training segments to files in `place`, in the order of the segments.

    Shards hold segments in another order, compressed; a batch wants a few of everywhere.

    `targets`: of the shards, or `all`; `converters`: those whose conversions are wanted; `weights_per_target`: every
    target was converted with weights of its own.

    Raises:
        SettingsError: the shards are of another source, converter or log-mel, of several converters, weights or
            records, or lack a target or a segment.
        InputError: a shard is damaged.
        EnvironmentFault: `place` cannot be written.
    """
    headers = {path: header for path in find_shards(shards) if not (header := read_shard_header(path)).is_original}
    there = sorted({header.target for header in headers.values()})
    chosen = tuple(there) if means_all(targets) else tuple(dict.fromkeys(targets))
    missing = [target for target in chosen if target not in there]
    if missing or not chosen:
        raise SettingsError(
            f"no shards of {', '.join(missing) or 'any target named'} below {shards}",
            f"{guess(missing[0], there) if missing else ''}there are shards of: {', '.join(there)}",
        )
    by_target = {
        target: {path: header for path, header in headers.items() if header.target == target} for target in chosen
    }
    wanted = {path: header for of_target in by_target.values() for path, header in of_target.items()}
    for path, header in wanted.items():
        _check(path, header, source, converters)
    _check_alike(wanted, lambda header: _decisive(header, {"made_with"} if weights_per_target else set()))
    for of_target in by_target.values():
        _check_alike(of_target, lambda header: _decisive(header) | {"target_id": header.target_id})
    with explain_os_errors(place):
        (place / _FOLDER).mkdir(parents=True, exist_ok=True)
        copies = [
            _copied(tuple(of_target), place / _FOLDER / f"{number}.float16", target, segments)
            for number, (target, of_target) in enumerate(by_target.items())
        ]
    made_with: dict[str, str] = {}
    for header in wanted.values():
        made_with.setdefault(header.target, header.run_id)  # updates come later, and were made as the first run
    return ShardConversions(next(iter(wanted.values())).converter, chosen, made_with, copies)


def _check(path: Path, header: schema.ShardHeader, source: str, converters: Sequence[str]) -> None:
    if header.source != source:
        raise SettingsError(
            f"{path} was converted from {header.source}, not from {source}", "name another folder with --shards"
        )
    if header.converter not in converters:
        raise SettingsError(
            f"{path} was made by converter {header.converter!r}, not by {' or '.join(converters)}",
            "name the --method and --converter that the shards are of, or other --shards",
        )
    settings: Mapping[str, Any] = header.description.get("settings", {})
    if settings.get("log_mel") != dump_settings(LOG_MEL_SETTINGS):
        raise SettingsError(f"{path} holds other log-mel spectrograms than this umc makes", "convert again")


def _decisive(header: schema.ShardHeader, but: Set[str] = frozenset()) -> dict[str, Any]:
    settings: Mapping[str, Any] = header.description.get("settings", {})
    return {name: value for name, value in settings.items() if name not in _MAY_DIFFER | but}


def _check_alike(
    headers: Mapping[Path, schema.ShardHeader], decisive: Callable[[schema.ShardHeader], Mapping[str, Any]]
) -> None:
    """Refuse a mixture of conversions: what a classifier learned from it could be told of no converter."""
    (first_path, first_header), *others = headers.items()
    first = decisive(first_header)
    for path, header in others:
        found = decisive(header)
        differing = [name for name in sorted({*first, *found}) if first.get(name) != found.get(name)]
        if "converter" in differing:
            what = f"converter {first_header.converter!r} and {header.converter!r}"
        else:
            what = ", ".join(_IN_WORDS.get(name, name) for name in differing)
        if differing:
            raise SettingsError(
                f"{first_path} and {path} were made by different conversions ({what})",
                "name the folder of one conversion with --shards, or convert all targets again in one",
            )


def _copied(shards: Sequence[Path], copy: Path, target: str, segments: Sequence[TrainedSegment]) -> NDArray[np.float16]:
    shape = (len(segments), *schema.SEGMENT_SHAPE)
    if not is_first_process():  # the first one has copied, and may be reading
        return np.memmap(copy, np.float16, "r", shape=shape)
    row_of = {(segment.path, segment.start): row for row, segment in enumerate(segments)}
    live_rows = LiveRows()
    trained_path = _trained_paths(shards, segments, live_rows)
    rows_there = np.zeros(len(segments), dtype=bool)
    written = np.memmap(copy, np.float16, "w+", shape=shape)
    for path in shards:
        with schema.open_shard(path) as file:
            n_rows = schema.read_header(file).n_segments
            paths = [trained_path.get(each, "") for each in schema.read_texts(file, "source_path", n_rows)]
            keys = zip(paths, schema.read_column(file, "segment_start", n_rows).tolist(), strict=True)
            rows = np.array([row_of.get(key, -1) for key in keys], dtype=np.int64)
            if (live := live_rows.of(path, file, n_rows)) is not None:
                rows[~live] = -1
            if not (rows >= 0).any():
                continue
            for there, block in schema.log_mel_blocks(file, n_rows):
                wanted = rows[there] >= 0
                written[rows[there][wanted]] = block[wanted]
                rows_there[rows[there][wanted]] = True
    if not rows_there.all():
        lacking = segments[int(np.argmin(rows_there))]
        raise SettingsError(
            f"the shards of {target} lack {np.count_nonzero(~rows_there)} of {len(segments)} training segments, "
            f"such as {lacking.recording} ({lacking.path}) from sample {lacking.start}",
            "convert split train with the same --hop, --short-clips and --remainder, and fix what failed",
        )
    written.flush()
    return np.memmap(copy, np.float16, "r", shape=shape)


def _trained_paths(shards: Sequence[Path], segments: Sequence[TrainedSegment], live_rows: LiveRows) -> dict[str, str]:
    """Return, by the path that shards name, that of the training's file.

    They differ where the workspace was moved or the shards come from another one. Then the recording tells which file
    it is, or the names of its files, if it has several.
    """
    trained: dict[str, set[str]] = {}
    for segment in segments:
        trained.setdefault(segment.recording, set()).add(segment.path)
    converted: dict[str, set[str]] = {recording: set() for recording in trained}
    for path in shards:
        schema.check_bytes(path)
        superseded = live_rows.superseded(path)
        with schema.open_shard(path) as file:
            n_rows = schema.read_header(file).n_segments
            columns = (schema.read_texts(file, name, n_rows).tolist() for name in ("recording", "source_path"))
            for recording, source_path in set(zip(*columns, strict=True)):
                if plain_name(recording) in converted and source_path not in superseded:
                    converted[plain_name(recording)].add(source_path)
    found: dict[str, str] = {}
    for recording, paths in trained.items():
        same = paths & converted[recording]
        found |= {path: path for path in same} or pair_files(sorted(converted[recording]), sorted(paths))
    return found
