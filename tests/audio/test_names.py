"""One name in several spellings: labels, devices, recordings and files."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audio.test_manifest import touch
from tests.samples import SOURCE, Run, write_audio
from umc_cli.audio.manifest import find_recordings, read_manifest, scan_folders
from umc_cli.audio.names import FilesOnDisk, lookalikes, plain_name, plain_path

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "tür") for form in ("NFC", "NFD"))


def test_names_are_composed_and_without_blanks_at_their_ends() -> None:
    assert len(DECOMPOSED) == 4
    assert plain_name(f" {DECOMPOSED}\t") == COMPOSED
    assert plain_name("dog\u00a0") == "dog"
    assert plain_name("a  b") == "a  b"
    assert plain_path(f"{DECOMPOSED} / take 1") == f"{COMPOSED}/take 1"
    assert plain_path("a/b c") == "a/b c"


def test_two_forms_of_a_folder_are_one_label_device_and_recording(tmp_path: Path) -> None:
    for device, label in (("x", COMPOSED), ("x ", DECOMPOSED), ("y", f"{DECOMPOSED} ")):
        touch(tmp_path / device / label / f"{DECOMPOSED}.wav")
    found = scan_folders(tmp_path)
    assert [(clip.device, clip.label, clip.recording) for clip in found.clips] == [
        ("x", COMPOSED, f"{COMPOSED}/{COMPOSED}"),
        ("x", COMPOSED, f"{COMPOSED}/{COMPOSED}"),
        ("y", COMPOSED, f"{COMPOSED}/{COMPOSED}"),
    ]
    assert all(clip.path.exists() for clip in found.clips)
    assert len({clip.split for clip in found.clips}) == 1
    assert not found.warnings


@pytest.mark.parametrize("written", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("on_disk", [COMPOSED, DECOMPOSED])
def test_files_are_found_in_either_form(tmp_path: Path, written: str, on_disk: str) -> None:
    touch(tmp_path / on_disk / f"{on_disk}.wav")
    (tmp_path / "manifest.csv").write_text(f"path,device,label\n{written}/{written}.wav,x,dog\n", encoding="utf-8")
    clip = find_recordings(tmp_path).clips[0]
    assert clip.path.exists()
    assert clip.recording == f"{COMPOSED}/{COMPOSED}"


def test_a_file_in_both_forms_is_taken_as_it_is_written(tmp_path: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        touch(tmp_path / name)
        assert FilesOnDisk().spelled(str(tmp_path / name)) == str(tmp_path / name)
    missing = str(tmp_path / DECOMPOSED / "größe.wav")
    assert FilesOnDisk().spelled(missing) == missing


def test_both_forms_of_one_file_are_listed_twice(tmp_path: Path) -> None:
    touch(tmp_path / DECOMPOSED)
    rows = "".join(f"{name},x,dog\n" for name in (COMPOSED, DECOMPOSED))
    (tmp_path / "manifest.csv").write_text("path,device,label\n" + rows, encoding="utf-8")
    found = read_manifest(tmp_path / "manifest.csv")
    assert len(found.clips) == 1
    assert "line 3: already listed in line 2" in found.failed[0].reason


def test_paths_with_blanks_at_their_ends_or_backslashes_are_found(tmp_path: Path) -> None:
    for name in ("bell/a.wav", "b.wav", " c.wav"):
        touch(tmp_path / name)
    rows = '"bell\\a.wav",x,dog\n"b.wav ",x,dog\n" c.wav",x,dog\n'
    (tmp_path / "manifest.csv").write_text("path,device,label\n" + rows)
    found = read_manifest(tmp_path / "manifest.csv").clips
    assert all(clip.path.exists() for clip in found)
    assert [clip.recording for clip in found] == ["bell/a", "b", "c"]


def test_names_that_look_alike_are_named() -> None:
    assert lookalikes("labels", ["dog", "cat", "dög"]) == []
    (text,) = lookalikes("labels", ["Dog", "dog", "cat", "do\u00adg"])
    assert text.startswith("labels look alike but differ: 'Dog' and 'dog' and 'do\\xadg'. ")
    (text,) = lookalikes("labels", ["STRASSE", "straße", "ﬁre", "fire"])
    assert "'STRASSE' and 'stra\\xdfe'" in text
    assert "'fire' and '\\ufb01re'" in text
    (text,) = lookalikes("devices", [*"abcde", *"ABCDE"])
    assert "'C' and 'c'; and 2 more." in text


def test_recordings_that_look_alike_on_two_devices_are_named(tmp_path: Path) -> None:
    for name in ("phone/dog/Take1.wav", "laptop/dog/take1.wav", "laptop/dog/take2.wav"):
        touch(tmp_path / name)
    assert scan_folders(tmp_path).warnings == (
        "recordings look alike but differ: 'dog/Take1' and 'dog/take1'. If they mean the same, spell them the same way",
    )


def test_convert_makes_one_class_of_both_forms_and_warns_of_lookalikes(
    convert: Callable[..., Run], workspace: Path
) -> None:
    for name in (COMPOSED, DECOMPOSED, "A"):
        write_audio(workspace / f"data/{SOURCE}/{name}/1.wav")
    run = convert("--label", DECOMPOSED, "--label", "A")
    assert run.exit_code == 0
    assert "labels look alike but differ: 'A' and 'a'" in run.stderr
    from umc_cli.shards.reader import ShardDataset

    dataset = ShardDataset(workspace / "converted")
    assert dataset.labels == ["A", COMPOSED]
    assert len(dataset) == 6
