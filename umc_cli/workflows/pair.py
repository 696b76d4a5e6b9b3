"""`umc pair`: devices that lay side by side and recorded the same sounds become records and an adapted refiner."""

import hashlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.channel_mix import mix_warnings
from umc_cli.audio.manifest import find_recordings
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.known import find_weights
from umc_cli.conversion.chosen.weights_in_words import weights_in_words
from umc_cli.conversion.converter_training.adaptation import (
    AdaptationSettings,
    DeviceKnowledge,
    Together,
    adapt,
    known_of,
    level_table_db,
    measure,
)
from umc_cli.conversion.converter_training.side_by_side import (
    FoundPair,
    Material,
    read_from_data,
    read_side_by_side,
    without_device,
)
from umc_cli.conversion.level_quantiles import LevelQuantiles
from umc_cli.conversion.level_tables import write_level_tables
from umc_cli.conversion.refiner_checkpoint import load_refiner, save_refiner
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.side_by_side_results import ADAPTED, WEIGHTS_NAME, folder_for
from umc_cli.errors import InputError, SettingsError, did_you_mean
from umc_cli.response.device import Device, DeviceRegistry, SourceFile, check_device_id, write_device
from umc_cli.response.paired_record import completed, flat_reference, relative_record, what_is_missing
from umc_cli.response.paired_response import paired_response
from umc_cli.response.source_files import source_file, source_of_recordings
from umc_cli.runtime import compute_threads, cpu_count, explain_machine_faults, has_bf16_units, utc_now
from umc_cli.settings.pair import PairSettings
from umc_cli.workflows.report_base import Report

LEAST_SEGMENTS = 6
"""To learn from, of each device."""
LEAST_HELD_OUT_S = 1.0
"""Of less, no difference between weights can be told."""
ENOUGH_S = 8.0
"""To learn from: of less, records and tables say more of the sounds than of the devices."""
COMPARED = ("refiner", "refiner_quantile")


class PairProgress(Protocol):
    """What is shown while a minute of sound becomes weights."""

    def say(self, text: str) -> None:
        """Show a line."""

    def start(self, done: int, total: int) -> None:
        """Begin to count training steps."""

    def stepped(self, step: int) -> None:
        """Count."""

    def logged(self, row: Mapping[str, float]) -> None:
        """Show how the training goes."""

    def should_stop(self) -> bool:
        """Tell whether Ctrl-C was pressed."""


@dataclass
class PairReport(Report):
    """What was found, measured and written."""

    reference: str
    devices: list[str]
    """The reference first."""
    pairs: list[FoundPair] = field(default_factory=list)
    """Of files; none with --from-data."""
    learned_s: float = 0.0
    held_back_s: float = 0.0
    distances: list[dict[str, Any]] = field(default_factory=list)
    """For each ordered pair of devices: log-spectral distance in dB on what was held out, by converter; before and
    after for the refiners."""
    before_db: float | None = None
    """Mean over pairs and both refiners, with the weights that were there."""
    after_db: float | None = None
    is_kept: bool = False
    """The adapted weights are nearer, and were written."""
    base: str = ""
    """The weights that were there, in words."""
    weights: str | None = None
    tables: str = ""
    records: list[str] = field(default_factory=list)
    """Files written."""


