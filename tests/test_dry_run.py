"""`umc convert --dry-run` says what a run would do, and does nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from umc_cli.api import convert as convert_from_python

Umc = Callable[..., Run]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_what_the_run_then_does_and_writes_nothing(workspace: Path, convert: Umc) -> None:
    before = content(workspace)
    dry = convert("--dry-run", "--shard-size", "3", "--with-source", "--json").json
    assert content(workspace) == before
    real = convert("--shard-size", "3", "--with-source", "--json").json
    for name in ("source", "targets", "converter", "reason", "made_with", "weights", "n_files", "n_segments", "failed"):
        assert dry[name] == real[name]
    assert (dry["n_shards_to_make"], dry["n_shards_kept"]) == (real["n_shards_written"], 0)
    assert dry["sound_s"] == 8.0
    assert dry["dry_run"] is True
    n_bytes = sum(path.stat().st_size for path in workspace.rglob("shard-*.h5"))
    assert n_bytes / 2 < dry["estimated_bytes"] < 2 * n_bytes
    assert 0 < dry["estimated_seconds"] < 60
    assert dry["n_timed"] == 16


def test_a_finished_run_has_nothing_left_to_make(workspace: Path, convert: Umc) -> None:
    convert("--shard-size", "3")
    (workspace / f"converted/{TARGET}/shard-00001.h5").unlink()
    before = content(workspace)
    dry = convert("--dry-run", "--shard-size", "3", "--json").json
    assert (dry["n_shards_to_make"], dry["n_shards_kept"]) == (1, 3)
    convert("--shard-size", "3")
    shown = convert("--dry-run", "--shard-size", "3")
    assert "would make   0 shards" in shown.stdout
    assert "would keep   4 shards" in shown.stdout
    assert "would take   0.0 s" in shown.stdout
    dry = convert("--dry-run", "--overwrite", "--json").json
    assert (dry["n_shards_removed"], dry["n_shards_to_make"]) == (4, 1)
    assert content(workspace).keys() == before.keys() | {str(workspace / f"converted/{TARGET}/shard-00001.h5")}


def test_what_the_run_would_refuse_is_refused(workspace: Path, convert: Umc, umc: Umc) -> None:
    convert()
    refused = convert("--dry-run", "--hop", "10240")
    assert refused.exit_code == 2
    assert "--hop: 20480 then, 10240 now" in refused.stderr
    cluster = convert("--dry-run", "--cluster", "auto")
    assert cluster.exit_code == 2
    assert "a dry run asks no cluster" in cluster.stderr
    nobody = umc("convert", "--source", "nobody", "--dry-run")
    assert nobody.exit_code == 2
    assert "no recordings of 'nobody'" in nobody.stderr


def test_level_tables_are_not_kept(workspace: Path, umc: Umc) -> None:
    for index in range(12):
        for device in (SOURCE, "other"):
            write_audio(workspace / f"data/{device}/noise/{index}.wav", noise(1.0, seed=index))
    dry = umc("convert", "--source", SOURCE, "--targets", "other", "--dry-run", "--json").json
    assert dry["converter"] == "quantile"
    assert not (workspace / "converted").exists()


def test_a_part_is_counted_alone(convert: Umc) -> None:
    dry = convert("--dry-run", "--shard-size", "2", "--part", "1/4", "--json").json
    assert (dry["n_shards_to_make"], dry["n_segments"]) == (1, 2)


def test_a_broken_recording_is_listed(workspace: Path, convert: Umc) -> None:
    (workspace / f"data/{SOURCE}/a/broken.wav").write_bytes(b"")
    run = convert("--dry-run")
    assert run.exit_code == 1
    assert "broken.wav" in run.stderr


@pytest.mark.parametrize(
    ("data", "message"),
    [("", "no data folder"), ("umc.toml", "no data folder")],
    ids=["missing", "a file"],
)
def test_a_folder_that_cannot_be_read_is_named(
    workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch, data: str, message: str
) -> None:
    (workspace / "umc.toml").write_text("")
    monkeypatch.setenv("UMC_DATA", str(workspace / (data or "nowhere")))
    run = convert("--dry-run", "--json")
    assert run.exit_code == 2
    assert message in run.stderr
    assert message in run.json["error"]["message"]


def test_a_folder_without_permission_is_named(workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: object) -> object:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("umc_cli.audio.manifest.os.scandir", refuse)
    run = convert("--dry-run")
    assert run.exit_code == 2
    assert "cannot be listed: Permission denied" in run.stderr


def test_an_output_that_is_a_file_is_named(workspace: Path, convert: Umc) -> None:
    (workspace / "taken").write_text("")
    run = convert("--dry-run", "--output", "taken/converted")
    assert run.exit_code == 3
    assert "taken is a file" in run.stderr


def test_python_users_can_ask_too(workspace: Path) -> None:
    report = convert_from_python(SOURCE, workspace=workspace, targets=TARGET, converter="eq", dry_run=True)
    assert report.n_segments == 8
    assert not (workspace / "converted").exists()


def test_audio_files_are_counted_timed_and_not_written(workspace: Path, convert: Umc) -> None:
    asked = ("--write", "shards,flac,wav", "--gain-db", "-12", "--json", "--quiet")
    before = content(workspace)
    dry = convert(*asked, "--dry-run").json
    assert content(workspace) == before
    real = convert(*asked).json
    assert (dry["n_audio_to_make"], dry["n_audio_kept"]) == (real["n_audio_written"], 0)
    files = [path for path in (workspace / "converted").rglob("*") if path.suffix in (".h5", ".flac", ".wav")]
    n_bytes = sum(path.stat().st_size for path in files)
    assert n_bytes / 1.5 < dry["estimated_bytes"] < 1.5 * n_bytes
    assert dry["estimated_seconds"] > 0
    again = convert(*asked, "--dry-run").json
    assert (again["n_audio_to_make"], again["n_audio_kept"]) == (0, real["n_audio_written"])
    assert (again["estimated_seconds"], again["estimated_bytes"]) == (0, 0)
    assert convert(*asked, "--overwrite", "--dry-run").json["n_audio_to_make"] == real["n_audio_written"]
    other = ("--write", "shards,flac", "--gain-db", "-12")
    refused = convert(*other, "--dry-run")
    assert (refused.exit_code, refused.stderr.splitlines()[-2:]) == (2, convert(*other).stderr.splitlines()[-2:])
    assert "audio files of another run or other settings (kinds)" in refused.stderr


def test_of_audio_alone_no_shard_is_made(convert: Umc) -> None:
    dry = convert("--write", "flac", "--dry-run", "--json").json
    assert (dry["n_shards_to_make"], dry["n_shards_kept"], dry["n_audio_to_make"]) == (0, 0, 4)
    assert "would make   4 audio files, keep 0" in convert("--write", "flac", "--dry-run").stdout
