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
