"""What the audio files of `umc convert --write flac,wav` would be: how many, how long they take, how large they are."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from umc_cli.conversion.shard_actor import Order
from umc_cli.conversion.waveforms.jobs import AudioJob, make_audio, open_audio_jobs
from umc_cli.conversion.waveforms.output_names import OutputNames
from umc_cli.runtime import compute_threads
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards.audio_index import AudioIndex, gain_of_run, index_name
from umc_cli.shards.audio_settings import AudioSettings
from umc_cli.shards.generations import Generation
from umc_cli.shards.part import WHOLE
from umc_cli.shards.planned_files import PlannedFile
from umc_cli.silence import SILENT

_RECORDINGS_TIMED, _SOUND_TIMED_S = 8, 60.0
_TARGETS_TIMED = 2
_OF_A_JOB = 4
"""Recordings of each shard's audio files that may be timed."""


@dataclass
class AudioEstimate:
    """Of all targets."""

    n_to_make: int = 0
    n_kept: int = 0
    seconds: float = 0.0
    n_bytes: int = 0


def estimate_audio(
    order: Order,
    generations: Sequence[Generation],
    target_ids: Mapping[str, str],
    settings: ConvertSettings,
    audio: AudioSettings,
    data: Path,
) -> AudioEstimate:
    """Count what is missing, make a sample of it in a temporary folder, and conclude from its length to all.

    `data`: the folder of recordings.

    Raises:
        SettingsError: the folder holds audio files of other settings.
    """
    found = AudioEstimate()
    candidates: list[tuple[PlannedFile, str]] = []
    lacking: dict[str, None] = {}
    sound_s = 0.0
    with tempfile.TemporaryDirectory(prefix="umc-dry-run-") as name, compute_threads(1):
        place = Path(name)
        for each in generations:
            gain_db = 0.0
            if not settings.overwrite:
                gain_db, _ = gain_of_run(each.folder, each.plan.run_id, audio, settings.gain_db)
            jobs = open_audio_jobs(
                place if settings.overwrite else each.folder,
                order.inputs,
                each.plan,
                settings.part or WHOLE,
                target_ids,
                replace(audio, gain_db=gain_db),
                OutputNames(each.plan.files, data, order.inputs, each.plan.source),
                settings.reader_timeout_s,
                each.superseded,
            )
            for job in jobs:
                found.n_kept += sum(job.kept.values())
                found.n_to_make += len(job.recordings) * len(audio.kinds) * len(job.paths)
                sound_s += sum(_seconds(file) for file, _ in job.recordings) * len(job.paths)
                lacking |= dict.fromkeys(job.paths)
                candidates += job.recordings[:_OF_A_JOB] if job.paths else []
        if candidates:
            targets = list(lacking)[:_TARGETS_TIMED]
            sample = _spread(candidates)
            _make(order, sample[:1], targets, settings, audio, place / "first")  # loads and compiles what is used
            elapsed_s = _make(order, sample, targets, settings, audio, place / "timed")
            made = [path for kind in audio.kinds for path in (place / "timed").rglob(f"*.{kind}")]
            made_s = sum(_seconds(file) for file, _ in sample) * len(targets)
            found.seconds = elapsed_s * sound_s / made_s
            found.n_bytes = round(sum(path.stat().st_size for path in made) * sound_s / made_s)
    return found


def _seconds(file: PlannedFile) -> float:
    return file.frames / file.sample_rate_hz


def _spread(candidates: Sequence[tuple[PlannedFile, str]]) -> list[tuple[PlannedFile, str]]:
    """Return a few recordings, spread over all; one at the least."""
    chosen: list[tuple[PlannedFile, str]] = []
    for candidate in candidates[:: -(-len(candidates) // _RECORDINGS_TIMED)]:
        if chosen and sum(_seconds(file) for file, _ in [*chosen, candidate]) > _SOUND_TIMED_S:
            break
        chosen.append(candidate)
    return chosen


def _make(
    order: Order,
    recordings: Sequence[tuple[PlannedFile, str]],
    targets: Sequence[str],
    settings: ConvertSettings,
    audio: AudioSettings,
    folder: Path,
) -> float:
    """Make audio files of recordings, and return how many seconds that took."""
    paths = {target: folder / f"target{number}" / index_name(0) for number, target in enumerate(targets)}
    wanted = {target: AudioIndex("", "", target, 0, audio, (), ()) for target in targets}
    started = time.monotonic()
    job = AudioJob(recordings, paths, wanted, {})
    make_audio(job, order.inputs, order.conversion, order.stream.workers, settings.reader_timeout_s, SILENT)
    return time.monotonic() - started
