"""Segments of recordings, and which of them two devices share."""

from pathlib import Path

import numpy as np

from tests.samples import noise, write_audio
from umc_cli.audio.log_mel import SEGMENT_SAMPLES
from umc_cli.audio.manifest import Clip
from umc_cli.audio.segments import SegmentSettings
from umc_cli.evaluation.conversion_measures import Segments
from umc_cli.workflows.recorded_segments import SegmentReader, counterparts

WHOLE = SegmentSettings(short_clips="drop", remainder="drop")


def segments(*places: tuple[str, int]) -> Segments:
    names, starts = zip(*places, strict=True)
    return Segments(np.zeros((len(places), 80, 80), np.float32), names, ("x",) * len(places), starts)


def clip(folder: Path, recording: str, seconds: float = 2.0) -> Clip:
    path = write_audio(folder / f"{recording}.wav", noise(seconds, seed=len(recording)))
    return Clip(str(path), device="a", label="hiss", split="val-sec", recording=recording)


def test_counterparts_are_the_same_segment_of_the_same_recording() -> None:
    given = segments(("dog", 0), ("dog", 20_480), ("cat", 0), ("cow", 0))
    other = segments(("cow", 0), ("dog", 20_480), ("dog", 40_960), ("dog", 0))
    assert counterparts(given, other) == [(0, 3), (1, 1), (3, 0)]


def test_a_second_take_is_not_a_second_counterpart() -> None:
    assert counterparts(segments(("dog", 0)), segments(("dog", 0), ("dog", 0))) == [(0, 0)]


def test_the_order_of_recordings_is_the_same_whatever_the_order_of_files(tmp_path: Path) -> None:
    clips = [clip(tmp_path, name) for name in ("one", "three", "fifteen")]
    forwards, backwards = (SegmentReader(WHOLE, 100).read(order) for order in (clips, clips[::-1]))
    assert forwards.recordings == backwards.recordings
    assert sorted(forwards.recordings) == sorted(["one", "three", "fifteen"] * 2)
    assert forwards.starts == (0, SEGMENT_SAMPLES) * 3
    np.testing.assert_array_equal(forwards.log_mel, backwards.log_mel)


def test_no_recording_crowds_out_the_others_and_wanted_ones_come_first(tmp_path: Path) -> None:
    clips = [clip(tmp_path, "long", seconds=30.0), *(clip(tmp_path, f"short{index}") for index in range(20))]
    read = SegmentReader(WHOLE, 20).read(clips, first=["long"])
    assert len(read) == 20
    assert read.recordings[:2] == ("long", "long")
    assert "long" not in read.recordings[2:]


def test_what_cannot_be_read_is_kept_and_the_rest_is_read(tmp_path: Path) -> None:
    broken = clip(tmp_path, "broken")
    broken.path.write_bytes(b"RIFF")
    reader = SegmentReader(WHOLE, 100)
    assert reader.read([broken, clip(tmp_path, "good")]).recordings == ("good", "good")
    assert list(reader.failed) == [str(broken.path)]


def test_short_clips_give_no_segment(tmp_path: Path) -> None:
    assert SegmentReader(WHOLE, 100).read([clip(tmp_path, "short", seconds=0.5)]).log_mel.shape == (0, 80, 80)
