"""Which recordings of the data folder listed files are."""

from pathlib import Path

import pytest

from tests.audio.test_manifest import touch
from umc_cli.audio import listed_files, manifest
from umc_cli.audio.manifest import Recordings, find_recordings


def list_files(names: list[str], device: str, data: Path) -> Recordings:
    return listed_files.list_files(names, device, data, find_recordings(data))


def test_listed_files_keep_what_is_known_of_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    inside, outside, other = (
        str(touch(path))
        for path in (data / "x" / "bell" / "a.wav", tmp_path / "knock" / "b.wav", data / "y" / "bell" / "c.wav")
    )
    found = list_files([inside, outside, other, inside], "x", data)
    assert [(clip.device, clip.label) for clip in found.clips] == [("x", "bell"), ("x", "knock")]
    assert [entry.reason for entry in found.failed] == ["is a recording of y, not of x", "listed twice"]


def test_listed_files_are_looked_up_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,device,label,split,recording\na.wav,x,bell,val-sec,r7\n")
    clip = list_files([str(tmp_path / "a.wav")], "x", tmp_path).clips[0]
    assert (clip.label, clip.split, clip.recording) == ("bell", "val-sec", "r7")


def test_a_listed_file_has_the_split_that_it_has_in_the_whole(tmp_path: Path) -> None:
    files = [str(touch(tmp_path / f"x/bell/{number}.wav")) for number in range(10)]
    whole = {clip.file: clip.split for clip in find_recordings(tmp_path).clips}
    assert set(whole.values()) == {"train", "test"}
    for file in files:
        assert list_files([file], "x", tmp_path).clips[0].split == whole[file]


def test_links_lead_to_what_the_data_folder_says(tmp_path: Path) -> None:
    """The data folder, a device, a label and a file may be links; their targets are the recordings that they are."""
    disk = tmp_path / "disk"
    for place in ("data/x/dog/s/a.wav", "y/dog/s/a.wav", "bells/b.wav", "store/0815.wav"):
        touch(disk / place)
    data = tmp_path / "data"
    data.symlink_to(disk / "data")
    (disk / "data/y").symlink_to(disk / "y")
    (disk / "data/x/bell").symlink_to(disk / "bells")
    (disk / "data/x/dog/c.wav").symlink_to(disk / "store/0815.wav")
    names = [str(disk / place) for place in ("data/x/dog/s/a.wav", "bells/b.wav", "store/0815.wav", "y/dog/s/a.wav")]
    found = list_files([*names, str(data / "x/bell/b.wav")], "x", data)
    assert [(clip.label, clip.recording) for clip in found.clips] == [
        ("dog", "dog/s/a"),
        ("bell", "bell/b"),
        ("dog", "dog/c"),
    ]
    assert {clip.file for clip in found.clips} < {clip.file for clip in find_recordings(data).clips}
    assert [entry.reason for entry in found.failed] == ["is a recording of y, not of x", "listed twice"]


def test_a_row_that_cannot_be_used_is_not_converted_by_its_place(tmp_path: Path) -> None:
    touch(tmp_path / "x/bell/a.wav")
    (tmp_path / "manifest.csv").write_text("path,device,label,split\nx/bell/a.wav,x,dog,training\n")
    found = list_files([str(tmp_path / "x/bell/a.wav")], "x", tmp_path)
    assert not found.clips
    assert "unknown split 'training'" in found.failed[0].reason


def test_a_file_of_another_device_without_label_is_not_the_sources(tmp_path: Path) -> None:
    touch(tmp_path / "y/bell/a.wav")
    stray = touch(tmp_path / "y/b.wav")
    assert list_files([str(stray)], "x", tmp_path).failed[0].reason == "does not lie in <device>/<label>/"


def test_a_file_that_the_data_folder_does_not_have_shares_the_split_of_its_recording(tmp_path: Path) -> None:
    files = [touch(tmp_path / f"y/bell/{number}.wav") for number in range(10)]
    splits = {clip.recording: clip.split for clip in find_recordings(tmp_path).clips}
    for file in files:
        hidden = touch(tmp_path / f"x/bell/{file.stem}.raw")
        clip = list_files([str(hidden)], "x", tmp_path).clips[0]
        assert clip.split == splits[clip.recording]


def test_a_list_does_not_read_the_data_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = touch(tmp_path / "x/bell/a.wav")
    everything = find_recordings(tmp_path)
    monkeypatch.setattr(manifest, "read_manifest", None)
    monkeypatch.setattr(manifest, "scan_folders", None)
    assert listed_files.list_files([str(file)], "x", tmp_path, everything).clips == everything.clips
