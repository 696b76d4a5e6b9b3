import struct
from pathlib import Path

import pytest

from tests.samples import write_audio
from umc_cli.audio.truncation import is_cut_short

FORMATS = [
    ("wav", {}),
    ("wav", {"subtype": "FLOAT"}),
    ("wav", {"endian": "BIG"}),
    ("wav", {"format": "RF64"}),
    ("wav", {"format": "WAVEX"}),
    ("aiff", {}),
    ("aiff", {"subtype": "ULAW"}),
    ("ogg", {}),
]


@pytest.mark.parametrize(("suffix", "options"), FORMATS)
def test_a_whole_file_passes_and_its_half_does_not(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    path = write_audio(tmp_path / f"a.{suffix}", **options)
    assert not is_cut_short(path)
    content = path.read_bytes()
    for share in (0.5, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        assert is_cut_short(path)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_written_to_a_pipe_does_not_know_its_length(tmp_path: Path, size: int) -> None:
    path = write_audio(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert not is_cut_short(path)


def test_chunks_before_and_behind_the_data_do_not_matter(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav")
    content = path.read_bytes()
    note = b"note" + struct.pack("<I", 5) + b"hello\0"
    path.write_bytes(content[:12] + note + content[12:] + note)
    assert not is_cut_short(path)
    path.write_bytes(content[:12] + note + content[12:-1000])
    assert is_cut_short(path)


def test_other_files_are_left_to_their_decoders(tmp_path: Path) -> None:
    for name, content in {"a.wav": b"", "b.wav": b"RIFF\0\0\0\0WAVE", "c.flac": b"fLaC", "d.txt": b"text"}.items():
        (tmp_path / name).write_bytes(content)
        assert not is_cut_short(tmp_path / name)
