from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel_settings import SEGMENT_SAMPLES
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, read_sounding_segments, segment_starts
from umc_cli.errors import InputError


@pytest.mark.parametrize(
    ("n_samples", "settings", "expected"),
    [
        (20_480, {}, [0]),
        (20_479, {}, [0]),
        (20_479, {"short_clips": "drop"}, []),
        (30_719, {}, [0]),  # 10,239 left: less than half
        (30_720, {}, [0, 20_480]),  # 10,240 left: half
        (30_720, {"remainder": "drop"}, [0]),
        (20_481, {"remainder": "pad"}, [0, 20_480]),
        (40_960, {"remainder": "pad"}, [0, 20_480]),
        (40_960, {"hop": 10_240}, [0, 10_240, 20_480]),  # nothing is left over, so nothing is padded
        (40_960 + 5_120, {"hop": 10_240}, [0, 10_240, 20_480, 30_720]),  # half a hop is new
        (40_960 + 5_119, {"hop": 10_240}, [0, 10_240, 20_480]),
        (61_440, {"hop": 40_960}, [0, 40_960]),
        (51_199, {"hop": 40_960}, [0]),  # 10,239 of the second one are there
        (51_200, {"hop": 40_960}, [0, 40_960]),
    ],
)
def test_starts(n_samples: int, settings: dict, expected: list[int]) -> None:
    assert list(segment_starts(n_samples, SegmentSettings(**settings))) == expected


@given(
    n_samples=st.integers(1, 500_000),
    hop=st.integers(256, 60_000),
    remainder=st.sampled_from(["half", "pad", "drop"]),
)
def test_only_the_last_segment_is_padded_and_it_holds_something_new(n_samples: int, hop: int, remainder: str) -> None:
    starts = segment_starts(n_samples, SegmentSettings(hop=hop, remainder=remainder))
    assert len(starts) >= 1
    assert starts[0] == 0
    assert all(start + SEGMENT_SAMPLES <= n_samples for start in starts[:-1])
    if len(starts) > 1:
        covered = starts[-2] + SEGMENT_SAMPLES
        assert starts[-1] < n_samples
        assert n_samples > covered
    if remainder == "pad" and hop <= SEGMENT_SAMPLES:
        assert starts[-1] + SEGMENT_SAMPLES >= n_samples


def ramp(path: Path, n_samples: int) -> np.ndarray:
    samples = np.linspace(0.001, 0.9, n_samples).astype(np.float32)
    soundfile.write(path, samples, 22_050, subtype="FLOAT")
    return samples


def test_segments_are_cut_where_they_say_and_padded_with_zeros(tmp_path: Path) -> None:
    samples = ramp(tmp_path / "ramp.wav", 36_000)
    header = read_header(tmp_path / "ramp.wav")
    settings = SegmentSettings(hop=10_000)
    segments, starts = read_segments(tmp_path / "ramp.wav", header, segment_starts(36_000, settings), settings)
    assert starts.tolist() == [0, 10_000, 20_000]
    for segment, start in zip(segments, starts, strict=True):
        expected = samples[start : start + SEGMENT_SAMPLES]
        np.testing.assert_array_equal(segment[: len(expected)], expected)
        assert not segment[len(expected) :].any()


def test_silence_gate_leaves_out_what_is_below_it(tmp_path: Path) -> None:
    quiet, loud = np.full(SEGMENT_SAMPLES, 1e-3), np.full(SEGMENT_SAMPLES, 0.1)  # -60 and -20 dBFS
    soundfile.write(tmp_path / "steps.wav", np.concatenate([quiet, loud, quiet]), 22_050, subtype="FLOAT")
    header = read_header(tmp_path / "steps.wav")
    for gate, expected in [(-61.0, [0, 20_480, 40_960]), (-59.0, [20_480]), (-19.0, [])]:
        settings = SegmentSettings(silence_gate=gate)
        starts = segment_starts(header.n_samples, settings)
        segments, kept = read_segments(tmp_path / "steps.wav", header, starts, settings)
        assert kept.tolist() == expected
        assert len(segments) == len(expected)


