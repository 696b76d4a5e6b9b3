"""The audio files of `umc convert --write flac`: whole recordings, as long as the source's."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from umc_cli.conversion.shard_actor import Order
from umc_cli.conversion.shard_job import Progress, ShardJob
from umc_cli.conversion.waveforms.jobs import AudioJob, open_audio_jobs
from umc_cli.conversion.waveforms.output_names import OutputNames
from umc_cli.errors import SettingsError
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards.audio_index import index_name, read_index, set_gain, settle_audio
from umc_cli.shards.audio_settings import AudioSettings
from umc_cli.shards.generations import Generation
from umc_cli.shards.part import WHOLE, Part
from umc_cli.shards.plan import Plan
from umc_cli.shards.run_folder import WriteLock
from umc_cli.workflows.convert_report import ConvertProgress, ConvertReport

MakeAudio = Callable[[Iterable[AudioJob], Progress], None]


class Makers(NamedTuple):
    """Functions that do the jobs of a run, here or on a cluster."""

    shards: Callable[[Iterable[ShardJob], Progress], None]
    audio: MakeAudio


def refuse_audio_contradictions(settings: ConvertSettings) -> None:
    """Refuse settings of audio files that cannot be met.

    Raises:
        SettingsError: naming them.
    """
    of_audio = {
        "--rate": settings.rate,
        "--keep-channels": settings.keep_channels or None,
        "--gain-db": settings.gain_db,
    }
    given = [option for option, value in of_audio.items() if value is not None]
    if not settings.audio and given:
        raise SettingsError(f"{given[0]} is for audio files, and none are written", "add --write shards,flac")
    if settings.audio and settings.bit_depth == "float" and "flac" in settings.write:
        raise SettingsError("FLAC has no float samples", "give --bit-depth 24, or --write wav")
    if settings.keep_channels and settings.channel is not None:
        raise SettingsError("--keep-channels and --channel contradict each other", "give one of them")


def make_all_audio(
    order: Order,
    generations: Sequence[Generation],
    target_ids: Mapping[str, str],
    settings: ConvertSettings,
    data: Path,
    lock: WriteLock,
    make_audio: MakeAudio,
    report: ConvertReport,
    progress: ConvertProgress,
) -> None:
    """Make the audio files of a run and its updates that are missing, all with the same gain.

    `data`: the folder of recordings.

    Raises:
        SettingsError: see `AudioRun.settle`.
    """
    for generation in generations:
        part = settings.part or WHOLE
        own = replace(order, root=generation.folder)
        audio = AudioRun(own, generation.plan, target_ids, part, settings, generation.superseded)
        with lock.alone():
            audio.settle(data)
        audio.make(make_audio, report, progress)
        settings = settings.model_copy(update={"gain_db": audio.audio.gain_db})


@dataclass
class AudioRun:
    """The audio files of a run, or of a part of it."""

    order: Order
    plan: Plan
    target_ids: Mapping[str, str]
    part: Part
    settings: ConvertSettings
    superseded: Set[str] = frozenset()
    """Recordings that an update replaced or found gone."""

    def settle(self, data: Path) -> None:
        """Write down how the files are made, and give each recording its place. `data`: the folder of recordings.

        Raises:
            SettingsError: the folder holds audio files of other settings, or a recording lies where one would go.
        """
        wanted = self.settings.audio
        if wanted is None:
            raise ValueError("no audio files are wanted")
        root, order = self.order.root, self.order
        gain_db = settle_audio(root, self.plan.run_id, wanted, self.settings.gain_db, self.settings.overwrite)
        self.audio: AudioSettings = replace(wanted, gain_db=gain_db)
        self.names = OutputNames(self.plan.files, data, order.inputs, self.plan.source)
        folders = [(root / target).resolve() for target in self.target_ids]
        for file in self.plan.files:
            path = (order.inputs / file.path).resolve()
            if any(path.is_relative_to(folder) for folder in folders):
                raise SettingsError(f"{path} is a recording in the output folder", "choose another --output")

    def make(self, make_audio: MakeAudio, report: ConvertReport, progress: ConvertProgress) -> None:
        """Make what is missing; where samples exceed full scale, all once more with less gain."""
        shards = self.part.shards(self.plan.n_shards)
        n_segments = sum(self.plan.summary.shard_sizes[index] for index in shards)
        kept_before = report.n_audio_kept
        while True:
            progress.start([*self.target_ids], n_segments)
            jobs = open_audio_jobs(
                self.order.root,
                self.order.inputs,
                self.plan,
                self.part,
                self.target_ids,
                self.audio,
                self.names,
                self.settings.reader_timeout_s,
                self.superseded,
            )
            make_audio(self._counted(jobs, report, progress), progress)
            peak, n_clipped, n_files = self._made(shards)
            report.gain_db = self.audio.gain_db
            is_last_try = not n_clipped or self.settings.gain_db is not None or self.part != WHOLE
            if is_last_try:
                report.n_clipped += n_clipped
                report.n_audio_written += n_files - (report.n_audio_kept - kept_before)
            if not n_clipped:
                return
            lower_db = math.floor(10 * (self.audio.gain_db - 20 * math.log10(peak))) / 10
            said = f"{n_clipped} samples exceed full scale, by {20 * math.log10(peak):.1f} dB at most"
            if is_last_try:
                again = f"to avoid that, give --gain-db {lower_db:g} and --overwrite"
                if self.settings.gain_db is None:
                    again = "the same command without --part makes all audio files again with less gain"
                report.warnings.append(f"{said}, and were cut off; {again}")
                return
            report.warnings.append(f"{said}: all audio files were made with a gain of {lower_db:g} dB")
            report.n_audio_kept = kept_before
            self.audio = replace(self.audio, gain_db=lower_db)
            set_gain(self.order.root, self.plan.run_id, self.audio, lower_db)

    def _counted(
        self, jobs: Iterable[AudioJob], report: ConvertReport, progress: ConvertProgress
    ) -> Iterator[AudioJob]:
        """Pass on the jobs with something to make, and count all."""
        for job in jobs:
            if "shards" not in self.settings.write:
                report.n_files += len(job.recordings)
            for target, count in job.kept.items():
                report.n_audio_kept += count
                progress.keep(target, job.n_segments)
            if job.paths:
                yield job

    def _made(self, shards: range) -> tuple[float, int, int]:
        """Return the highest peak (full scale 1), the number of samples that exceed it, and that of files."""
        peak, n_clipped, n_files = 0.0, 0, 0
        for target in self.target_ids:
            for index in shards:
                for file in read_index(self.order.root / target / index_name(index)).files:
                    peak, n_clipped, n_files = max(peak, file.peak), n_clipped + file.n_clipped, n_files + 1
        return peak, n_clipped, n_files
