"""The audio files of a run: which are still to be made, and making them."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from umc_cli.audio.files import own_rate_blocks
from umc_cli.audio.manifest import FailedInput
from umc_cli.audio.time_limit import within
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.waveforms.output_names import OutputNames
from umc_cli.errors import InputError
from umc_cli.shards.audio_index import AudioFile, AudioIndex, complete_index, index_name, write_index
from umc_cli.shards.audio_settings import AudioSettings
from umc_cli.shards.part import Part
from umc_cli.shards.plan import Plan
from umc_cli.shards.planned_files import PlannedFile

if TYPE_CHECKING:
    from umc_cli.conversion.waveforms.recording import Written


class Progress(Protocol):
    """Told how the work goes on."""

    def advance(self, target: str, n_segments: int) -> None:
        """Count the segments of a recording that was converted."""
        ...


@dataclass(frozen=True)
class AudioJob:
    """The recordings that begin in one shard of the plan, and the indexes of the targets that lack them."""

    recordings: Sequence[tuple[PlannedFile, str]]
    """Each with the path of its output, below the target's folder and without suffix."""
    paths: Mapping[str, Path]
    """By target."""
    wanted: Mapping[str, AudioIndex]
    """By target: the index, without files."""
    kept: Mapping[str, int]
    """By target: the files that are there."""

    @property
    def n_segments(self) -> int:
        """Return the number of segments of the recordings."""
        return sum(file.n_segments for file, _ in self.recordings)


def open_audio_jobs(
    root: Path,
    inputs: Path,
    plan: Plan,
    part: Part,
    target_ids: Mapping[str, str],
    settings: AudioSettings,
    names: OutputNames,
    timeout_s: float,
    superseded: Set[str] = frozenset(),
) -> Iterator[AudioJob]:
    """Yield the jobs of one part, in order. What is complete is kept, unless an input that failed can be read now.

    `superseded`: inputs that an update replaced or found gone; they are not tried again.
    """
    wanted_shards = part.shards(plan.n_shards)
    for index, pieces in enumerate(plan.shards()):
        if index not in wanted_shards:
            continue
        recordings = [(piece.file, names.of(piece.file)) for piece in pieces if piece.first_segment == 0]
        wanted = {
            target: AudioIndex(plan.run_id, target_id, target, index, settings, (), ())
            for target, target_id in target_ids.items()
        }
        paths = {target: root / target / index_name(index) for target in target_ids}
        found = {target: complete_index(path, wanted[target]) for target, path in paths.items()}
        by_path = {file.path: file for file, _ in recordings}
        failed = {entry.path for one in found.values() if one for entry in one.failed} & {*by_path} - superseded
        fixed = {path for path in failed if _is_readable(inputs / path, by_path[path], settings, timeout_s)}
        lacking = {
            target: path
            for target, path in paths.items()
            if (one := found[target]) is None or fixed & {entry.path for entry in one.failed}
        }
        kept = {target: len(one.files) for target, one in found.items() if one and target not in lacking}
        yield AudioJob(recordings, lacking, wanted, kept)


def _is_readable(path: Path, file: PlannedFile, settings: AudioSettings, timeout_s: float) -> bool:
    def read() -> bool:
        loudest = [float(abs(block).max()) for block in own_rate_blocks(path, file.header, settings.channel)]
        return max(loudest, default=0.0) > 0

    try:
        return within(timeout_s, read)
    except InputError:
        return False


def make_audio(
    job: AudioJob, inputs: Path, conversion: Conversion, workers: int, timeout_s: float, progress: Progress
) -> None:
    """Convert the recordings of a job, several at a time, and write the indexes. `inputs`: where their paths start.

    A recording that cannot be read is listed in the indexes and the others are converted.

    Raises:
        EnvironmentFault: a file cannot be written.
        SettingsError: the converter gave levels that are not finite.
    """
    # They load torch, which who only asks what is to be made does without.
    from umc_cli.conversion.waveforms.converting import converts_segments
    from umc_cli.conversion.waveforms.known_target import known_target
    from umc_cli.conversion.waveforms.recording import convert_recording

    targets = [*job.paths]
    convert = converts_segments(conversion.built, conversion.converter, conversion.torch_device)
    known = {target: known_target(conversion.ingredients, target) for target in targets}
    settings = job.wanted[targets[0]].settings
    ended = threading.Event()

    def make(recording: tuple[PlannedFile, str]) -> "dict[str, Written] | FailedInput":
        file, name = recording
        outputs = {target: path.parent / name for target, path in job.paths.items()}
        try:
            written = convert_recording(
                inputs / file.path, file.header, outputs, settings, convert, known, _seed(file.path), timeout_s, ended
            )
        except InputError as error:
            return FailedInput(file.path, error.message, error.hint)
        for target in targets:
            progress.advance(target, file.n_segments)
        return written

    pool = ThreadPoolExecutor(workers, "umc-audio")
    try:
        results = list(pool.map(make, job.recordings))
    finally:
        ended.set()
        pool.shutdown(cancel_futures=True)
    failed = tuple(result for result in results if isinstance(result, FailedInput))
    for target, path in job.paths.items():
        files = [
            _described(file, name, kind, result[target])
            for (file, name), result in zip(job.recordings, results, strict=True)
            if not isinstance(result, FailedInput)
            for kind in settings.kinds
        ]
        write_index(path, replace(job.wanted[target], files=tuple(files), failed=failed))


def _described(file: PlannedFile, name: str, kind: str, written: "Written") -> AudioFile:
    return AudioFile(
        path=f"{name}.{kind}",
        sha256=written.sha256[kind],
        source_path=file.path,
        label=file.label,
        recording=file.recording,
        split=file.split,
        sample_rate_hz=written.sample_rate_hz,
        channels=written.channels,
        frames=written.frames,
        peak=written.peak,
        n_clipped=written.n_clipped,
        extra=file.extra,
    )


def _seed(path: str) -> int:
    """Return the seed of a recording's noise: it depends on nothing but its path."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8])
