"""`umc train-sec --dry-run`: what the training of a classifier would do."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from umc_cli.audio.manifest import Clip
from umc_cli.config import Workspace
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults, training_precision
from umc_cli.settings.train_sec import TrainSecSettings
from umc_cli.training.folder import check_same_recordings, run_path
from umc_cli.training.ranks import reader_threads
from umc_cli.training.segment_counts import count_segments, sample_of
from umc_cli.training.segment_store import segment_bytes, segments_fingerprint
from umc_cli.training.torchrun import refuse_several
from umc_cli.workflows.sec_choice import choose_what_to_train
from umc_cli.workflows.train_sec import (
    HELD_OUT_PART,
    SEGMENTS_NAME,
    TRAIN_PART,
    UNLABELED_PART,
    build_training,
    check_counts,
    parts_of,
    schedule_of,
    stores_waveforms,
)
from umc_cli.workflows.training_dry_run import (
    Beside,
    PlanningProgress,
    TrainingDryRun,
    all_failed,
    begin,
    estimate,
    thrown_away,
)

_BATCHES_TRIED = 4
_HELD_OUT_TRIED = 256


@explain_machine_faults("lower --batch-size")
def train_sec_dry_run(workspace: Workspace, settings: TrainSecSettings, progress: PlanningProgress) -> TrainingDryRun:
    """Return what `train_sec` would do. Writes to a temporary folder only.

    Raises:
        SettingsError: what `train_sec` would refuse.
        EnvironmentFault: the run's folder cannot be made.
    """
    started = time.monotonic()
    refuse_several("umc train-sec --dry-run")
    folder = run_path(workspace, settings.run_name)
    wanted = choose_what_to_train(workspace, settings)
    chosen, plan = wanted.chosen, wanted.plan
    schedule = schedule_of(settings, plan)
    torch_device = compute_device(settings.compute_device)
    devices = sorted({clip.device for clip in chosen.train})
    precision = training_precision(settings.precision, torch_device).value
    report = begin(folder, settings, schedule, settings.method, devices, precision, str(torch_device))
    report.labels = list(chosen.classes)
    parts = parts_of(chosen)
    report.count_splits([clip for part in parts.values() for clip in part])
    progress.planning(report.n_files)
    counts = count_segments(parts, settings.cut, settings.workers or reader_threads())
    report.sound_s = round(counts.sound_s, 1)
    by_device, by_label = Counter[str](), Counter[str]()
    for clip, count in zip(chosen.train, counts.n_segments[TRAIN_PART], strict=True):
        by_device[clip.device] += count
        by_label[clip.label] += count
    n_train, n_held_out = counts.of(TRAIN_PART), counts.of(HELD_OUT_PART)
    n_unlabeled = counts.of(UNLABELED_PART) if chosen.unlabeled else 0
    n_stored = n_train + n_held_out + n_unlabeled
    check_counts([by_label[label] for label in chosen.classes], n_held_out, chosen, settings)
    report.n_segments = {device: by_device[device] for device in report.devices}
    report.n_held_out = {device: n_held_out if device == settings.source else 0 for device in report.devices}
    report.steps_per_epoch = -(-n_train // settings.batch_size)
    fingerprint, is_stored = segments_fingerprint(folder / SEGMENTS_NAME, parts, settings.cut)
    tried = replace(
        chosen,
        train=_some_of_every_label(
            chosen.train, counts.n_segments[TRAIN_PART], _BATCHES_TRIED * settings.batch_size, chosen.classes
        ),
        held_out=sample_of(chosen.held_out, counts.n_segments[HELD_OUT_PART], _HELD_OUT_TRIED),
        unlabeled=sample_of(chosen.unlabeled, counts.n_segments.get(UNLABELED_PART, []), _HELD_OUT_TRIED),
    )
    with thrown_away() as place, compute_threads(cpu_count()):
        building = time.monotonic()
        built = build_training(replace(wanted, chosen=tried), settings, place, torch_device, tables_folder=folder)
        build_s = time.monotonic() - building - built.reading_s
        n_read = sum(len(part.clip) for part in built.store.parts.values())
        read_s = built.reading_s * n_stored / n_read
        if report.run == "resumed":
            check_same_recordings(folder, built.fingerprint_of(fingerprint))
        report.converter, report.targets = built.converted_by["converter"], built.converted_by["targets"]
        report.weights = built.weights
        stored_bytes = n_stored * segment_bytes(settings.cut)
        if stores_waveforms(settings, plan):
            stored_bytes += n_train * segment_bytes(settings.cut, "waveform")
        if settings.shards:
            stored_bytes += n_train * segment_bytes(settings.cut) * len(report.targets)
        beside = Beside(
            read_s=build_s if is_stored else build_s + read_s,
            stored_bytes=0 if is_stored else stored_bytes,
            share_validated=min(1.0, built.n_held_out / n_held_out) if n_held_out else 1.0,
        )
        estimate(report, built.training, schedule, settings.keep, torch_device, beside)
    report.failed = all_failed(chosen.failed, counts.failed, built.store.failed)
    report.warnings = [*chosen.warnings, *report.warnings]
    if settings.silence_gate is not None:
        report.warnings.append("segments that --silence-gate leaves out are counted: only their sound would tell")
    report.seconds = time.monotonic() - started
    return report


def _some_of_every_label(
    clips: Sequence[Clip], n_segments: Sequence[int], most: int, labels: Sequence[str]
) -> list[Clip]:
    some: list[Clip] = []
    for label in labels:
        rows = [row for row, clip in enumerate(clips) if clip.label == label]
        of_label, counts = [clips[row] for row in rows], [n_segments[row] for row in rows]
        some += sample_of(of_label, counts, -(-most * sum(counts) // max(1, sum(n_segments))))
    return some
