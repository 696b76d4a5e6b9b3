"""Segments that several devices recorded at once: from files that are laid beside each other, or from a data folder."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.files import read_header, read_samples
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.manifest import Clip, FailedInput, for_converters
from umc_cli.conversion.converter_training.adaptation import Together
from umc_cli.errors import InputError
from umc_cli.response.side_by_side import Alignment, align
from umc_cli.response.window_lags import lag_of_clip
from umc_cli.splits import FOR_CONVERTERS

MOST_SEGMENTS = 1_300
"""Ten minutes of segments that overlap by half."""
LONGEST_S = 3_600.0
_HOP = SEGMENT_SAMPLES // 2
_HELD_OUT_EVERY, _FIRST_HELD_OUT = 5, 2
_SHORTEST_BLOCK, _LONGEST_BLOCK = 2 * SEGMENT_SAMPLES, 15 * SAMPLE_RATE_HZ
_BLOCKS = 10
_FULL_SCALE = 0.97
_MOST_CLIPPED = 10
"""Samples of a segment: what is louder than the recorder could write is no truth of the device's response."""
_CLIPPED_SHARE = 0.05
"""Of a recording: more is refused."""
_MOST_LAG = SAMPLE_RATE_HZ // 2
"""Between clips of one recording in a data folder."""
_SAME_START = 882
"""40 ms: less is what reflections make of the lag, and sound of its way."""
_ASKED_FOR_LAGS = 32
_MANY_RECORDINGS = 10

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class FoundPair:
    """Where a device's file lies beside one of the reference's."""

    device: str
    file: str
    reference_file: str
    offset_s: float
    """How much later the device's file holds the same sound, where the common part begins."""
    drift_ppm: float
    common_s: float
    lost_s: float
    """Cut out of the common part."""
    n_jumps: int


@dataclass
class Material:
    """What was found."""

    together: Together
    files: dict[str, list[Path]]
    """Those used, by device."""
    pairs: list[FoundPair] = field(default_factory=list)
    failed: list[FailedInput] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def seconds(self, held_out: bool) -> float:
        """Return how long the segments are that are learned from, or held out; what overlaps counts once."""
        count = len(self.together.rows([0], held_out))
        return round(count * _HOP / SAMPLE_RATE_HZ, 1)


@dataclass
class _Rows:
    """Segments as they are collected: one row for all devices."""

    devices: tuple[str, ...]
    levels: list[torch.Tensor] = field(default_factory=list)
    is_there: list[NDArray[np.bool_]] = field(default_factory=list)
    is_held_out: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, by_device: Mapping[str, tuple[NDArray[np.bool_], torch.Tensor]], held_out: NDArray[np.bool_]) -> None:
        """Add rows: for each device which of them it holds, and those."""
        shape = (len(self.devices), len(held_out), LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)
        levels, there = torch.zeros(shape, dtype=torch.float16), np.zeros(shape[:2], bool)
        for device, (holds, own) in by_device.items():
            index = self.devices.index(device)
            there[index] = holds
            levels[index, torch.from_numpy(holds)] = own.half()
        self.levels.append(levels)
        self.is_there.append(there)
        self.is_held_out.append(held_out)

    def together(self) -> Together:
        """Return all rows."""
        if not self.levels:
            empty = torch.zeros(len(self.devices), 0, LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)
            return Together(self.devices, empty.half(), np.zeros((len(self.devices), 0), bool), np.zeros(0, bool))
        return Together(
            self.devices,
            torch.cat(self.levels, dim=1),
            np.concatenate(self.is_there, axis=1),
            np.concatenate(self.is_held_out),
        )


