"""The maps that `transport` and `refiner_transport` rest on, kept beside `run.json`: one file for each target.

Loads torch only where it learns or writes them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from umc_cli import __version__
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.manifest import Clip, for_converters
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.checkpoint import read_arrays, write_checkpoint
from umc_cli.config import dump_settings
from umc_cli.conversion.heard_segments import MOST_SEGMENTS
from umc_cli.conversion.kept_knowledge import KeptKnowledge
from umc_cli.conversion.level_quantiles import ReadSegments, read_segment_levels
from umc_cli.conversion.level_tables import recordings_fingerprint
from umc_cli.conversion.transport import PARTS, Levels, Sample, Transport, fit_transport, no_transport, sha256_of
from umc_cli.errors import SettingsError
from umc_cli.shards.plan import hash_of

LEAST_RECORDINGS = 10
"""Fewer recordings of a device do not tell how far chance goes."""
_METHOD = 2
"""Of learning: a map of another number is learned again. 1: zeros at the ends of recordings counted."""

Learning = Callable[[str, int, int], None]
"""Told before a map is learned: the target, its number (from 1) and how many targets there are."""


def not_told(target: str, number: int, count: int) -> None:
    """Say nothing of what is learned."""


class StartConverter(Protocol):
    """What the other converter makes of the source's segments."""

    def __call__(self, log_mel: Levels, target: str) -> Levels:
        """Shape: [N, 80, 80] dB -> the same, for a target."""
        ...


@dataclass(frozen=True)
class TransportStart:
    """What the maps of a converter move: the results of another one."""

    moved_by: str
    """The converter that has the maps."""
    converter: str
    """The other one."""
    source: str
    targets: tuple[str, ...]
    tables: Mapping[str, Levels]
    """By device: [20, 80], dB."""
    convert: StartConverter
    also_from: Callable[[str], Sequence[str]] = lambda _: ()
    """Returns, by target, hashes of what these results rest on besides the tables."""


def file_name(converter: str, target: str) -> str:
    """Return the name of the file of a target."""
    return f"{converter}.{target}.safetensors"


def load_transports(
    kept: KeptKnowledge,
    start: TransportStart,
    clips: Sequence[Clip],
    settings: SegmentSettings,
    warnings: list[str],
    learning: Learning = not_told,
    read: ReadSegments = read_segment_levels,
) -> dict[str, Transport]:
    """Return the map to every target, learned from the recordings of which the level tables are made.

    They are kept, and read again as long as recordings, settings and all that `start` rests on are the same. What a
    user should know is added to `warnings`. `read`: how segments are read.
    """
    source, targets, tables = start.source, start.targets, start.tables
    clips = for_converters(clips)
    own = {name: sorted((c for c in clips if c.device == name), key=lambda c: c.file) for name in (source, *targets)}
    cuts = {name: settings if name == source else settings.segments for name in own}
    prints = {name: hash_of([recordings_fingerprint(own[name], cuts[name]), tables[name].tolist()]) for name in own}
    found: dict[str, Transport] = {}
    heard: Sample | None = None
    for number, target in enumerate(targets, start=1):
        path = kept.file(file_name(start.moved_by, target))
        pair = _pair(start.moved_by, source, target)
        made_from = [prints[source], prints[target], *start.also_from(target)]
        about = pair | {"made_from": [_METHOD, *made_from]}
        of_run = _read(path, pair) if path and target in kept.of_run else None
        known = of_run if of_run and kept.counts(target) else _read(path, about) if path else None
        if known is None:
            learning(target, number, len(targets))
            heard = heard or _sample(read, own[source], cuts[source])
            known = _learn(heard, _sample(read, own[target], cuts[target]), partial(start.convert, target=target))
            earlier = _read(path, pair | {"made_from": [_METHOD - 1, *made_from]}) if path and of_run else None
            comes_out_the_same = earlier is not None and sha256_of(earlier) == sha256_of(known)
            if path and kept.is_written and (of_run is None or comes_out_the_same):
                _write(path, known, about)
        found[target] = known
    if alike := [target for target, transport in found.items() if not len(transport.components)]:
        more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
        warnings.append(
            f"{start.moved_by} is what `{start.converter}` is for {', '.join(alike[:3])}{more}: the recordings do not "
            f"tell more (fewer than {LEAST_RECORDINGS} of them, no label in common, or a difference that may be chance)"
        )
    return found


def read_transport(root: Path, converter: str, source: str, target: str) -> Transport:
    """Return the map that `load_transports` left in `root`.

    Raises:
        SettingsError: it is not there, or is damaged.
    """
    path = root / file_name(converter, target)
    transport = _read(path, _pair(converter, source, target))
    if transport is None:
        raise SettingsError(
            f"{path} is missing, damaged or not from {source} to {target}", "run the command that wrote it again"
        )
    return transport


def _pair(converter: str, source: str, target: str) -> dict[str, object]:
    return {"kind": converter, "source": source, "target": target}


def _learn(source: Sample, target: Sample, convert: Callable[[Levels], Levels]) -> Transport:
    is_few = min(len(set(one.recordings)) for one in (source, target)) < LEAST_RECORDINGS
    if is_few or set(source.labels).isdisjoint(target.labels):
        return no_transport(LOG_MEL_SETTINGS.n_mels * LOG_MEL_SETTINGS.n_frames)
    return fit_transport(Sample(convert(source.log_mel), source.recordings, source.labels), target)


def _sample(read: ReadSegments, clips: Sequence[Clip], settings: SegmentSettings) -> Sample:
    heard = read(clips, settings, MOST_SEGMENTS)
    return Sample(heard.log_mel, heard.recordings, heard.labels)


def _write(path: Path, transport: Transport, about: Mapping[str, object]) -> None:
    import torch

    tensors = {name: torch.from_numpy(getattr(transport, name).copy()) for name in PARTS}
    log_mel = dump_settings(LOG_MEL_SETTINGS)
    metadata = {
        "umc_version": __version__,
        "log_mel": log_mel,
        "strength": transport.strength,
        **about,
    }
    write_checkpoint(path, tensors, metadata)


def _read(path: Path, about: Mapping[str, object]) -> Transport | None:
    """Return the map in a file; None where there is none, or it is broken or made from other things."""
    try:
        arrays, metadata = read_arrays(path) if path.exists() else ({}, {})
    except SettingsError:
        return None
    if not arrays or any(metadata.get(key) != value for key, value in about.items()):
        return None
    return _transport(arrays, metadata.get("strength"))


def _transport(arrays: Mapping[str, Levels], strength: object) -> Transport | None:
    n_values = LOG_MEL_SETTINGS.n_mels * LOG_MEL_SETTINGS.n_frames
    size = len(arrays["components"]) if "components" in arrays else 0
    shapes = {"origin": (n_values,), "components": (size, n_values), "matrix": (size, size), "shift": (n_values,)}
    shapes |= {"lowest": (size,), "highest": (size,)}
    if {name: array.shape for name, array in arrays.items()} != shapes or not isinstance(strength, float):
        return None
    parts = {name: arrays[name].astype(np.float32, copy=False) for name in PARTS}
    return Transport(**parts, strength=strength) if all(np.isfinite(one).all() for one in parts.values()) else None