@explain_machine_faults("give shorter recordings")
def pair(workspace: Workspace, settings: PairSettings, named: Sequence[str], progress: PairProgress) -> PairReport:
    """Learn from recordings of the same sounds at once. `named`: `DEVICE=FILE`; none with `settings.from_data`.

    Records, level tables and weights are learned from four fifths of the time, and measured on the rest; what is
    measured is what is written. Nothing is written before all of it is measured.

    Raises:
        SettingsError: devices or files make no sense, or something is there that may not be replaced.
        InputError: the recordings do not hold the same sounds, or too little.
        EnvironmentFault: a file cannot be written.
        KeyboardInterrupt: `progress` asked to stop; nothing was written.
    """
    started = time.monotonic()
    registry = DeviceRegistry(workspace.devices)
    own = frozenset(registry.own_ids())
    if settings.from_data:
        if named:
            raise SettingsError("files and --from-data cannot be combined", "give one of them")
        check_device_id(settings.reference_device)
        progress.say(f"reading the recordings in {workspace.data}")
        found = find_recordings(workspace.data, workspace.splits)
        material = read_from_data(found.clips, settings.reference_device)
        material.failed = [*found.failed, *material.failed]
    else:
        files = _read_names(named, settings.reference_device)
        if not settings.overwrite:
            _refuse_existing(files.keys() - {settings.reference_device}, own)
        material = read_side_by_side(files, settings.reference_device, progress.say)
    material.warnings += mix_warnings(material.files.values())
    together = _enough(material)
    report = PairReport(
        settings.reference_device,
        list(together.devices),
        pairs=material.pairs,
        failed=material.failed,
        warnings=material.warnings,
        learned_s=material.seconds(held_out=False),
        held_back_s=material.seconds(held_out=True),
    )
    folder = folder_for(workspace, together.devices)
    if folder.exists() and not settings.overwrite:
        raise SettingsError(
            f"{' and '.join(together.devices)} were paired before: {folder} exists", "use --overwrite to replace it"
        )
    records, new = _records(registry, own, settings, material)
    learned = [together.rows([index], held_out=False) for index in range(len(records))]
    tables_db = [level_table_db(together.levels(index, rows)) for index, rows in enumerate(learned)]
    known = known_of(records, tables_db)
    there = folder / WEIGHTS_NAME
    base_path = find_weights(workspace, None).refiner
    base, rival_path = load_refiner(base_path), there if there.is_file() else base_path
    report.base = weights_in_words(rival_path)
    with compute_threads(cpu_count()):
        progress.say("measuring the current weights on the segments held out")
        before = measure(load_refiner(rival_path).refiner, together, known)
        adapted = _adapt(base.refiner, together, known, settings, progress)
        after = measure(adapted, together, known)
    _note_distances(report, before, after)
    report.is_kept = report.after_db is not None and report.before_db is not None and report.after_db < report.before_db
    if not before or report.held_back_s < LEAST_HELD_OUT_S:
        report.is_kept = False
        report.warnings.append(
            f"only {report.held_back_s:g} s could be held out to measure on, at least {LEAST_HELD_OUT_S:g} s are "
            "needed: the adapted weights are not kept; record for a minute"
        )
    elif not report.is_kept:
        report.warnings.append(
            f"on the segments held out, the adapted weights are not nearer ({report.after_db:.2f} dB, "
            f"{report.before_db:.2f} before), so they are not kept; records and level tables are"
        )
    if report.learned_s < ENOUGH_S:
        report.warnings.append(
            f"the records and level tables were learned from only {report.learned_s:g} s, so they tell more about the "
            "sounds than about the devices; record for a minute"
        )
    about = _provenance(settings, material, report, base.sha256)
    tables = {
        device: LevelQuantiles(table, len(rows), {"side by side": len(rows)}, 0)
        for device, table, rows in zip(together.devices, tables_db, learned, strict=True)
    }
    report.tables = str(write_level_tables(folder, tables, about["files_sha256"]))
    if report.is_kept:
        training = {
            "name": f"side by side: {', '.join(together.devices)}",
            "step": settings.steps,
            "date": utc_now(),
            ADAPTED: about,
        }
        save_refiner(there, adapted, training)
        report.weights = str(there)
    for record in new:
        if record.id in DeviceRegistry() and record.id not in own:
            report.warnings.append(
                f"the package's library has a device {record.id!r} too: in this workspace the new record replaces it"
            )
        report.records.append(str(write_device(record, workspace.devices)))
    report.seconds = round(time.monotonic() - started, 2)
    return report


def _adapt(
    start: Refiner, together: Together, known: DeviceKnowledge, settings: PairSettings, progress: PairProgress
) -> Refiner:
    def stepped(step: int, losses: Mapping[str, float]) -> None:
        if progress.should_stop():
            raise KeyboardInterrupt
        progress.stepped(step)
        progress.logged({"step": step, **losses})

    of_training = AdaptationSettings(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        bf16=has_bf16_units(torch.device("cpu")),
    )
    progress.start(0, settings.steps)
    return adapt(start, together, known, of_training, stepped)


def _read_names(named: Sequence[str], reference: str) -> dict[str, list[Path]]:
    """Return the files by device, in order."""
    if not named:
        raise SettingsError(
            "no recordings are named", "give them as DEVICE=FILE, for at least two devices, or use --from-data"
        )
    files: dict[str, list[Path]] = {}
    for name in named:
        device, equals, file = name.partition("=")
        if not equals or not file:
            raise SettingsError(f"{name!r} does not say which device recorded it", "write DEVICE=FILE")
        files.setdefault(check_device_id(device), []).append(Path(file))
    if reference not in files:
        raise SettingsError(
            f"there is no recording of the reference device {reference!r}",
            did_you_mean(reference, files, "devices of this call"),
        )
    if len(files) < 2:
        raise SettingsError(
            f"all recordings are of {reference!r}", "also name recordings that another device made at the same time"
        )
    n_reference = len(files[reference])
    for device, own in files.items():
        if 1 != len(own) != n_reference != 1:
            raise SettingsError(
                f"{device} has {len(own)} recordings, but {reference} has {n_reference}",
                "give the same number for both, in the same order, or only one for one of them",
            )
    seen: dict[str, str] = {}
    for device, own in files.items():
        for path in own:
            digest = source_file(path).sha256
            if digest in seen:
                raise SettingsError(
                    f"{device}={path} is the same recording as {seen[digest]}", "give each device's own recording"
                )
            seen[digest] = f"{device}={path}"
    return files