def test_a_silent_recording_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(30_000), 22_050)
    header = read_header(tmp_path / "silent.wav")
    with pytest.raises(InputError, match="every sample is zero"):
        read_segments(tmp_path / "silent.wav", header, range(1), SegmentSettings())


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([36_000], [0, 20_480]),
        ([36_000, np.zeros(90_000)], [0, 20_480]),
        ([36_000, np.zeros(1_023)], [0, 20_480]),
        ([30_000, np.zeros(1_024)], [0]),  # 9,520 left: less than half
        ([30_000, np.zeros(1_023)], [0, 20_480]),  # less than a frame of zeros stays
        ([np.zeros(50_000), 36_000], [50_000, 70_480]),
        ([np.zeros(1_024), 5_000, np.zeros(60_000)], [1_024]),
        ([np.zeros(700), 20_480], [0]),
        ([20_480, np.zeros(30_000), 20_480], [0, 20_480, 40_960]),  # a pause stays
    ],
)
def test_zeros_at_the_ends_of_a_recording_are_no_part_of_it(tmp_path: Path, parts: list, expected: list[int]) -> None:
    samples = np.concatenate([part if isinstance(part, np.ndarray) else np.full(part, 0.5) for part in parts])
    soundfile.write(tmp_path / "padded.wav", samples, 22_050, subtype="FLOAT")
    header, settings = read_header(tmp_path / "padded.wav"), SegmentSettings()
    segments, starts = read_sounding_segments(tmp_path / "padded.wav", header, 200, settings)
    assert starts.tolist() == expected
    for segment, start in zip(segments, starts, strict=True):
        there = samples[start : start + SEGMENT_SAMPLES]
        np.testing.assert_array_equal(segment, np.pad(there, (0, SEGMENT_SAMPLES - len(there))).astype(np.float32))


def test_a_recording_without_zeros_at_its_ends_gives_the_segments_that_it_gives_anyway(tmp_path: Path) -> None:
    for n_samples, changed in ((100_000, {"hop": 9_000}), (5_000, {}), (70_000, {"silence_gate": -9.0})):
        settings = SegmentSettings(**changed)
        ramp(tmp_path / "ramp.wav", n_samples)
        header = read_header(tmp_path / "ramp.wav")
        starts = segment_starts(n_samples, settings)
        expected = read_segments(tmp_path / "ramp.wav", header, starts, settings)
        found = read_sounding_segments(tmp_path / "ramp.wav", header, 200, settings)
        few = read_sounding_segments(tmp_path / "ramp.wav", header, 1, settings)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(few[0], read_segments(tmp_path / "ramp.wav", header, starts[:1], settings)[0])


def test_a_clip_that_was_filled_up_with_zeros_is_not_too_short(tmp_path: Path) -> None:
    """As data sets of clips of one length are made; `drop` is of shorter ones."""
    soundfile.write(tmp_path / "x.wav", np.concatenate([np.full(9_000, 0.5), np.zeros(20_000)]), 22_050, "FLOAT")
    header, settings = read_header(tmp_path / "x.wav"), SegmentSettings(short_clips="drop", remainder="drop")
    (segment,), _ = read_sounding_segments(tmp_path / "x.wav", header, 200, settings)
    assert np.flatnonzero(segment).tolist() == [*range(9_000)]
    soundfile.write(tmp_path / "x.wav", np.full(9_000, 0.5), 22_050, "FLOAT")
    assert not len(read_sounding_segments(tmp_path / "x.wav", read_header(tmp_path / "x.wav"), 200, settings)[0])


def test_a_long_recording_that_is_silent_where_it_is_read_gives_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "late.wav", np.concatenate([np.zeros(90_000), np.full(9_000, 0.5)]), 22_050)
    header = read_header(tmp_path / "late.wav")
    assert read_sounding_segments(tmp_path / "late.wav", header, 2, SegmentSettings())[0].shape == (0, SEGMENT_SAMPLES)
    soundfile.write(tmp_path / "silent.wav", np.zeros(30_000), 22_050)
    with pytest.raises(InputError, match="every sample is zero"):
        read_sounding_segments(tmp_path / "silent.wav", read_header(tmp_path / "silent.wav"), 200, SegmentSettings())
