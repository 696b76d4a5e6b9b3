import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.audio.odd_files import edited, flac, wav, written
from tests.samples import write_audio
from umc_cli.audio.length_promise import Promise, length_promise

FORMATS = [
    ("wav", {}),
    ("wav", {"subtype": "FLOAT"}),
    ("wav", {"endian": "BIG"}),
    ("wav", {"format": "RF64"}),
    ("wav", {"format": "WAVEX"}),
    ("aiff", {}),
    ("aiff", {"subtype": "ULAW"}),
    ("caf", {}),
    ("w64", {}),
    ("au", {}),
    ("ogg", {}),
    ("ogg", {"subtype": "OPUS"}),
    ("mp3", {}),
]


@pytest.mark.parametrize(("suffix", "options"), FORMATS)
def test_a_whole_file_keeps_its_promise_and_its_half_does_not(
    tmp_path: Path, suffix: str, options: dict[str, str]
) -> None:
    rate_hz = 48_000 if options.get("subtype") == "OPUS" else 22_050
    path = write_audio(tmp_path / f"a.{suffix}", rate_hz=rate_hz, **options)
    assert length_promise(path) is Promise.KEPT
    content = path.read_bytes()
    for share in (0.5, 0.75):
        path.write_bytes(content[: int(len(content) * share)])
        assert length_promise(path) is Promise.BROKEN


@pytest.mark.parametrize(
    ("size", "promise"),
    [(0, Promise.NONE), (0xFFFFFFFF, Promise.KEPT), (0x7FFFFFFF, Promise.KEPT), (0x7FFFF000, Promise.KEPT)],
)
def test_a_wav_written_to_a_pipe_does_not_know_its_length(tmp_path: Path, size: int, promise: Promise) -> None:
    """libsndfile reads large sizes to the end, and nothing of a file that says 0."""
    path = tmp_path / "a.wav"
    path.write_bytes(wav(size, size))
    assert length_promise(path) is promise


def test_a_size_of_32_bits_that_overflowed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    content = wav(1000, 2000)
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(44 + 2000 + (1 << 32))  # a hole takes no room on the disk
    assert length_promise(path) is Promise.NONE


def test_chunks_before_and_behind_the_data_do_not_matter(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav")
    content = path.read_bytes()
    note = b"note" + struct.pack("<I", 5) + b"hello\0"
    path.write_bytes(content[:12] + note + content[12:] + note)
    assert length_promise(path) is Promise.KEPT
    path.write_bytes(content[:12] + note + content[12:-1000])
    assert length_promise(path) is Promise.BROKEN


def test_what_is_not_known_is_left_to_the_decoders(tmp_path: Path) -> None:
    for name, content in {"a.wav": b"", "b.wav": b"RIFF\0\0\0\0WAVE", "d.txt": b"text", "e.mp3": b"ID3"}.items():
        (tmp_path / name).write_bytes(content)
        assert length_promise(tmp_path / name) in (Promise.KEPT, Promise.UNKNOWN)


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125)])
def test_tags_around_a_flac_or_mp3_do_not_matter(tmp_path: Path, tag: bytes) -> None:
    id3 = b"ID3\x03\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    for name in ("a.flac", "a.mp3"):
        path = write_audio(tmp_path / name)
        path.write_bytes(id3 + path.read_bytes() + tag)
        assert length_promise(path) is Promise.KEPT


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return tmp_path_factory.mktemp("promises")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(n_samples=65_537, n_channels=1, level=0, off=1)  # frames of silence are short: several lie near the end
@given(
    n_samples=st.integers(1, 70_000),
    n_channels=st.integers(1, 3),
    level=st.sampled_from([0, 1e-3, 0.5]),
    off=st.integers(1, 1000),
)
def test_a_flac_is_found_to_end_where_it_says(
    scratch: Path, n_samples: int, n_channels: int, level: float, off: int
) -> None:
    path = scratch / "a.flac"
    samples = level * np.random.default_rng(n_samples).uniform(-1, 1, (n_samples, n_channels))
    soundfile.write(path, samples, 22_050)
    assert length_promise(path) is Promise.KEPT
    content = path.read_bytes()
    fields = int.from_bytes(content[18:26], "big")
    for said in (n_samples + off, max(0, n_samples - off), 0):
        path.write_bytes(edited(content, (18, (fields >> 36 << 36 | said).to_bytes(8, "big"))))
        assert length_promise(path) is Promise.NONE


@settings(max_examples=30, deadline=None)
@given(n_samples=st.integers(1, 60_000), kind=st.sampled_from(["ogg", "mp3"]))
def test_lengths_of_ogg_and_mp3_files_of_libsndfile_are_kept(scratch: Path, n_samples: int, kind: str) -> None:
    path = scratch / f"a.{kind}"
    soundfile.write(path, np.random.default_rng(n_samples).uniform(-0.5, 0.5, n_samples), 22_050)
    assert length_promise(path) is Promise.KEPT
    path.write_bytes(2 * path.read_bytes())
    if kind == "ogg" or n_samples > 2_304:  # the first MPEG frame may be counted or not
        assert length_promise(path) is Promise.NONE


def test_a_flac_that_says_it_is_longer(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(flac(1 << 20))
    assert length_promise(tmp_path / "a.flac") is Promise.NONE
    (tmp_path / "a.flac").write_bytes(written("FLAC"))
    assert length_promise(tmp_path / "a.flac") is Promise.KEPT
