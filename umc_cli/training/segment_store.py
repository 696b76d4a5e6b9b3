"""Segments to train on: computed once, kept on disk beside the run, mapped into memory.

A training set may be larger than the memory; what a step touches is one batch.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli import atomic_write
from umc_cli.audio.feature_settings import segment_shape
from umc_cli.audio.features import spectrograms
from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.manifest import Clip, FailedInput
from umc_cli.audio.modification import modified_ns
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, segment_starts
from umc_cli.config import dump_settings
from umc_cli.errors import InputError
from umc_cli.json_text import parse_json
from umc_cli.shards.plan import hash_of

StoredKind = Literal["log-mel", "waveform"]
"""`log-mel`: [80, 80] float16, dB re full scale. `waveform`: [20480] float32, full scale 1.

For features of one's own (`FeatureSegmentSettings`), shape, length and rate are theirs.
"""

_DTYPES: dict[StoredKind, type] = {"log-mel": np.float16, "waveform": np.float32}
_CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class StoredPart:
    """The segments of some clips, in the order of the clips."""

    segments: NDArray[Any]
    """[n, ...] of the kind's shape and type; mapped from a file."""
    clip: NDArray[np.int64]
    """[n] Which of the clips, as they were given, each is of."""
    start: NDArray[np.int64]
    """[n] First sample, counted at the rate at which segments are read."""


@dataclass(frozen=True)
class SegmentStore:
    """All parts, and what could not be read."""

    parts: Mapping[str, StoredPart]
    moments: Mapping[str, tuple[float, float, int]]
    """By part: sum of the values, sum of their squares, number of values."""
    failed: tuple[FailedInput, ...]
    fingerprint: str
    """Of the recordings' names and sizes and the segment settings."""
    content_sha256: str
    """Of all segments; empty where an earlier version stored them."""


def mean_and_std(moments: Iterable[tuple[float, float, int]]) -> tuple[float, float] | None:
    """Return mean and standard deviation of all values that `moments` (of parts) are of; None if they are all equal."""
    total, total_of_squares, n_values = (sum(column) for column in zip(*moments, strict=True))
    mean = total / n_values if n_values else 0.0
    variance = total_of_squares / n_values - mean**2 if n_values else 0.0
    return (mean, variance**0.5) if variance > 0 else None


def store_segments(
    folder: Path,
    parts: Mapping[str, Sequence[Clip]],
    settings: SegmentSettings,
    workers: int,
    kind: StoredKind = "log-mel",
) -> SegmentStore:
    """Return the segments of every part's clips, from `folder` if an earlier run left them there.

    They are read again where a recording has another time than it had then.

    Raises:
        EnvironmentFault: `folder` cannot be written.
    """
    fingerprint, times = _fingerprint(parts, settings, kind), _times(parts)
    index = _read_index(folder, settings, kind)
    if not _is_of(index, fingerprint, times):
        index = _write_parts(folder, parts, settings, workers, kind) | {"fingerprint": fingerprint}
    if index.get("times_sha256") != times:
        index["times_sha256"] = times
        atomic_write.write_text(_index_path(folder, kind), json.dumps(index))
    return SegmentStore(
        parts={name: _mapped(folder, name, index["starts"][name], settings, kind) for name in parts},
        moments={name: tuple(index["moments"][name]) for name in parts},
        failed=tuple(FailedInput(**entry) for entry in index["failed"]),
        fingerprint=fingerprint,
        content_sha256=index.get("content_sha256", ""),
    )


def segments_fingerprint(
    folder: Path, parts: Mapping[str, Sequence[Clip]], settings: SegmentSettings, kind: StoredKind = "log-mel"
) -> tuple[str, bool]:
    """Return the fingerprint that a store of these clips has, and whether the segments are in `folder` already."""
    fingerprint = _fingerprint(parts, settings, kind)
    return fingerprint, _is_of(_read_index(folder, settings, kind), fingerprint, _times(parts))


def _is_of(index: Mapping[str, Any], fingerprint: str, times_sha256: str) -> bool:
    return index.get("fingerprint") == fingerprint and index.get("times_sha256", times_sha256) == times_sha256


def _times(parts: Mapping[str, Sequence[Clip]]) -> str:
    return hash_of({name: [modified_ns(clip.path) for clip in clips] for name, clips in parts.items()})


