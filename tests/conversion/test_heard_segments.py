from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from tests.samples import noise, write_audio
from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion import heard_segments
from umc_cli.conversion.heard_segments import HeardSegments
from umc_cli.conversion.level_quantiles import SegmentLevels, read_segment_levels

CUT = SegmentSettings()
N_SEGMENTS = 3
"""In each of five recordings."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, ...]:
    data = tmp_path_factory.mktemp("heard") / "data"
    for device in "abc":
        for number in range(5):
            write_audio(data / f"{device}/x/{number}.wav", noise(2.8, seed=10 * ord(device) + number))
        (data / f"{device}/x/broken.wav").write_bytes(b"RIFF")
    return tuple(find_recordings(data).clips)


@pytest.fixture
def times_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the recordings of each device were read."""
    count = Counter[str]()

    def read(own: Sequence[Clip], settings: SegmentSettings, most_segments: int) -> SegmentLevels:
        count[own[0].device] += 1
        return read_segment_levels(own, settings, most_segments)

    monkeypatch.setattr(heard_segments, "read_segment_levels", read)
    return count


def of(clips: Sequence[Clip], device: str) -> list[Clip]:
    return [clip for clip in clips if clip.device == device]


def assert_same(found: SegmentLevels, expected: SegmentLevels) -> None:
    np.testing.assert_array_equal(found.log_mel, expected.log_mel)
    assert (found.recordings, found.labels) == (expected.recordings, expected.labels)


@pytest.mark.parametrize("most", [1, 4, 7, 15, 16])
def test_the_beginning_of_what_was_read_is_what_reading_less_gives(
    clips: Sequence[Clip], times_read: Counter[str], most: int
) -> None:
    read, own = HeardSegments(), of(clips, "a")
    assert read(own, CUT, 2_000).n_failed == 1
    assert_same(read(own, CUT, most), read_segment_levels(own, CUT, most))
    assert times_read == {"a": 1}


def test_more_than_is_remembered_is_read_again(clips: Sequence[Clip], times_read: Counter[str]) -> None:
    read, own = HeardSegments(most_segments=7), of(clips, "a")
    assert len(read(own, CUT, 2_000).labels) == 5 * N_SEGMENTS
    (remembered,) = read._remembered
    assert remembered.heard.log_mel.base is None  # the others are not in memory any more
    assert_same(read(own, CUT, 7), read_segment_levels(own, CUT, 7))
    assert times_read == {"a": 1}
    assert_same(read(own, CUT, 8), read_segment_levels(own, CUT, 8))
    assert times_read == {"a": 2}


def test_few_devices_are_remembered(clips: Sequence[Clip], times_read: Counter[str]) -> None:
    read = HeardSegments(most_devices=2)
    for _ in range(2):
        for device in "abc":
            assert_same(read(of(clips, device), CUT, 10), read_segment_levels(of(clips, device), CUT, 10))
    assert times_read == {"a": 1, "b": 1, "c": 2}


def test_other_recordings_or_cuts_are_read(clips: Sequence[Clip], times_read: Counter[str]) -> None:
    read, own = HeardSegments(), of(clips, "a")
    every = len(read(own, CUT, 100).labels)
    assert len(read(own[1:], CUT, 100).labels) == every - N_SEGMENTS
    assert len(read(own, CUT.model_copy(update={"hop": 10_240}), 100).labels) > every
    assert times_read == {"a": 3}
