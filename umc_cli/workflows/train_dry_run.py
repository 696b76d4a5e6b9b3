"""`umc train --dry-run`: what the training of a generator would do."""

import time

from umc_cli.config import Workspace
from umc_cli.conversion.converter_training.adversarial_training import VALIDATED_SEGMENTS, AdversarialTraining
from umc_cli.conversion.converter_training.training_segments import check_counts, gather_segments, parts_of
from umc_cli.runtime import compute_device, compute_threads, cpu_count, explain_machine_faults, training_precision
from umc_cli.settings.train import TrainSettings
from umc_cli.training.devices import find_training_devices
from umc_cli.training.folder import check_same_recordings, run_path
from umc_cli.training.ranks import reader_threads
from umc_cli.training.run import total_steps
from umc_cli.training.segment_counts import count_segments, sample_of
from umc_cli.training.segment_store import segment_bytes, segments_fingerprint
from umc_cli.training.torchrun import refuse_several
from umc_cli.workflows.train import SEGMENTS_NAME, check_levels, places_of_weights
from umc_cli.workflows.training_dry_run import (
    STEPS_TIMED,
    Beside,
    PlanningProgress,
    TrainingDryRun,
    all_failed,
    begin,
    estimate,
    thrown_away,
)

_SEGMENTS_TRIED = 64
"""About, of every device, to train on and held out."""
_IMAGE_BYTES = 80 * 80 * 4
"""Of a conversion that a discriminator sees again."""


@explain_machine_faults("lower --batch-size, or compute it in parts (--micro-batch-size)")
def train_dry_run(workspace: Workspace, settings: TrainSettings, progress: PlanningProgress) -> TrainingDryRun:
    """Return what `train` would do. Writes to a temporary folder only.

    Raises:
        SettingsError: what `train` would refuse.
        EnvironmentFault: the run's folder cannot be made.
    """
    started = time.monotonic()
    refuse_several("umc train --dry-run")
    workspace = settings.applied_to(workspace)
    folder = run_path(workspace, settings.run_name)
    chosen = find_training_devices(workspace, settings.devices, settings.pair)
    check_levels(settings, chosen)
    torch_device = compute_device(settings.compute_device)
    devices = list(chosen.clips)
    mode = "pair" if settings.pair else "unified"
    precision = training_precision(settings.precision, torch_device).value
    report = begin(folder, settings, settings, mode, devices, precision, str(torch_device))
    report.warnings += chosen.warnings
    parts = parts_of(chosen.clips, settings.held_out_share)
    report.count_splits(clip for clips in parts.values() for clip in clips)
    progress.planning(report.n_files)
    workers = settings.workers or reader_threads()
    counts = count_segments(parts, settings.segments, workers)
    check_counts({device: counts.of(f"{device}.train") for device in devices})
    report.sound_s = round(counts.sound_s, 1)
    report.n_segments = {device: counts.of(f"{device}.train") for device in devices}
    report.n_held_out = {device: counts.of(f"{device}.held-out") for device in devices}
    report.steps_per_epoch = -(-sum(report.n_segments.values()) // settings.batch_size)
    fingerprint, is_stored = segments_fingerprint(folder / SEGMENTS_NAME, parts, settings.segments)
    if report.run == "resumed":
        check_same_recordings(folder, fingerprint)
    tried = {name: sample_of(clips, counts.n_segments[name], _SEGMENTS_TRIED) for name, clips in parts.items()}
    with thrown_away() as place, compute_threads(cpu_count()):
        reading = time.monotonic()
        segments = gather_segments(place, devices, tried, settings.segments, workers)
        n_read = sum(map(len, (*segments.train, *segments.held_out)))
        n_all = sum(report.n_segments.values()) + sum(report.n_held_out.values())
        read_s = (time.monotonic() - reading) * n_all / n_read
        is_pair = settings.pair is not None
        training = AdversarialTraining(
            settings, segments, chosen.records, is_pair, torch_device, is_compiled=settings.compile
        )
        # So many segments are validated on, those to train on if none are held out.
        wanted = min(VALIDATED_SEGMENTS, sum(report.n_held_out.values()) or VALIDATED_SEGMENTS)
        there = sum(map(len, segments.held_out)) or VALIDATED_SEGMENTS
        most = settings.buffer_size * len(devices)
        n_kept = min(settings.batch_size * total_steps(settings, report.steps_per_epoch), most)
        n_tried = min(settings.batch_size * (1 + STEPS_TIMED), most)
        beside = Beside(
            read_s=0.0 if is_stored else read_s,
            stored_bytes=0 if is_stored else n_all * segment_bytes(settings.segments),
            share_validated=min(1.0, there / wanted),
            more_state_bytes=max(0, n_kept - n_tried) * _IMAGE_BYTES,
        )
        estimate(report, training, settings, settings.keep, torch_device, beside)
    report.failed = all_failed(chosen.failed, counts.failed, segments.failed)
    report.publishes = [str(path) for path in places_of_weights(workspace, settings).values()]
    report.say_when_published(settings.publish)
    if settings.silence_gate is not None:
        report.warnings.append("segments that --silence-gate leaves out are counted: only their sound would tell")
    report.seconds = time.monotonic() - started
    return report
