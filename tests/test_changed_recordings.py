"""Recordings that change their sound but not their length: whoever keeps what was made of them notices."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from umc_cli.audio.manifest import Clip
from umc_cli.audio.modification import UNKNOWN, mark
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.kept_knowledge import KeptKnowledge
from umc_cli.conversion.level_tables import load_level_tables
from umc_cli.errors import SettingsError
from umc_cli.training.folder import note_start
from umc_cli.training.segment_store import store_segments

Umc = Callable[..., Run]

TIMES = "converted/recording_times.jsonl"
CLIP = f"data/{SOURCE}/a/good0.wav"


def quieter(path: Path, gain: float = 0.1) -> Path:
    """Write a recording anew, 20 dB quieter: as long as before, in time and in bytes."""
    size = path.stat().st_size
    samples, rate_hz = soundfile.read(path)
    soundfile.write(path, gain * samples, rate_hz)
    assert path.stat().st_size == size
    return path


def later(path: Path) -> None:
    """Change the time of a file and nothing else."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def test_a_mark_knows_time_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(range(256)) * 400)
    first = mark(path)
    assert mark(path) == first
    later(path)
    assert mark(path).modified_ns == first.modified_ns + 1_000_000_000
    assert mark(path).sample_crc32 == first.sample_crc32
    path.write_bytes(bytes(range(255, -1, -1)) * 400)
    assert mark(path).sample_crc32 != first.sample_crc32
    assert mark(tmp_path / "missing") == (UNKNOWN, UNKNOWN)
    os.mkfifo(tmp_path / "pipe")
    assert mark(tmp_path / "pipe") == (UNKNOWN, UNKNOWN)
    (tmp_path / "empty").touch()
    assert mark(tmp_path / "empty").sample_crc32 == 0


def test_convert_refuses_to_keep_what_was_made_of_another_sound(workspace: Path, umc: Umc) -> None:
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--shard-size", "4")
    assert umc(*command).exit_code == 0
    kept = workspace / f"converted/{TARGET}/shard-00001.h5"
    before = kept.stat().st_mtime_ns
    quieter(workspace / CLIP)
    # Also for a target that is added: the shards of the first one are of the old sound.
    for run in (umc(*command), umc(*command[:4], f"{TARGET},xperia1", *command[5:])):
        assert run.exit_code == 2
        assert f"a recording was changed after it was converted, though its length is the same: {CLIP}" in run.stderr
    # What it says to do works, and only this shard is made again.
    (remove,) = re.findall(r"\((rm .*?)\)", run.stderr)
    assert shlex.split(remove) == ["rm", f"{workspace}/converted/*/shard-00000.h5"]
    subprocess.run(remove, shell=True, check=True, cwd=workspace)
    run = umc(*command, "--json")
    assert (run.exit_code, run.json["n_shards_written"], run.json["n_shards_kept"]) == (0, 1, 1)
    assert kept.stat().st_mtime_ns == before
    assert umc(*command, "--output", "undisturbed").exit_code == 0
    for name in ("shard-00000.h5", "shard-00001.h5"):
        made, undisturbed = (workspace / root / TARGET / name for root in ("converted", "undisturbed"))
        assert made.read_bytes() == undisturbed.read_bytes()
    assert umc(*command).exit_code == 0


def test_overwrite_takes_the_new_sound(workspace: Path, convert: Umc) -> None:
    assert convert().exit_code == 0
    quieter(workspace / CLIP)
    assert convert().exit_code == 2
    assert convert("--overwrite").exit_code == 0
    assert convert().exit_code == 0


def test_a_new_time_alone_is_said_once_and_refuses_nothing(workspace: Path, convert: Umc) -> None:
    assert convert().exit_code == 0
    later(workspace / CLIP)
    run = convert("--json")
    assert (run.exit_code, run.json["n_shards_kept"]) == (0, 1)
    (warning,) = run.json["warnings"]
    assert warning.startswith("1 recording has a different modification time than when converted")
    assert CLIP in warning
    assert convert("--json").json["warnings"] == []


@pytest.mark.parametrize("content", [None, "", "{}\n", '{"format": "umc-recording-times", "format_version": 9}\n'])
def test_a_run_without_times_goes_on_and_gets_them(workspace: Path, convert: Umc, content: str | None) -> None:
    assert convert().exit_code == 0
    whole = (workspace / TIMES).read_text()
    (workspace / TIMES).unlink() if content is None else (workspace / TIMES).write_text(content)
    assert convert().exit_code == 0
    assert (workspace / TIMES).read_text() == whole
    head, *lines = map(json.loads, whole.splitlines())
    assert head["run_id"] == json.loads((workspace / "converted/run.json").read_text())["run_id"]
    assert [line[0] for line in lines] == sorted(
        path.relative_to(workspace).as_posix() for path in workspace.rglob("good*.wav")
    )


def test_what_was_not_converted_yet_may_change(workspace: Path, convert: Umc) -> None:
    assert convert("--shard-size", "4").exit_code == 0
    (workspace / f"converted/{TARGET}/shard-00000.h5").unlink()
    quieter(workspace / CLIP)
    assert convert("--shard-size", "4").exit_code == 0


