from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel_settings import SEGMENT_SAMPLES
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, segment_starts
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