def _refuse_existing(devices: Iterable[str], own: Collection[str]) -> None:
    for device in devices:
        if device in own:
            raise SettingsError(
                f"device {device!r} already has a record",
                "use --overwrite to replace it, or choose another id",
            )


def _enough(material: Material) -> Together:
    """Return the segments of the devices that have enough to learn from.

    Raises:
        InputError: there is only the reference.
    """
    together = material.together
    for device in together.devices[1:]:
        index = together.devices.index(device)
        count = len(together.rows([0, index], held_out=False))
        if count < LEAST_SEGMENTS:
            together = without_device(together, device)
            if device in material.files:  # else its files are listed as failed
                material.warnings.append(
                    f"{device} is left out: it has {count} segments in common, and {LEAST_SEGMENTS} are needed"
                )
    if len(together.devices) < 2:
        raise InputError(
            f"too little to learn from: {'; '.join(material.warnings) or 'no device is left except the reference'}",
            "record with both devices at the same time for a minute",
        )
    material.together = together
    return together


def _records(
    registry: DeviceRegistry, own: frozenset[str], settings: PairSettings, material: Material
) -> tuple[list[Device], list[Device]]:
    """Return the records of all devices, in order, and those among them that are new or changed."""
    together, reference_id = material.together, settings.reference_device
    responses = {}
    for index, device in enumerate(together.devices[1:], start=1):
        rows = together.rows([0, index], held_out=False)
        try:
            response = paired_response(together.levels(0, rows), together.levels(index, rows))
        except InputError as error:
            raise InputError(f"{device} beside {reference_id}: {error.message}", error.hint) from error
        responses[device] = response, len(rows)
    floor_db = np.min([response.reference_floor_db for response, _ in responses.values()], axis=0)
    reference, new = _reference(registry, own, settings, material, floor_db)
    records = [reference]
    for device, (response, n_segments) in responses.items():
        there = registry.get(device) if settings.from_data and device in registry else None
        if there is None or what_is_missing(there):
            if not settings.overwrite:
                _refuse_existing([device], own)
            sources = [_source_files(material, name) for name in (device, reference_id)]
            there = relative_record(device, reference, response, sources, n_segments)
            new.append(there)
        records.append(there)
    return records, new


def _reference(
    registry: DeviceRegistry,
    own: frozenset[str],
    settings: PairSettings,
    material: Material,
    floor_db: NDArray[np.float64],
) -> tuple[Device, list[Device]]:
    """Return the record of the reference, with a level and a noise floor, and that record again if it is new."""
    name = settings.reference_device
    if name not in registry:
        flat = flat_reference(name, _source_files(material, name), floor_db)
        return flat, [flat]
    record = registry.get(name)
    missing = what_is_missing(record)
    if not missing:
        return record, []
    if name in own and not settings.overwrite:
        raise SettingsError(
            f"the record of the reference {name!r} has no {' and no '.join(missing)}",
            "use --overwrite to add what is missing",
        )
    whole = completed(record, floor_db)
    return whole, [whole]


def _source_files(material: Material, device: str) -> SourceFile:
    """Return one entry for the files of a device."""
    paths = material.files[device]
    return source_file(paths[0]) if len(paths) == 1 else source_of_recordings(paths, device)


def _note_distances(
    report: PairReport,
    before: Mapping[tuple[str, str], Mapping[str, float]],
    after: Mapping[tuple[str, str], Mapping[str, float]],
) -> None:
    for (source, target), old in before.items():
        new = after[source, target]
        row: dict[str, Any] = {"source": source, "target": target}
        row |= {name: value for name, value in old.items() if name not in COMPARED}
        for name in COMPARED:
            row[name] = {"before": old[name], "after": new[name]}
        report.distances.append(row)
    if report.distances:
        report.before_db, report.after_db = (
            round(float(np.mean([row[name][when] for row in report.distances for name in COMPARED])), 3)
            for when in ("before", "after")
        )


def _provenance(settings: PairSettings, material: Material, report: PairReport, base_sha256: str) -> dict[str, Any]:
    files = [
        {"device": device, **_source_files(material, device).model_dump(exclude={"origin"})}
        for device in report.devices
    ]
    return {
        "devices": report.devices,
        "reference": report.reference,
        "files": files,
        "files_sha256": hashlib.sha256("\n".join(sorted(one["sha256"] for one in files)).encode()).hexdigest(),
        "seconds": report.learned_s,
        "seconds_held_back": report.held_back_s,
        "base_sha256": base_sha256,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
        "distances_db": report.distances,
        "before_db": report.before_db,
        "after_db": report.after_db,
    }
