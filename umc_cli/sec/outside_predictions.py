"""Predictions of classifiers that were trained elsewhere: read from tables, held against the recordings, scored alike.

One row is one prediction: of a recording, or of a part of one where `start_s` tells parts apart. See
docs/commands/eval.md.
"""

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from umc_cli.audio.manifest import Clip, recording_name
from umc_cli.audio.manifest_table import TableKind, table_rows
from umc_cli.audio.names import plain_name, plain_path
from umc_cli.config import Workspace, means_all
from umc_cli.errors import SettingsError, guess
from umc_cli.evaluation.macro_f1 import Predictions
from umc_cli.sec.models import SecModel, some

_SCORES = "scores:"
_OF_MODEL = ("model", "source", "method", "seed")
_KIND = TableKind(
    "predictions",
    (),
    ("path", "recording", "device", "label", "predicted", "start_s", *_OF_MODEL),
    takes_objects=True,
)
_MOST_NAMED = 5


@dataclass(frozen=True)
class KnownRecordings:
    """What the rows of a table are held against."""

    folder: Path
    """Where relative paths start."""
    clips: Sequence[Clip]
    split: str
    """Rows of recordings in other splits are passed over."""
    devices: Collection[str]
    """Devices that are scored: each must have predictions. All of these have recordings in the split."""


@dataclass(frozen=True, order=True)
class Unit:
    """What one prediction is of."""

    recording: str
    path: str
    """Empty where the row names the recording alone."""
    start: str
    """First second, as the row has it; empty where it has none."""


@dataclass(frozen=True)
class OutsideModel:
    """A classifier of which nothing is known but what it said."""

    model: SecModel
    devices: Mapping[str, Predictions]
    """In the order of `units`."""
    units: Mapping[str, tuple[Unit, ...]]
    """By device, in order."""


@dataclass(frozen=True)
class _Row:
    line: int
    device: str
    unit: Unit
    true: str
    predicted: str


@dataclass
class _Table:
    """The rows of one model of one file."""

    path: Path
    name: str
    source: str
    method: str
    seed: str
    rows: dict[tuple[str, Unit], _Row] = field(default_factory=dict)


def read_outside_models(
    paths: Iterable[Path],
    known: KnownRecordings | None,
    source: str | None,
    devices: Sequence[str],
    warnings: list[str],
) -> list[OutsideModel]:
    """Return the models whose predictions the tables hold, with classes that all of them share.

    `known`: None where there are no recordings: then every row must say device and label. `source`: of tables that do
    not say on which device their model was trained. `devices`: those that are scored, or all.

    Raises:
        SettingsError: a table cannot be read, or a row of it cannot be scored, is there twice, or is of an unknown
            recording; or a device lacks predictions.
    """
    tables = [table for path in dict.fromkeys(paths) for table in _read(path, known, source, warnings)]
    tables = [table for table in tables if source in (None, table.source)]
    if known is None and not means_all(devices):
        for table in tables:
            _keep_devices(table, devices)
    if not tables:
        raise SettingsError(f"no predictions of a model that was trained on {source!r}", "leave --source out")
    names = [table.name for table in tables]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(
            f"two tables hold predictions of a model {twice[0]!r}", "rename a file, or tell them apart in column model"
        )
    labels = {label for table in tables for row in table.rows.values() for label in (row.true, row.predicted)}
    classes = tuple(sorted(labels))
    return [_model(table, classes) for table in tables]


def check_comparable(first: OutsideModel | None, second: OutsideModel | None, names: tuple[str, str]) -> None:
    """Refuse to compare models that did not predict the same. None: a model that classifies segments itself.

    Raises:
        SettingsError: only one of them comes from a table, or they predicted different recordings or parts.
    """
    if first is None and second is None:
        return
    if first is None or second is None:
        table = names[1] if first is None else names[0]
        raise SettingsError(
            f"{names[0]} and {names[1]} cannot be compared: {table} holds predictions by its own rows, the other model "
            "is scored by segments of 929 ms",
            "compare two tables, or two runs",
        )
    for device in first.units.keys() & second.units.keys():
        differing = sorted(set(first.units[device]) ^ set(second.units[device]))
        if differing:
            raise SettingsError(
                f"{names[0]} and {names[1]} cannot be compared: on {device} only one of them has a prediction of "
                f"{_words(differing[0])}" + (f" and {len(differing) - 1} more" if len(differing) > 1 else ""),
                "give both the same rows",
            )


