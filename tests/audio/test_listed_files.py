"""Which recordings of the data folder listed files are."""

from pathlib import Path

from tests.audio.test_manifest import touch
from umc_cli.audio import listed_files
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
