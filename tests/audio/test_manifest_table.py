"""Manifests as spreadsheets, scripts and other data sets write them."""

from pathlib import Path

import pytest

from umc_cli.audio.manifest import read_manifest
from umc_cli.errors import SettingsError

ONE = {("a.wav", "x", "dog")}


def read(folder: Path, content: str | bytes, name: str = "manifest.csv") -> set[tuple[str, str, str]]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_manifest(path)
    assert not found.failed
    return {(clip.path.name, clip.device, clip.label) for clip in found.clips}


@pytest.mark.parametrize(
    "content",
    [
        "path;device;label\r\na.wav;x;dog\r\n",
        "sep=;\r\npath;device;label\r\na.wav;x;dog\r\n",
        "sep=,\r\npath,device,label\r\na.wav,x,dog\r\n",
        '"sep=;"\r\npath;device;label\r\na.wav;x;dog\r\n',
        "\ufeffsep=,\r\npath,device,label\r\na.wav,x,dog\r\n",
        "path\tdevice\tlabel\na.wav\tx\tdog\n",
        "path|device|label\na.wav|x|dog\n",
        "path, device, label\na.wav, x, dog\n",
        'path, device, label\n"a.wav", "x", "dog"\n',
        "path ,device ,label \na.wav ,x ,dog \n",
        "path,device,label,,\r\na.wav,x,dog,,\r\n",
        "path,,device,label\r\na.wav,,x,dog\r\n",
        "path,device,label\r\na.wav,x,dog,,\r\n",
        "path,device,label\r\na.wav,x,dog\r\n,,\r\n\r\n , ,\r\n",
        ",,\r\n\r\npath,device,label\r\na.wav,x,dog\r\n",
        "path,device,label\ra.wav,x,dog\r",
        "\ufeffpath,device,label\na.wav,x,dog\n",
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == ONE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    content = "path\tdevice\tlabel\na.wav\tx\ttür\n".encode(encoding)
    assert read(tmp_path, content, "manifest.tsv") == {("a.wav", "x", "tür")}
    line = '{"path": "a.wav", "device": "x", "label": "tür"}\n'.encode(encoding)
    assert read(tmp_path, line, "manifest.jsonl") == {("a.wav", "x", "tür")}


def test_a_separator_within_quotes_or_decimals_does_not_separate(tmp_path: Path) -> None:
    content = 'path;device;label;gain\n"a;b.wav";x;dog;1,5\n'
    assert read(tmp_path, content) == {("a;b.wav", "x", "dog")}
    assert read_manifest(tmp_path / "manifest.csv").clips[0].extra == {"gain": "1,5"}
    assert read(tmp_path, 'path,device,label\na.wav,x,"dog, barking; loud"\n') == {("a.wav", "x", "dog, barking; loud")}


def test_text_of_another_encoding_is_named_with_line_and_command(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes("path,device,label\na.wav,x,dog\nb.wav,x,tür\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="cannot be read: line 3 is not UTF-8 text") as error:
        read_manifest(path)
    assert f"iconv -f WINDOWS-1252 -t UTF-8 {path}" in error.value.hint


@pytest.mark.parametrize(
    ("rows", "reason", "hint"),
    [
        ("a.wav,x,dog,,3", "line 2: has a value in a column without a name", "give the column a name"),
        ("a.wav,x,dog,,,3", "line 2: does not have as many fields as the header", "quote fields"),
        (" ,x,dog,,", "line 2: has no path", "fill it in"),
        ("a.wav,x, ,,", "line 2: has no label", "fill it in"),
    ],
)
def test_rows_that_lack_something_are_named(tmp_path: Path, rows: str, reason: str, hint: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f"path,device,label,,\n{rows}\nb.wav,x,dog,,\n")
    found = read_manifest(path)
    assert [clip.path.name for clip in found.clips] == ["b.wav"]
    assert reason in found.failed[0].reason
    assert hint in found.failed[0].hint


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("sep=,\npath,device,label\n,,\na.wav,x,\n")
    found = read_manifest(tmp_path / "manifest.csv")
    assert found.failed[0].reason == "manifest.csv line 4: has no label"


@pytest.mark.parametrize("rows", ['a.wav,x,"dog\nb.wav,x,cat\n', 'a.wav,x,"dog"s\n'])
def test_a_quotation_mark_that_is_not_closed_is_named(tmp_path: Path, rows: str) -> None:
    (tmp_path / "manifest.csv").write_text(f"path,device,label\n{rows}")
    with pytest.raises(SettingsError, match="cannot be read") as error:
        read_manifest(tmp_path / "manifest.csv")
    assert "close every quotation mark" in error.value.hint