def _model(table: _Table, classes: tuple[str, ...]) -> OutsideModel:
    number_of = {name: number for number, name in enumerate(classes)}
    by_device: dict[str, list[_Row]] = defaultdict(list)
    for row in table.rows.values():
        by_device[row.device].append(row)
    devices, units = {}, {}
    for device in sorted(by_device):
        rows = sorted(by_device[device], key=lambda row: row.unit)
        devices[device] = Predictions(
            np.array([number_of[row.true] for row in rows], dtype=np.intp),
            np.array([number_of[row.predicted] for row in rows], dtype=np.intp),
            tuple(row.unit.recording for row in rows),
        )
        units[device] = tuple(row.unit for row in rows)
    sha256 = hashlib.sha256(table.path.read_bytes()).hexdigest()
    training = {"predictions": str(table.path)} | ({"seed": table.seed} if table.seed else {})
    model = SecModel(table.name, str(table.path), sha256, table.source, table.method, classes, training)
    return OutsideModel(model, devices, units)


def _read(path: Path, known: KnownRecordings | None, source: str | None, warnings: list[str]) -> list[_Table]:
    """Return the tables of one file, one for each model."""
    find = _Finder(known)
    tables: dict[str, _Table] = {}
    problems: list[str] = []
    for line, cells in table_rows(path, _KIND):
        if isinstance(cells, tuple):
            problems.append(f"line {line} {cells[0]}")
            continue
        cells = {column: plain_name(value) for column, value in cells.items()}
        name = cells.get("model") or path.stem
        of_model = (cells.get("source") or source or "", cells.get("method") or name, cells.get("seed", ""))
        table = tables.setdefault(name, _Table(path, name, *of_model))
        try:
            if of_model != (table.source, table.method, table.seed):
                raise _RowError(f"gives the model {name!r} another source, method or seed than a line before")
            row = find.row(line, cells)
            if row is None:
                continue
            earlier = table.rows.setdefault((row.device, row.unit), row)
            if earlier is not row:
                raise _RowError(
                    f"is a second prediction of {_words(row.unit)} on {row.device}, after line {earlier.line}"
                )
        except _RowError as error:
            problems.append(f"line {line} {error}")
    if problems:
        more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise SettingsError(
            f"predictions {path} cannot be scored: {'; '.join(problems[:_MOST_NAMED])}{more}",
            "fix these lines, or leave them out; the columns are in docs/commands/eval.md#predictions-of-other-models",
        )
    if not tables or not any(table.rows for table in tables.values()):
        in_split = f" of a recording in split {known.split}" if known else ""
        raise SettingsError(f"predictions {path} hold no row{in_split}", "name another file, or another --split")
    for table in tables.values():
        _check_coverage(table, known, warnings)
    if find.n_of_other_splits:
        warnings.append(f"{path}: rows of recordings in other splits do not count: {find.n_of_other_splits}")
    return list(tables.values())


def _check_coverage(table: _Table, known: KnownRecordings | None, warnings: list[str]) -> None:
    if known is None:
        return
    every = {clip.device for clip in known.clips}
    if table.source and table.source not in every:
        raise SettingsError(
            f"predictions {table.path} say that model {table.name!r} was trained on an unknown device {table.source!r}",
            f"{guess(table.source, every)}there are recordings of: {', '.join(sorted(every))}",
        )
    given: dict[str, set[str]] = defaultdict(set)
    for row in table.rows.values():
        given[row.device].add(row.unit.recording)
    missing = sorted(set(known.devices) - given.keys())
    if missing:
        raise SettingsError(
            f"predictions {table.path} of model {table.name!r} have no row of {some(missing)}, which "
            f"{'has' if len(missing) == 1 else 'have'} recordings in split {known.split}",
            f"add them, or score other devices alone: --devices {','.join(sorted(given)) or 'DEVICE'}",
        )
    for device in sorted(known.devices):
        wanted = {clip.recording for clip in known.clips if clip.device == device and clip.role == known.split}
        if left_out := sorted(wanted - given[device]):
            warnings.append(
                f"{table.name} says nothing of {len(left_out)} of {len(wanted)} recordings of {device}, such as "
                f"{some(left_out, 3)}: its score there is of the others alone"
            )


def _keep_devices(table: _Table, devices: Sequence[str]) -> None:
    """Leave out rows of other devices, where the table alone says which there are."""
    there = {device for device, _ in table.rows}
    for device in devices:
        if device not in there:
            raise SettingsError(
                f"predictions {table.path} of model {table.name!r} have no row of {device!r}",
                f"{guess(device, there)}there are rows of: {', '.join(sorted(there))}",
            )
    table.rows = {key: row for key, row in table.rows.items() if row.device in devices}


class _RowError(Exception):
    """What is wrong with a row, as the end of a sentence that begins with its line."""