def test_a_part_looks_at_its_own_shards(workspace: Path, convert: Umc) -> None:
    assert convert("--shard-size", "4", "--part", "1/2").exit_code == 0
    quieter(workspace / CLIP)
    assert convert("--shard-size", "4", "--part", "2/2").exit_code == 0
    assert convert("--shard-size", "4", "--part", "1/2").exit_code == 2
    assert convert("--shard-size", "4").exit_code == 2


def clips_of(folder: Path, count: int, seconds: float = 2.0) -> list[Clip]:
    names = [f"{index}.wav" for index in range(count)]
    return [
        Clip(str(write_audio(folder / name, noise(seconds, seed=index))), SOURCE, "a", "train-mc", name)
        for index, name in enumerate(names)
    ]


def test_stored_segments_follow_the_recordings(tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "data", 2)
    first = store_segments(tmp_path / "store", {"all": clips}, SegmentSettings(), 1)
    level = np.asarray(first.parts["all"].segments, np.float32).mean()
    later(clips[0].path)
    again = store_segments(tmp_path / "store", {"all": clips}, SegmentSettings(), 1)
    assert again.content_sha256 == first.content_sha256
    for clip in clips:
        quieter(clip.path)
    changed = store_segments(tmp_path / "store", {"all": clips}, SegmentSettings(), 1)
    assert np.asarray(changed.parts["all"].segments, np.float32).mean() == pytest.approx(level - 20, abs=0.2)
    assert changed.fingerprint == first.fingerprint  # names and lengths
    assert changed.content_sha256 != first.content_sha256


def test_segments_of_an_earlier_version_are_kept_and_get_times(tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "data", 1)
    store_segments(tmp_path / "store", {"all": clips}, SegmentSettings(), 1)
    index_path = tmp_path / "store/log-mel.json"
    index = json.loads(index_path.read_text())
    earlier = {name: value for name, value in index.items() if name not in ("times_sha256", "content_sha256")}
    index_path.write_text(json.dumps(earlier))
    stored = tmp_path / "store/all.log-mel.float16"
    before = stored.stat().st_mtime_ns
    assert store_segments(tmp_path / "store", {"all": clips}, SegmentSettings(), 1).content_sha256 == ""
    assert stored.stat().st_mtime_ns == before
    assert json.loads(index_path.read_text())["times_sha256"] == index["times_sha256"]


def test_a_training_does_not_go_on_with_another_sound(tmp_path: Path) -> None:
    note_start(tmp_path, "id", "sec", {}, "same", "first")
    note_start(tmp_path, "id", "sec", {}, "same")  # not known: segments that an earlier version stored
    with pytest.raises(SettingsError, match=r"were changed since .* though their lengths are the same.*--overwrite"):
        note_start(tmp_path, "id", "sec", {}, "same", "second")


def test_level_tables_follow_the_recordings(tmp_path: Path, umc: Umc, workspace: Path) -> None:
    clips = clips_of(tmp_path / "data", 6, 4.0)
    first = load_level_tables(KeptKnowledge(tmp_path), [SOURCE], clips, SegmentSettings(), [])[SOURCE].levels_db
    path = tmp_path / "level_quantiles.json"
    for clip in clips:
        later(clip.path)
    again = load_level_tables(KeptKnowledge(tmp_path), [SOURCE], clips, SegmentSettings(), [])[SOURCE].levels_db
    assert (again == first).all()
    content = json.loads(path.read_text())
    for clip in clips:
        quieter(clip.path)
    changed = load_level_tables(KeptKnowledge(tmp_path), [SOURCE], clips, SegmentSettings(), [])[SOURCE].levels_db
    assert np.median(changed - first) == pytest.approx(-20, abs=0.3)
    # A table of an earlier version, which has no times, stays.
    del content["devices"][SOURCE]["times_sha256"]
    path.write_text(json.dumps(content))
    kept = load_level_tables(KeptKnowledge(tmp_path), [SOURCE], clips, SegmentSettings(), [])[SOURCE].levels_db
    assert (kept == first).all()
    # One that was measured otherwise does not.
    del content["devices"][SOURCE]["method"]
    path.write_text(json.dumps(content))
    measured = load_level_tables(KeptKnowledge(tmp_path), [SOURCE], clips, SegmentSettings(), [])[SOURCE].levels_db
    assert (measured == changed).all()
    # Where the result is the same, the table of a run is one of this version from then on.
    content = json.loads(path.read_text())
    assert content["devices"][SOURCE].pop("method") == 2
    path.write_text(json.dumps(content))
    of_run = KeptKnowledge(tmp_path, of_run=[SOURCE])
    assert (load_level_tables(of_run, [SOURCE], clips, SegmentSettings(), [])[SOURCE].levels_db == changed).all()
    assert json.loads(path.read_text())["devices"][SOURCE]["method"] == 2


def test_convert_refuses_where_levels_are_learned_from_another_sound(workspace: Path, umc: Umc) -> None:
    paths = [
        write_audio(workspace / f"data/{device}/a/x{index}.wav", noise(5, seed=seed + index))
        for device, seed in ((SOURCE, 0), (TARGET, 50))
        for index in range(6)
    ]
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "quantile")
    assert umc(*command).exit_code == 0
    for path in paths[6:]:
        quieter(path)
    run = umc(*command)
    assert run.exit_code == 2
    assert f"target {TARGET}: its record changed, or recordings that levels are learned from" in run.stderr
    assert "--overwrite" in run.stderr
