"""What `transport` does to real recordings whose truth is known, beside its start."""

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.level_quantiles import QUANTILE_SHARES, SegmentLevels, read_segment_levels
from umc_cli.conversion.measuring.converters import convert_segments
from umc_cli.conversion.transport import Sample, fit_transport
from umc_cli.evaluation.conversion_metrics import log_spectral_distance

pytestmark = pytest.mark.xdist_group("drum")  # which is read once


def _table(levels: np.ndarray) -> np.ndarray:
    by_band = levels.transpose(1, 0, 2).reshape(80, -1)
    return np.quantile(by_band, QUANTILE_SHARES, axis=1).astype(np.float32)


def _distances(
    source: SegmentLevels, target: SegmentLevels, heard: np.ndarray, true: np.ndarray
) -> tuple[float, float]:
    """Return the distance of `quantile`, and that of `transport`."""
    tables = {"source": _table(source.log_mel), "target": _table(target.log_mel)}
    known = Ingredients("source", ("target",), {}, "cpu", level_quantiles=tables)
    learned, mapped = (
        convert_segments("quantile", each, known.targets, known)["target"] for each in (source.log_mel, heard)
    )
    start = Sample(learned, source.recordings, source.labels)
    transport = fit_transport(start, Sample(target.log_mel, target.recordings, target.labels))
    before, after = (
        float(log_spectral_distance(each, true).mean()) for each in (mapped, np.maximum(transport(mapped), -100))
    )
    return before, after


def _read(clips: Iterable[Clip]) -> SegmentLevels:
    return read_segment_levels(sorted(clips, key=lambda clip: clip.recording), SegmentSettings())


@dataclass(frozen=True)
class Drum:
    """Two microphones of one drum: what is learned, and what is measured on."""

    learned: list[SegmentLevels]
    heard: list[SegmentLevels]


@pytest.fixture(scope="module")
def drum(realdata: Path) -> Drum:
    folder = realdata / "mics" / "frankensnare"
    with (folder / "manifest.csv").open() as file:
        rows = [
            Clip(str(folder / r["path"]), r["device"], r["label"], "", r["recording"]) for r in csv.DictReader(file)
        ]
    half = {clip.recording for clip in rows if hashlib.sha256(clip.recording.encode()).digest()[0] % 2}
    both = [[clip for clip in rows if clip.device == device] for device in ("bottom", "overhead")]
    learned = [_read(clip for clip in each if clip.recording in half) for each in both]
    heard = [_read(clip for clip in each if clip.recording not in half) for each in both]
    assert heard[0].recordings == heard[1].recordings
    return Drum(learned, heard)


@pytest.mark.realdata
def test_it_is_nearer_between_microphones_of_one_drum(drum: Drum) -> None:
    before, after = _distances(*drum.learned, drum.heard[0].log_mel, drum.heard[1].log_mel)
    assert after < 0.96 * before


@pytest.mark.realdata
@pytest.mark.parametrize("step", [None, 5], ids=["half of the labels missing", "half of the labels rare"])
def test_other_mixtures_of_labels_do_no_harm(drum: Drum, step: int | None) -> None:
    """The target's recordings hold no strokes of every second label, or a fifth of them."""
    ours, theirs = drum.learned
    names = sorted(set(theirs.labels))
    kept = np.array([names.index(label) % 2 == 0 for label in theirs.labels])
    if step:
        kept[::step] = True
    some = SegmentLevels(
        theirs.log_mel[kept],
        np.array(theirs.recordings)[kept].tolist(),
        np.array(theirs.labels)[kept].tolist(),
        n_failed=0,
    )
    before, after = _distances(ours, some, drum.heard[0].log_mel, drum.heard[1].log_mel)
    assert after < before


@pytest.mark.realdata
def test_it_leaves_speech_of_other_words_alone(realdata: Path) -> None:
    folder = realdata / "pairs" / "dance_studio"
    devices = sorted(each.name for each in folder.iterdir() if each.is_dir())
    names = sorted(path.stem for path in (folder / devices[0]).glob("*.flac"))
    ours, theirs = (
        _read(Clip(str(folder / device / f"{name}.flac"), device, "speech", "", name) for name in names[first::2])
        for first, device in enumerate(devices)
    )
    for source, target in ((ours, theirs), (theirs, ours)):
        before, after = _distances(source, target, source.log_mel, source.log_mel)
        assert after == before