class _Finder:
    """Finds the recording that a row is of, and what is true of it."""

    def __init__(self, known: KnownRecordings | None) -> None:
        self._known = known
        self.n_of_other_splits = 0
        self._by_path: dict[str, Clip] = {}
        self._by_recording: dict[tuple[str, str], list[Clip]] = defaultdict(list)
        for clip in known.clips if known else ():
            self._by_path[plain_path(clip.file)] = clip
            self._by_recording[clip.device, clip.recording].append(clip)

    def row(self, line: int, cells: Mapping[str, str]) -> _Row | None:
        """Return what a row says; None where it does not count."""
        predicted = _predicted(cells)
        start = _start(cells.get("start_s", ""))
        path, recording, device = (cells.get(name, "") for name in ("path", "recording", "device"))
        if not path and not recording:
            raise _RowError("names neither path nor recording")
        if self._known is None:
            label = cells.get("label", "")
            for name, value in (("device", device), ("label", label)):
                if not value:
                    raise _RowError(f"has no {name}, which nothing else says: there are no recordings here")
            unit = Unit(recording or recording_name(path), path, start)
            return _Row(line, device, unit, label, predicted)
        clip = self._clip(path, recording, device)
        for name, given, own in (
            ("device", device, clip.device), ("label", cells.get("label", ""), clip.label),
            ("recording", recording, clip.recording),
        ):  # fmt: skip
            if given and given != own:
                raise _RowError(f"says {name} {given!r}, but the recording has {own!r}")
        if clip.role != self._known.split:
            self.n_of_other_splits += 1
            return None
        if clip.device not in self._known.devices:
            return None
        is_file_known = path or len(self._by_recording[clip.device, clip.recording]) == 1
        file = os.path.relpath(clip.file, self._known.folder) if is_file_known else ""
        unit = Unit(clip.recording, file, start)
        return _Row(line, clip.device, unit, clip.label, predicted)

    def _clip(self, path: str, recording: str, device: str) -> Clip:
        assert self._known is not None
        if path:
            for folder in (self._known.folder, self._known.folder.parent):
                clip = self._by_path.get(plain_path(os.path.normpath(folder / path)))
                if clip:
                    return clip
            raise _RowError(f"is of an unknown recording: there is no {path!r} in {self._known.folder}")
        if not device:
            raise _RowError(f"does not say on which device {recording!r} was recorded")
        clips = self._by_recording.get((device, recording))
        if not clips:
            devices = {name for name, _ in self._by_recording}
            if device not in devices:
                raise _RowError(f"is of an unknown device {device!r}; {guess(device, devices)}".rstrip("; "))
            own = {name for of_device, name in self._by_recording if of_device == device}
            raise _RowError(
                f"is of an unknown recording {recording!r} of {device}; {guess(recording, own)}".rstrip("; ")
            )
        if len({clip.label for clip in clips}) > 1:
            raise _RowError(f"means several files of {recording!r} with different labels: name the path")
        return clips[0]


def _predicted(cells: Mapping[str, str]) -> str:
    """Return the label that a row predicts: the one it names, or the one with the highest score."""
    named = cells.get("predicted", "")
    scores = {column.removeprefix(_SCORES): value for column, value in cells.items() if column.startswith(_SCORES)}
    if named or not any(scores.values()):
        if not named:
            raise _RowError("has neither a predicted label nor scores")
        return named
    values = dict(_numbers(scores))
    highest = max(values.values())
    best = [label for label, value in values.items() if value == highest]
    if len(best) > 1:
        raise _RowError(f"has the same highest score for {some(best)}: name the predicted label")
    return plain_name(best[0])


def _numbers(scores: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for label, text in scores.items():
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise _RowError(f"has the score {text!r} for {label!r}, which is not a number")
        yield label, value


def _start(text: str) -> str:
    """Return the first second of a part in one spelling."""
    if not text:
        return ""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise _RowError(f"has start_s {text!r}, which is not a number of seconds")
    return f"{seconds:015.6f}"


def _words(unit: Unit) -> str:
    part = f" from {float(unit.start):g} s" if unit.start else ""
    return f"{unit.path or unit.recording!r}{part}"


def known_recordings(
    workspace: Workspace, clips: Sequence[Clip], split: str, devices: Sequence[str]
) -> KnownRecordings | None:
    """Return what predictions are held against; None where the workspace has no recordings.

    Raises:
        SettingsError: a named device has no recordings in the split.
    """
    if not clips:
        return None
    in_split = {clip.device for clip in clips if clip.role == split}
    chosen = sorted(in_split) if means_all(devices) else list(dict.fromkeys(devices))
    for device in chosen:
        if device not in in_split:
            raise SettingsError(
                f"no recordings of {device!r} in split {split}",
                f"{guess(device, in_split)}there are recordings of: {', '.join(sorted(in_split)) or 'no device'}",
            )
    return KnownRecordings(workspace.data, clips, split, chosen)