def read_side_by_side(
    files: Mapping[str, Sequence[Path]], reference: str, say: Callable[[str], None] = lambda text: None
) -> Material:
    """Lay the devices' files beside those of `reference` and return the segments that they hold together.

    Files of a device belong to the reference's in order; a single one belongs to all of the other side. A fifth of the
    time, in blocks of 2 to 15 s, is held out.

    Raises:
        InputError: a file of the reference cannot be read, or none of the devices' holds the same sounds.
    """
    devices = (reference, *(device for device in files if device != reference))
    material = Material(_Rows(devices).together(), defaultdict(list))
    rows = _Rows(devices)
    of_a_session = max(1, MOST_SEGMENTS // len(files[reference]))
    errors: list[InputError] = []
    for number, reference_file in enumerate(files[reference]):
        say(f"reading {reference_file}")
        samples = _read(reference_file)
        found: dict[str, list[tuple[Samples, Alignment]]] = defaultdict(list)
        for device in devices[1:]:
            for file in _beside(files[device], number, len(files[reference])):
                say(f"aligning {file} with {reference_file}")
                try:
                    own = _read(file)
                    alignment = _aligned(samples, own, reference_file, file)
                except InputError as error:
                    errors.append(error)
                    material.failed.append(FailedInput(str(file), error.message, error.hint))
                    continue
                found[device].append((own, alignment))
                material.pairs.append(_found_pair(device, file, reference_file, alignment))
                _remember(material.files, device, file)
        if found:
            _remember(material.files, reference, reference_file)
            _collect(rows, reference, samples, found, of_a_session, material.warnings)
    if errors and not material.pairs:
        raise errors[0]
    material.together = rows.together()
    return material


def read_from_data(clips: Sequence[Clip], reference: str) -> Material:
    """Return the segments of clips that converters may learn from and that share a recording with one of `reference`.

    Clips of one recording are aligned to within half a second: the lag that is usual between two devices is
    taken out, or that of a clip which began at another time. Every fifth recording is held out; of fewer than ten, a
    fifth of the segments. Of recordings with several files on a device none is taken.

    Raises:
        InputError: no recording is shared.
    """
    by_recording: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in for_converters(clips):
        by_recording[clip.recording][clip.device].append(clip)
    single = {
        name: {device: own[0] for device, own in of.items() if len(own) == 1}
        for name, of in by_recording.items()
        if len(of.get(reference, ())) == 1
    }
    shared = sorted((name for name, of in single.items() if len(of) > 1), key=_hash)
    if not shared:
        raise InputError(
            f"no recording in split {FOR_CONVERTERS} was made by {reference!r} and another device",
            "give the files of both devices the same name, or the same `recording` in the manifest",
        )
    others = sorted({device for name in shared for device in single[name]} - {reference})
    rows = _Rows((reference, *others))
    material = Material(rows.together(), defaultdict(list))
    usual = _usual_lags([single[name] for name in shared[:_ASKED_FOR_LAGS]], reference)
    taken = 0
    for number, name in enumerate(shared):
        if taken >= MOST_SEGMENTS:
            break
        samples: dict[str, Samples] = {}
        for device, clip in single[name].items():
            try:
                samples[device] = _read(clip.path)
            except InputError as error:
                material.failed.append(FailedInput(clip.file, error.message, error.hint))
        if reference not in samples or len(samples) < 2:
            continue
        by_device, count = _in_step(samples, reference, usual)
        if not count:
            continue
        # Of a few recordings, parts are held out instead: four segments that overlap by half.
        turns = np.full(count, number) if len(shared) >= _MANY_RECORDINGS else (taken + np.arange(count)) // 4
        held_out = turns % _HELD_OUT_EVERY == _FIRST_HELD_OUT
        if len(shared) < _MANY_RECORDINGS:  # what overlaps with the other side is left out
            beside = np.concatenate([[False], held_out[1:] != held_out[:-1]])
            by_device = {
                device: (holds & ~beside, own[torch.from_numpy(~beside[holds])])
                for device, (holds, own) in by_device.items()
            }
        rows.add(by_device, held_out)
        taken += count
        for device in by_device:
            material.files[device].append(single[name][device].path)
    material.together = rows.together()
    return material


def _usual_lags(recordings: Sequence[Mapping[str, Clip]], reference: str) -> dict[str, int]:
    """Return the median lag of each device's clips behind those of the reference, in samples."""
    lags: dict[str, list[int]] = defaultdict(list)
    for clips in recordings:
        try:
            samples = {device: _read(clip.path) for device, clip in clips.items()}
        except InputError:  # noted when it is read for good
            continue
        for device, own in samples.items():
            lag = lag_of_clip(samples[reference], own, _MOST_LAG)
            if lag is not None:
                lags[device].append(lag)
    return {device: int(np.median(found)) for device, found in lags.items()}


def _lag(reference: Samples, own: Samples, usual: int) -> int:
    """Return the lag of a clip: the usual one, unless it clearly began at another time."""
    lag = lag_of_clip(reference, own, _MOST_LAG)
    return usual if lag is None or abs(lag - usual) <= _SAME_START else lag


def _in_step(
    samples: Mapping[str, Samples], reference: str, usual: Mapping[str, int]
) -> tuple[dict[str, tuple[NDArray[np.bool_], torch.Tensor]], int]:
    """Return the whole segments that all devices hold of one recording, lags taken out, and how many there are."""
    lags = {
        device: 0 if device == reference else _lag(samples[reference], own, usual.get(device, 0))
        for device, own in samples.items()
    }
    first = max(0, *(-lag for lag in lags.values()))
    length = min(len(own) - first - lags[device] for device, own in samples.items())
    starts = range(first, first + length - SEGMENT_SAMPLES + 1, _HOP)
    by_device = {}
    for device, own in samples.items():
        own_starts = [start + lags[device] for start in starts]
        unclipped = np.array([not _is_clipped(own, start) for start in own_starts], bool)
        by_device[device] = unclipped, _log_mel(own, [s for s, good in zip(own_starts, unclipped, strict=True) if good])
    return by_device, len(starts)


def _beside(files: Sequence[Path], number: int, count: int) -> Sequence[Path]:
    """Return the files of a device that belong beside the reference's file `number` of `count`."""
    return files if count == 1 else files[:1] if len(files) == 1 else files[number : number + 1]


def _read(path: Path) -> Samples:
    try:
        header = read_header(path)
        if header.n_samples > LONGEST_S * SAMPLE_RATE_HZ:
            raise InputError("is longer than an hour", "keep only the part that both devices recorded")
        samples = read_samples(path, header, 0, header.n_samples)
        if not samples.any():
            raise InputError("is silent: every sample is zero", "check the microphone and record again")
        clipped = float(np.mean(np.abs(samples) >= _FULL_SCALE))
        if clipped > _CLIPPED_SHARE:
            raise InputError(
                f"is clipped: {clipped:.0%} of its samples are at full scale",
                "record again, farther away or at a lower level",
            )
    except InputError as error:
        raise InputError(f"{path} {error.message}", error.hint) from error
    return samples


def _aligned(reference: Samples, device: Samples, reference_file: Path, file: Path) -> Alignment:
    try:
        return align(reference, device)
    except InputError as error:
        raise InputError(f"{reference_file} and {file} {error.message}", error.hint) from error


def _found_pair(device: str, file: Path, reference_file: Path, alignment: Alignment) -> FoundPair:
    first = alignment.stretches[0]
    return FoundPair(
        device=device,
        file=str(file),
        reference_file=str(reference_file),
        offset_s=round((first.lag + alignment.drift_ppm * 1e-6 * first.start) / SAMPLE_RATE_HZ, 4),
        drift_ppm=alignment.drift_ppm,
        common_s=round(alignment.common_s, 2),
        lost_s=alignment.lost_s,
        n_jumps=alignment.n_jumps,
    )


def _collect(
    rows: _Rows,
    reference: str,
    samples: Samples,
    found: Mapping[str, Sequence[tuple[Samples, Alignment]]],
    most: int,
    warnings: list[str],
) -> None:
    """Add the segments of one of the reference's files, and of what lies beside it."""
    grid = range(0, len(samples) - SEGMENT_SAMPLES + 1, _HOP)
    places: dict[str, dict[int, tuple[Samples, int]]] = {device: {} for device in found}
    n_clipped = 0
    for start in grid:
        is_clipped = _is_clipped(samples, start)
        for device, own_files in found.items():
            for own, alignment in own_files:
                place = alignment.device_start(start, SEGMENT_SAMPLES)
                if place is None or not 0 <= place <= len(own) - SEGMENT_SAMPLES:
                    continue
                if is_clipped or _is_clipped(own, place):
                    n_clipped += 1
                    continue
                places[device].setdefault(start, (own, place))
    starts = sorted(set().union(*places.values()))
    if n_clipped:
        warnings.append(f"{n_clipped} segments are left out because a recording is clipped there")
    learned, held_out = _divided(starts)
    starts = sorted([*learned, *held_out])
    starts = (
        [
            starts[index]
            for index in np.unique(np.linspace(0, len(starts) - 1, min(most, len(starts))).round()).astype(int)
        ]
        if starts
        else []
    )
    by_device = {}
    for device, own_places in places.items():
        holds = np.array([start in own_places for start in starts], bool)
        segments = [own_places[start] for start in starts if start in own_places]
        by_device[device] = holds, _log_mel_of([own[place : place + SEGMENT_SAMPLES] for own, place in segments])
    by_device[reference] = np.ones(len(starts), bool), _log_mel(samples, starts)
    rows.add(by_device, np.array([start in held_out for start in starts], bool))


def _divided(starts: Sequence[int]) -> tuple[set[int], set[int]]:
    """Return the segments to learn from and those held out, whole blocks of time; what touches both is left out."""
    if not starts:
        return set(), set()
    first = starts[0]
    span = starts[-1] + SEGMENT_SAMPLES - first
    block = int(np.clip(span / _BLOCKS, _SHORTEST_BLOCK, _LONGEST_BLOCK))

    def is_held_out(sample: int) -> bool:
        return ((sample - first) // block) % _HELD_OUT_EVERY == _FIRST_HELD_OUT

    ends = {start: {is_held_out(start), is_held_out(start + SEGMENT_SAMPLES - 1)} for start in starts}
    return {s for s, both in ends.items() if both == {False}}, {s for s, both in ends.items() if both == {True}}


def _is_clipped(samples: Samples, start: int) -> bool:
    return int((np.abs(samples[start : start + SEGMENT_SAMPLES]) >= _FULL_SCALE).sum()) >= _MOST_CLIPPED


def _log_mel(samples: Samples, starts: Sequence[int]) -> torch.Tensor:
    return _log_mel_of([samples[start : start + SEGMENT_SAMPLES] for start in starts])


def _log_mel_of(segments: Sequence[Samples]) -> torch.Tensor:
    if not segments:
        return torch.zeros(0, LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)
    return log_mel(torch.from_numpy(np.stack(segments)))


def _remember(files: dict[str, list[Path]], device: str, file: Path) -> None:
    if file not in files[device]:
        files[device].append(file)


def without_device(together: Together, device: str) -> Together:
    """Return the segments without one device."""
    kept = [index for index, name in enumerate(together.devices) if name != device]
    return replace(
        together,
        devices=tuple(together.devices[index] for index in kept),
        log_mel=together.log_mel[kept],
        is_there=together.is_there[kept],
    )


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
