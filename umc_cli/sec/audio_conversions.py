"""Conversions of training samples that `umc convert --write flac` made before, as features of one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.feature_settings import FeatureSegmentSettings
from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.audio.manifest import Clip
from umc_cli.config import means_all
from umc_cli.errors import SettingsError, guess
from umc_cli.sec.target_draws import draw_targets
from umc_cli.shards.audio_index import AudioFile, AudioIndex, index_paths, live_files, read_index
from umc_cli.shards.plan import Plan, planned_path, read_plan
from umc_cli.training.segment_store import StoredPart, store_segments

_FOLDER = "converted-audio"


@dataclass(frozen=True)
class AudioConversions:
    """Gives every sample one of its conversions, all targets equally likely; see `sec.dataset.SegmentConverter`."""

    converter: str
    targets: tuple[str, ...]
    made_with: Mapping[str, str]
    """By target: the run that converted it."""
    segments: Sequence[NDArray[np.float16]]
    """By target: [segments, bands, frames] dB, mapped from a file."""
    row_of: Sequence[NDArray[np.int64]]
    """By target: [training segments], which of `segments`."""
    gain_db: Sequence[NDArray[np.float32]]
    """By target: [training segments], that their files were written with."""

    def __call__(self, segments: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
        """Return features of the conversions of `rows`. Shape: [B, bands, frames] dB."""
        drawn = draw_targets(len(self.targets), len(rows), random)
        places = list(zip(drawn, rows.tolist(), strict=True))
        levels_db = [self.segments[target][self.row_of[target][row]] for target, row in places]
        gains_db = torch.tensor([float(self.gain_db[target][row]) for target, row in places])
        return (torch.from_numpy(np.stack(levels_db).astype(np.float32)) - gains_db[:, None, None]).clamp_min_(FLOOR_DB)


def check_audio_folder(folder: Path) -> tuple[Plan, list[AudioIndex]]:
    """Return what `umc convert --write flac` says of what it wrote in `folder`.

    Raises:
        SettingsError: it wrote no audio there, or the folder is damaged.
    """
    written = read_plan(folder) if folder.is_dir() else None
    indexes = [read_index(path) for path in index_paths(folder)]
    if written is None or not indexes:
        raise SettingsError(
            f"there are no converted recordings in {folder}: features of your own are computed from audio files",
            f"write them with `umc convert --split train --write flac --output {folder}`, or leave --shards out to "
            "convert on the fly",
        )
    return written[0], indexes


def open_audio_conversions(
    folder: Path,
    place: Path,
    source: str,
    targets: tuple[str, ...],
    converters: Sequence[str],
    clips: Sequence[Clip],
    trained: StoredPart,
    cut: FeatureSegmentSettings,
    root: Path,
    workers: int,
) -> AudioConversions:
    """Read the conversions of the training segments and keep their features in `place`.

    `targets`: of the folder, or `all`; `converters`: those whose conversions are wanted; `clips`: the recordings that
    `trained` is of; `root`: where the paths that the folder names begin.

    Raises:
        SettingsError: the recordings were converted from another source or by another converter, or a target or a
            segment is missing.
        EnvironmentFault: `place` cannot be written.
    """
    plan, indexes = check_audio_folder(folder)
    converter = str(plan.settings.get("converter"))
    there = sorted({index.target for index in indexes} - {source})
    chosen = tuple(there) if means_all(targets) else tuple(dict.fromkeys(targets))
    if plan.source != source:
        raise SettingsError(
            f"the recordings in {folder} were converted from {plan.source}, not from {source}",
            "name another folder with --shards",
        )
    if converter not in converters:
        raise SettingsError(
            f"the recordings in {folder} were made by converter {converter!r}, not by {' or '.join(converters)}",
            "name the --method and --converter that they are of, or another folder with --shards",
        )
    missing = [target for target in chosen if target not in there]
    if missing or not chosen:
        raise SettingsError(
            f"no converted recordings of {', '.join(missing) or 'any target named'} in {folder}",
            f"{guess(missing[0], there) if missing else ''}there are recordings of: {', '.join(there)}",
        )
    # A quiet conversion is a conversion: what the source's gate kept is kept.
    cut = cut.model_copy(update={"silence_gate": None})
    used = np.unique(trained.clip)
    files = list(live_files(folder))
    found = {target: _converted_clips(folder, target, files, clips, used, root) for target in chosen}
    parts = {target: [clip for clip, _ in of_target] for target, of_target in found.items()}
    store = store_segments(place / _FOLDER, parts, cut, workers)
    rows = []
    wanted = list(zip(trained.clip.tolist(), trained.start.tolist(), strict=True))
    for target in chosen:
        part = store.parts[target]
        places = zip(used[part.clip].tolist(), part.start.tolist(), strict=True)
        row_of = {where: row for row, where in enumerate(places)}
        rows.append(np.array([row_of.get(where, -1) for where in wanted], np.int64))
        if (rows[-1] < 0).any():
            lacking = clips[int(trained.clip[int(np.argmin(rows[-1]))])]
            reason = store.failed[0].reason if store.failed else "they are shorter"
            raise SettingsError(
                f"the recordings of {target} in {folder} lack {np.count_nonzero(rows[-1] < 0)} training segments, such "
                f"as of {lacking.file} ({reason})",
                "convert again, with --overwrite",
            )
    return AudioConversions(
        converter=converter,
        targets=chosen,
        made_with={index.target: index.run_id for index in indexes if index.target in chosen},
        segments=[store.parts[target].segments for target in chosen],
        row_of=rows,
        gain_db=[
            np.array([gain_db for _, gain_db in found[target]], np.float32)[np.searchsorted(used, trained.clip)]
            for target in chosen
        ],
    )


def _converted_clips(
    folder: Path,
    target: str,
    files: Sequence[tuple[Path, AudioIndex, AudioFile]],
    clips: Sequence[Clip],
    used: NDArray[np.int64],
    root: Path,
) -> list[tuple[Clip, float]]:
    """Return the converted recording of each clip of which there are segments, and its gain in dB."""
    file_of = {
        file.source_path: (path, index.settings.gain_db)
        for path, index, file in files
        if index.target == target and file.path.endswith(f".{index.settings.kinds[0]}")
    }
    found = []
    for number in used.tolist():
        clip = clips[number]
        known = file_of.get(planned_path(clip.file, root))
        if known is None:
            raise SettingsError(
                f"{folder} holds no conversion of {clip.file} to {target}",
                "convert split train from this workspace, and fix what failed",
            )
        path, gain_db = known
        found.append((replace(clip, file=str(path)), gain_db))
    return found
