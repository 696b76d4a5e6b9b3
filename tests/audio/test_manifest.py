import json
import os
import tempfile
from collections import Counter
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umc_cli.audio.manifest import Clip, assign_splits, find_recordings, read_manifest, scan_folders
from umc_cli.errors import SettingsError
from umc_cli.splits import DEFAULT_RULES


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_folders_give_device_label_and_recording(tmp_path: Path) -> None:
    for name in ["iphone14/bell/take1/a.WAV", "ipad7/bell/take1/a.flac", "ipad7/knock/b.mp3", "ipad7/knock/notes.txt"]:
        touch(tmp_path / name)
    found = scan_folders(tmp_path)
    assert [(clip.device, clip.label, clip.recording) for clip in found.clips] == [
        ("ipad7", "bell", "bell/take1/a"),
        ("ipad7", "knock", "knock/b"),
        ("iphone14", "bell", "bell/take1/a"),
    ]
    assert found.clips[0].split == found.clips[2].split
    assert not found.failed


def test_a_file_outside_a_label_folder_fails(tmp_path: Path) -> None:
    touch(tmp_path / "iphone14" / "stray.wav")
    found = scan_folders(tmp_path)
    assert not found.clips
    assert found.failed[0].reason == "does not lie in <device>/<label>/"


def test_a_symlink_loop_is_reported_once_and_followed_never(tmp_path: Path) -> None:
    touch(tmp_path / "iphone14" / "bell" / "a.wav")
    (tmp_path / "iphone14" / "bell" / "again").symlink_to(tmp_path / "iphone14", target_is_directory=True)
    found = scan_folders(tmp_path)
    assert len(found.clips) == 1
    assert [entry.reason for entry in found.failed] == ["is a symbolic link to a folder that contains it"]


def test_links_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "bell" / "a.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "iphone14").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [clip.device for clip in scan_folders(tmp_path / "data").clips] == ["iphone14"]


ROWS = [
    {"path": "a.wav", "device": "x", "label": "bell", "split": "val-sec", "recording": "r1", "room": "3"},
    {"path": "b.wav", "device": "y", "label": "bell", "split": "val-sec", "recording": "r1", "room": "4"},
]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_every_manifest_format_says_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"manifest.{suffix}"
    if suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        separator = "\t" if suffix == "tsv" else ","
        lines = [separator.join(ROWS[0]), *(separator.join(row.values()) for row in ROWS)]
        path.write_text("\n".join(lines) + "\n")
    clips = find_recordings(tmp_path).clips
    assert clips[1] == Clip(str(tmp_path / "b.wav"), "y", "bell", "val-sec", "r1", {"room": "4"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.wav,../x,bell,,", "'../x' is not a device id"),
        ("a.wav,x,,,", "has no label"),
        ("a.wav,,bell,,", "has no device"),
        ("a.wav,x,bell,training,", "unknown split 'training'"),
        ("good.wav,x,bell,,", "already listed in line 2"),
        ("./good.wav,x,bell,,", "already listed in line 2"),
        ("a.wav,x,bell", "does not have as many fields as the header"),
        ("a.wav,x,bell,,,,more", "does not have as many fields as the header"),
    ],
)
def test_a_bad_row_fails_and_the_others_do_not(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f"path,device,label,split,recording\ngood.wav,x,bell,,\n{line}\n")
    found = read_manifest(path)
    assert [clip.path.name for clip in found.clips] == ["good.wav"]
    assert f"line 3: {reason}" in found.failed[0].reason


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,device,class\na.wav,x,bell\n")
    with pytest.raises(SettingsError, match="no column 'label'") as error:
        find_recordings(tmp_path)
    assert "found: path, device, class" in error.value.hint


def test_a_manifest_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes("path,device,label\nä.wav,x,bell\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="cannot be read"):
        find_recordings(tmp_path)


def clips_of(recordings: dict[str, str], devices: list[str]) -> list[Clip]:
    return [Clip(f"{d}/{r}", d, label, "", r) for r, label in recordings.items() for d in devices]


@given(
    recordings=st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from("abc"), min_size=1, max_size=40),
    seed=st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_splits_are_grouped_and_do_not_depend_on_order(recordings: dict[str, str], seed: object) -> None:
    split = {(clip.recording, clip.device): clip.split for clip in assign_splits(clips_of(recordings, ["x", "y"]))}
    assert all(split[name, "x"] == split[name, "y"] for name in recordings)
    clips = clips_of(recordings, ["x", "y"])
    seed.shuffle(clips)  # type: ignore[attr-defined]
    assert {(clip.recording, clip.device): clip.split for clip in assign_splits(clips)} == split


@given(st.lists(st.text("a./é", min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
@settings(deadline=None)
def test_paths_and_recordings_are_those_of_pathlib(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = [json.dumps({"path": name, "device": "x", "label": "bell"}) for name in names]
        (Path(folder) / "manifest.jsonl").write_text("\n".join(rows))
        found = read_manifest(Path(folder) / "manifest.jsonl").clips
        expected: dict[str, str] = {}
        for name in names:
            path = PurePath(name)
            stem = (path.with_suffix("") if path.name else path).as_posix()
            expected.setdefault(os.path.normpath(Path(folder, name)), stem)
        assert {clip.file: clip.recording for clip in found} == expected


def test_splits_are_stratified_by_label() -> None:
    recordings = {f"{label}{index}": label for label in "abcd" for index in range(20)}
    counts = Counter((clip.label, clip.split) for clip in assign_splits(clips_of(recordings, ["x"])))
    assert counts == {(label, split): 20 * share for label in "abcd" for split, share in DEFAULT_RULES.shares.items()}


def test_a_given_split_holds_for_the_whole_recording() -> None:
    clips = [Clip("1", "x", "a", "val-sec", "r"), Clip("2", "y", "a", "", "r")]
    assert [clip.split for clip in assign_splits(clips)] == ["val-sec", "val-sec"]
