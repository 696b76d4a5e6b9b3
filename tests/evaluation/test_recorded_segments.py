"""Segments of recordings, and which of them two devices share."""

from pathlib import Path

import numpy as np
import pytest

from tests.samples import noise, write_audio
from umc_cli.audio.log_mel_settings import SEGMENT_SAMPLES
from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.evaluation.conversion_measures import Segments
from umc_cli.evaluation.recorded_segments import SegmentReader, counterparts, pair_files, unpaired_recordings

WHOLE = SegmentSettings(short_clips="drop", remainder="drop")


def segments(*places: tuple[str, int], siblings: dict[str, tuple[str, ...]] | None = None) -> Segments:
    """Return segments by file and start; a file without siblings is a recording of its own."""
    files, starts = zip(*places, strict=True)
    recording_of = {file: name for name, those in (siblings or {}).items() for file in those}
    names = tuple(recording_of.get(file, file) for file in files)
    log_mel = np.zeros((len(places), 80, 80), np.float32)
    return Segments(log_mel, names, ("x",) * len(places), starts, files, siblings or {})


def clip(folder: Path, recording: str, seconds: float = 2.0) -> Clip:
    path = write_audio(folder / f"{recording}.wav", noise(seconds, seed=len(recording)))
    return Clip(str(path), device="a", label="hiss", split="val-sec", recording=recording)


def test_counterparts_are_the_same_segment_of_the_same_recording() -> None:
    given = segments(("dog", 0), ("dog", 20_480), ("cat", 0), ("cow", 0))
    other = segments(("cow", 0), ("dog", 20_480), ("dog", 40_960), ("dog", 0))
    assert counterparts(given, other) == [(0, 3), (1, 1), (3, 0)]


def test_files_of_one_recording_are_paired_by_their_names() -> None:
    """Two parts of a session on either device, in formats and an order of their own: starts alone would mix them up."""
    given = segments(("x/1.wav", 0), ("x/2.wav", 0), siblings={"s": ("x/1.wav", "x/2.wav")})
    other = segments(("y/2.flac", 0), ("y/1.flac", 0), siblings={"s": ("y/2.flac", "y/1.flac")})
    assert counterparts(given, other) == [(0, 1), (1, 0)]
    assert unpaired_recordings(given, other) == []


def test_a_take_without_name_in_common_has_no_counterpart() -> None:
    given = segments(("s", 0))
    other = segments(("y/1.wav", 0), siblings={"s": ("y/1.wav", "y/2.wav")})
    assert counterparts(given, other) == []
    assert unpaired_recordings(given, other) == ["s"]


def test_a_file_that_gave_no_segment_is_still_a_sibling() -> None:
    """Of the source's two parts only the second was read; the target has the first alone."""
    given = segments(("x/2.wav", 0), siblings={"s": ("x/1.wav", "x/2.wav")})
    other = segments(("s", 0))
    assert counterparts(given.rows([0]), other) == []


@pytest.mark.parametrize(
    ("files", "others", "pairs"),
    [
        (["x/a.wav"], ["y/b.wav"], {"x/a.wav": "y/b.wav"}),
        (["x/a.wav", "x/a.flac"], ["y/a.wav"], {"x/a.wav": "y/a.wav"}),
        (["x/a.wav", "x/a.flac"], ["y/a.mp3"], {}),
        (["x/1/a.wav", "x/2/a.wav"], ["y/1/a.wav", "y/2/b.wav"], {}),
        (["x/a.wav", "x/b.wav"], ["y/b.ogg", "y/c.ogg"], {"x/b.wav": "y/b.ogg"}),
        (["x/u\u0308.wav", "x/b.wav"], ["y/\u00fc.wav"], {"x/u\u0308.wav": "y/\u00fc.wav"}),
        (["x/a.wav"], [], {}),
    ],
)
def test_what_belongs_together_is_never_guessed(files: list[str], others: list[str], pairs: dict[str, str]) -> None:
    assert pair_files(files, others) == pairs


def test_the_reader_knows_all_files_of_a_recording(tmp_path: Path) -> None:
    clips = [clip(tmp_path / part, "session") for part in ("1", "2")]
    clips[1].path.write_bytes(b"RIFF")
    read = SegmentReader(WHOLE, 100).read([*clips, clip(tmp_path, "other")])
    assert read.siblings == {"session": (clips[0].file, clips[1].file)}
    assert set(read.files) == {clips[0].file, str(tmp_path / "other.wav")}


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