def _write_parts(
    folder: Path, parts: Mapping[str, Sequence[Clip]], settings: SegmentSettings, workers: int, kind: StoredKind
) -> dict[str, Any]:
    starts: dict[str, list[list[int]]] = {}
    moments: dict[str, tuple[float, float, int]] = {}
    failed: list[FailedInput] = []
    digest = hashlib.sha256()
    with ThreadPoolExecutor(workers, "umc-reader", torch.set_num_threads, (1,)) as pool:
        for name, clips in parts.items():
            starts[name] = []
            total, total_of_squares, n_values = 0.0, 0.0, 0
            with atomic_write.atomic_path(_path(folder, name, kind)) as partial, partial.open("wb") as file:
                for read in _in_order(pool, clips, settings, kind):
                    if isinstance(read, FailedInput):
                        failed.append(read)
                        starts[name].append([])
                        continue
                    segments, clip_starts = read
                    content = segments.astype(_DTYPES[kind]).tobytes()
                    file.write(content)
                    digest.update(content)
                    starts[name].append(clip_starts)
                    values = segments.astype(np.float64)
                    total += float(values.sum())
                    total_of_squares += float(np.square(values).sum())
                    n_values += values.size
            moments[name] = (total, total_of_squares, n_values)
    return {"starts": starts, "moments": moments, "failed": [asdict(entry) for entry in failed]} | {
        "content_sha256": digest.hexdigest()
    }


def _in_order(
    pool: ThreadPoolExecutor, clips: Sequence[Clip], settings: SegmentSettings, kind: StoredKind
) -> Iterable[tuple[NDArray[np.float32], list[int]] | FailedInput]:
    """Yield every clip's segments and starts, or why it has none; few clips ahead, so that memory stays bounded."""
    remaining = iter(clips)
    while chunk := list(islice(remaining, _CLIPS_AT_ONCE)):
        yield from pool.map(lambda clip: _read(clip, settings, kind), chunk)


def _read(
    clip: Clip, settings: SegmentSettings, kind: StoredKind
) -> tuple[NDArray[np.float32], list[int]] | FailedInput:
    try:
        header = read_header(clip.path)
        wanted = segment_starts(header.n_samples_at(settings.read_rate_hz), settings)
        if not wanted:
            return np.empty((0, *_shape(settings, kind)), np.float32), []
        segments, starts = read_segments(clip.path, header, wanted, settings)
    except InputError as error:
        return FailedInput(clip.file, error.message, error.hint)
    if kind == "log-mel":
        segments = spectrograms(torch.from_numpy(segments), settings).numpy()
    return segments, starts.tolist()


def _fingerprint(parts: Mapping[str, Sequence[Clip]], settings: SegmentSettings, kind: StoredKind) -> str:
    files = {name: [[repr(clip.recording), _size(clip.path)] for clip in clips] for name, clips in parts.items()}
    return hash_of([dump_settings(settings), dump_settings(LOG_MEL_SETTINGS), kind, files])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _index_path(folder: Path, kind: StoredKind) -> Path:
    return folder / f"{kind}.json"


def _path(folder: Path, name: str, kind: StoredKind) -> Path:
    return folder / f"{name}.{kind}.{np.dtype(_DTYPES[kind]).name}"


def segment_bytes(settings: SegmentSettings, kind: StoredKind = "log-mel") -> int:
    """Return the size of one stored segment."""
    return np.dtype(_DTYPES[kind]).itemsize * int(np.prod(_shape(settings, kind)))


def _shape(settings: SegmentSettings, kind: StoredKind) -> tuple[int, ...]:
    """Return the shape of one segment."""
    return segment_shape(settings) if kind == "log-mel" else (settings.segment_samples,)


def _mapped(
    folder: Path, name: str, starts: Sequence[Sequence[int]], settings: SegmentSettings, kind: StoredKind
) -> StoredPart:
    counts = [len(of_clip) for of_clip in starts]
    n = sum(counts)
    shape, dtype = (n, *_shape(settings, kind)), _DTYPES[kind]
    return StoredPart(
        segments=np.memmap(_path(folder, name, kind), dtype, "r", shape=shape) if n else np.empty(shape, dtype),
        clip=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        start=np.array([start for of_clip in starts for start in of_clip], dtype=np.int64),
    )


def _read_index(folder: Path, settings: SegmentSettings, kind: StoredKind) -> dict[str, Any]:
    """Return what an earlier run left; nothing if that is not complete."""
    bytes_each = segment_bytes(settings, kind)
    try:
        index = parse_json(_index_path(folder, kind).read_text(encoding="utf-8"))
        expected = {name: bytes_each * sum(map(len, starts)) for name, starts in index["starts"].items()}
        complete = all(_size(_path(folder, name, kind)) == size for name, size in expected.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}
    return index if complete else {}
