"""`umc convert --update`: a data set that grows, end to end."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conversion.generators import write_small_checkpoint
from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from tests.test_changed_recordings import later, quieter
from tests.test_resume import leftovers, shards
from umc_cli import atomic_write
from umc_cli.response.device import DeviceRegistry
from umc_cli.shards.reader import ShardDataset
from umc_cli.shards.schema import read_shard_header

Umc = Callable[..., Run]
Rows = dict[tuple[str, str, int], tuple[str, str, str, bytes]]

ITEM = ("target", "path", "segment_start", "label", "split", "recording", "log_mel")
UPDATE = ("--update", "--shard-size", "4")


def rows(root: Path) -> Rows:
    """Return what a classifier would learn from, by target, recording and start; every row once."""
    samples = list(ShardDataset(root, item=ITEM))
    found: Rows = {tuple(sample[:3]): (*sample[3:6], sample[6].numpy().tobytes()) for sample in samples}
    assert len(found) == len(samples)
    return found


def data(workspace: Path, name: str) -> Path:
    return workspace / f"data/{SOURCE}/{name}.wav"


def grow(workspace: Path) -> None:
    """Add a recording, make one longer, remove one."""
    write_audio(data(workspace, "a/new"), noise(seed=77))
    write_audio(data(workspace, "a/good0"), noise(3.0, seed=78))
    data(workspace, "b/good1").unlink()


@pytest.fixture
def grown(workspace: Path, convert: Umc) -> Path:
    """A workspace that was converted, and whose recordings have changed since; every recording is in `train`."""
    (workspace / "umc.toml").write_text('[workspace]\nshares = "train=100"\n')
    assert convert("--shard-size", "4").exit_code == 0
    grow(workspace)
    return workspace


def test_an_updated_run_holds_what_a_fresh_one_would(grown: Path, convert: Umc, umc: Umc) -> None:
    kept = shards(grown / "converted")
    dry = convert(*UPDATE, "--dry-run", "--json").json
    assert shards(grown / "converted") == kept
    report = convert(*UPDATE, "--json").json
    counts = {"name": "001", "n_new": 1, "n_changed": 1, "n_moved": 0, "n_gone": 1, "n_kept": 2}
    assert report["update"] == dry["update"] == counts
    assert (report["n_files"], report["n_segments"]) == (4, 9)
    assert (report["n_shards_written"], report["n_shards_kept"]) == (2, 2)
    assert (dry["n_shards_to_make"], dry["n_shards_kept"], dry["n_segments"]) == (2, 2, 9)
    after = shards(grown / "converted")
    assert {name: after[name] for name in kept} == kept
    assert after.keys() - kept.keys() == {f"updates/001/{TARGET}/shard-0000{number}.h5" for number in (0, 1)}

    assert convert("--output", "fresh").exit_code == 0
    assert rows(grown / "converted") == rows(grown / "converted" / TARGET) == rows(grown / "fresh")
    assert len(ShardDataset(grown / "converted", split="train")) == 9
    assert ShardDataset(grown / "converted", split="train").class_counts.tolist() == [7, 2]
    listed = umc("shards", "list", "converted", "--json").json
    (target,) = listed["targets"]
    assert (target["n_segments"], target["n_superseded"]) == (9, 4)
    assert (target["n_shards"], listed["n_planned_shards"], listed["n_updates"]) == (4, 4, 1)
    assert umc("shards", "verify", "converted").exit_code == 0


def test_nothing_new_is_said_and_makes_nothing(grown: Path, convert: Umc) -> None:
    assert convert(*UPDATE).exit_code == 0
    before = {path: path.read_bytes() for path in (grown / "converted").rglob("*") if path.is_file()}
    run = convert(*UPDATE)
    assert run.exit_code == 0
    assert "update: nothing is new, changed or gone (4 recordings kept)" in run.stderr
    assert {path: path.read_bytes() for path in (grown / "converted").rglob("*") if path.is_file()} == before


def test_updates_follow_one_another(grown: Path, convert: Umc) -> None:
    """A recording that changes twice, one that goes and comes back, and at last one that goes alone."""
    convert(*UPDATE)
    write_audio(data(grown, "a/good0"), noise(1.0, seed=79))
    write_audio(data(grown, "b/good1"), noise(seed=1))
    assert convert(*UPDATE, "--json").json["update"] | {"n_kept": 0} == {
        "name": "002", "n_new": 1, "n_changed": 1, "n_moved": 0, "n_gone": 0, "n_kept": 0,
    }  # fmt: skip
    data(grown, "a/new").unlink()
    report = convert(*UPDATE, "--json").json
    assert (report["update"]["name"], report["update"]["n_gone"], report["n_shards_written"]) == ("003", 1, 0)
    assert convert("--output", "fresh").exit_code == 0
    assert rows(grown / "converted") == rows(grown / "fresh")


def test_without_an_earlier_run_it_is_an_ordinary_one(workspace: Path, convert: Umc) -> None:
    report = convert(*UPDATE, "--json").json
    assert report["update"] is None
    assert convert("--shard-size", "4", "--output", "plain").exit_code == 0
    assert shards(workspace / "converted") == shards(workspace / "plain")
    assert not (workspace / "converted/updates.json").exists()
    assert convert("--shard-size", "4", "--json").json["n_shards_kept"] == 2


def test_a_new_sound_of_the_same_length_and_other_words_are_changes(workspace: Path, convert: Umc) -> None:
    manifest = workspace / "data/manifest.csv"
    lines = [f"{SOURCE}/{'ab'[n % 2]}/good{n}.wav,{SOURCE},{'ab'[n % 2]},train" for n in range(4)]
    manifest.write_text("\n".join(["path,device,label,split", *lines]))
    assert convert("--shard-size", "4").exit_code == 0
    quieter(data(workspace, "a/good0"))
    later(data(workspace, "b/good1"))
    manifest.write_text("\n".join(["path,device,label,split", *lines[:2], lines[2].replace("train", "test"), lines[3]]))
    run = convert(*UPDATE, "--json")
    assert (run.exit_code, run.json["update"]) == (
        0, {"name": "001", "n_new": 0, "n_changed": 2, "n_moved": 1, "n_gone": 0, "n_kept": 2},
    )  # fmt: skip
    touched, moved = sorted(run.json["warnings"])
    assert touched.startswith("1 recording has a different modification time")
    assert moved.startswith("1 recording is converted anew for another split alone")
    again = convert(*UPDATE, "--json").json
    assert (again["update"]["name"], again["warnings"]) == (None, [])
    convert("--output", "fresh")
    assert rows(workspace / "converted") == rows(workspace / "fresh")
    assert len(ShardDataset(workspace / "converted", split="test")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hop", "10240"), "--hop: 20480 then, 10240 now"),
        (("--converter", "eq_noise"), "--converter: eq then, eq_noise now"),
        (("--dtype", "float32"), "--dtype: float16 then, float32 now"),
        (("--label", "a"), "--label: all then, a now"),
        (("--targets", "xperia1"), f"has targets that the update would leave behind: {TARGET}"),
        (("--overwrite",), "--update keeps what is there and --overwrite removes it"),
        (("--write", "flac"), "has shards, which the update would leave behind"),
    ],
)
def test_what_cannot_be_updated_is_refused(grown: Path, convert: Umc, options: tuple[str, ...], message: str) -> None:
    before = shards(grown / "converted")
    for dry in ((), ("--dry-run",)):
        run = convert(*UPDATE, *options, *dry)
        assert (run.exit_code, message in run.stderr) == (2, True), run.stderr
    assert "--overwrite" in run.stderr or "--targets" in run.stderr or "--write" in run.stderr
    assert shards(grown / "converted") == before
    assert not (grown / "converted/updates").exists()


def test_a_record_that_changed_is_named(grown: Path, convert: Umc) -> None:
    record = DeviceRegistry(grown / "devices").get(TARGET).model_copy(update={"note": "measured again"})
    (grown / "devices").mkdir()
    (grown / f"devices/{TARGET}.json").write_text(record.model_dump_json())
    run = convert(*UPDATE)
    assert run.exit_code == 2
    assert f"it was made otherwise (target {TARGET}: its record changed" in run.stderr


def test_a_target_that_is_called_as_the_folder_of_updates_is_refused(workspace: Path, umc: Umc) -> None:
    record = DeviceRegistry().get(TARGET).model_copy(update={"id": "updates"})
    (workspace / "devices").mkdir()
    (workspace / "devices/updates.json").write_text(record.model_dump_json())
    command = ("convert", "--source", SOURCE, "--targets", "updates", "--converter", "eq")
    assert umc(*command).exit_code == 0
    write_audio(data(workspace, "a/new"), noise(seed=77))
    run = umc(*command, "--update")
    assert run.exit_code == 2
    assert "a run with a target called updates cannot be updated" in run.stderr
    assert len(ShardDataset(workspace / "converted/updates")) == 8


def test_weights_that_changed_are_named(workspace: Path, umc: Umc) -> None:
    (workspace / "checkpoints").mkdir()
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--engine", "torch", "--checkpoint")
    first, second = (write_small_checkpoint(workspace / f"checkpoints/{n}.safetensors", seed=n) for n in (1, 2))
    assert umc(*command, first).exit_code == 0
    write_audio(data(workspace, "a/new"), noise(seed=77))
    run = umc(*command, second, "--update")
    assert run.exit_code == 2
    assert "weights (--checkpoint): changed" in run.stderr
    assert umc(*command, first, "--update").exit_code == 0


def test_an_ordinary_run_is_refused_and_overwrite_removes_all(grown: Path, convert: Umc) -> None:
    refused = convert("--shard-size", "4")
    assert refused.exit_code == 2
    assert "give --update to convert only what is new or changed" in refused.stderr
    convert(*UPDATE)
    for dry in ((), ("--dry-run",)):
        refused = convert("--shard-size", "4", *dry)
        assert refused.exit_code == 2
        assert "was updated (umc convert --update)" in refused.stderr
    assert convert("--overwrite", "--dry-run", "--json").json["n_shards_removed"] == 4
    assert convert("--shard-size", "4", "--overwrite").exit_code == 0
    assert convert("--shard-size", "4", "--output", "fresh").exit_code == 0
    assert shards(grown / "converted") == shards(grown / "fresh")
    assert not (grown / "converted/updates.json").exists()


def record_levels(workspace: Path, first: int, count: int) -> None:
    for device, seed in ((SOURCE, 0), (TARGET, 50)):
        for number in range(first, first + count):
            write_audio(workspace / f"data/{device}/a/x{number}.wav", noise(5, seed=seed + number))


def test_levels_are_those_of_the_first_run(workspace: Path, umc: Umc) -> None:
    """The tables would be others now, and `auto` could choose another converter."""
    record_levels(workspace, 0, 6)
    command = ("convert", "--source", SOURCE, "--targets", TARGET)
    assert umc(*command).exit_code == 0
    tables = (workspace / "converted/level_quantiles.json").read_bytes()
    before = read_shard_header(workspace / f"converted/{TARGET}/shard-00000.h5")
    record_levels(workspace, 6, 6)
    assert umc(*command).exit_code == 2  # forgotten once: nothing is lost
    report = umc(*command, "--update", "--json").json
    assert (report["exit_code"], report["update"]["n_new"]) == (0, 6)
    assert report["reason"] == "as the run that is updated"
    after = read_shard_header(workspace / f"converted/updates/001/{TARGET}/shard-00000.h5")
    assert (after.target_id, after.description["settings"]) == (before.target_id, before.description["settings"])
    assert (workspace / "converted/level_quantiles.json").read_bytes() == tables
    (workspace / "converted/level_quantiles.json").unlink()
    record_levels(workspace, 12, 1)
    run = umc(*command, "--update")
    assert run.exit_code == 2
    assert "levels of the source's recordings: changed" in run.stderr


def test_noise_floors_from_recordings_are_those_of_the_first_run(
    workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umc_cli.conversion.chosen import recorded_floors

    (workspace / "devices").mkdir()
    for name in (SOURCE, TARGET):
        record = DeviceRegistry().get(name).model_copy(update={"noise_floor_db": None})
        (workspace / f"devices/{name}.json").write_text(record.model_dump_json())
    quiet_s = np.concatenate([noise(2.0), 0.001 * noise(1.0)])
    for device in (SOURCE, TARGET):
        for number in range(8):
            write_audio(workspace / f"data/{device}/a/x{number}.wav", quiet_s)
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq_noise")
    first = umc(*command, "--json").json
    assert set(first["recorded_floors"]) == {SOURCE, TARGET}
    kept = (workspace / "converted/recorded_floors.json").read_bytes()
    for device in (SOURCE, TARGET):
        write_audio(workspace / f"data/{device}/a/y.wav", 0.1 * quiet_s)
    assert umc(*command).exit_code == 2
    with monkeypatch.context() as context:
        context.setattr(recorded_floors, "_floor_of", None)  # nothing is measured again
        report = umc(*command, "--update", "--json").json
    assert (report["exit_code"], report["update"]["n_new"]) == (0, 1)
    assert report["recorded_floors"] == first["recorded_floors"]
    assert (workspace / "converted/recorded_floors.json").read_bytes() == kept
    settings = [
        read_shard_header(workspace / f"converted/{folder}{TARGET}/shard-00000.h5").description["settings"]
        for folder in ("", "updates/001/")
    ]
    assert settings[0] == settings[1]
    # Converted anew, what the recordings of now tell counts.
    assert umc(*command, "--overwrite", "--json").json["recorded_floors"] != first["recorded_floors"]


def test_floors_are_not_measured_again_by_a_run_that_is_resumed(
    workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umc_cli.conversion.chosen import recorded_floors

    record = DeviceRegistry().get(SOURCE).model_copy(update={"noise_floor_db": None})
    (workspace / "devices").mkdir()
    (workspace / f"devices/{SOURCE}.json").write_text(record.model_dump_json())
    for number in range(8):
        write_audio(workspace / f"data/{SOURCE}/a/x{number}.wav", np.concatenate([noise(1.0), 0.001 * noise(1.0)]))
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq_noise", "--json")
    first = umc(*command).json
    with monkeypatch.context() as context:
        context.setattr(recorded_floors, "_floor_of", None)
        again = umc(*command).json
    assert (again["n_shards_kept"], again["recorded_floors"]) == (1, first["recorded_floors"])
    quieter(data(workspace, "a/x0"))
    assert umc(*command).exit_code == 2


def test_a_target_that_is_added_gets_everything(grown: Path, umc: Umc) -> None:
    convert = ("convert", "--source", SOURCE, "--converter", "eq", "--shard-size", "4")
    kept = shards(grown / "converted")
    report = umc(*convert, "--targets", f"{TARGET},xperia1", "--with-source", "--update", "--json").json
    assert report["segments_by_target"] == {TARGET: 9, "xperia1": 9, SOURCE: 9}
    assert kept.items() <= shards(grown / "converted").items()
    assert umc(*convert, "--targets", f"{TARGET},xperia1", "--with-source", "--output", "fresh").exit_code == 0
    assert rows(grown / "converted") == rows(grown / "fresh")
    left = umc(*convert, "--targets", f"{TARGET},xperia1", "--update")
    assert left.exit_code == 2
    assert f"leave behind: {SOURCE}" in left.stderr
    assert "--with-source" in left.stderr
    assert umc("shards", "verify", "converted").exit_code == 0


def test_maps_of_transport_are_those_of_the_first_run(workspace: Path, umc: Umc) -> None:
    record_levels(workspace, 0, 12)
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "transport")
    assert umc(*command).exit_code == 0
    learned = workspace / f"converted/transport.{TARGET}.safetensors"
    before = learned.read_bytes()
    record_levels(workspace, 12, 2)
    assert umc(*command).exit_code == 2
    report = umc(*command, "--update", "--json").json
    assert (report["exit_code"], report["update"]["n_new"]) == (0, 2)
    assert learned.read_bytes() == before


def test_invented_targets_stay_the_same(workspace: Path, umc: Umc) -> None:
    (workspace / "umc.toml").write_text('[workspace]\nshares = "train=100"\n')
    convert = ("convert", "--source", SOURCE, "--converter", "eq", "--targets", "synth:2")
    assert umc(*convert).exit_code == 0
    grow(workspace)
    assert umc(*convert, "--update").exit_code == 0
    umc(*convert, "--output", "fresh")
    assert rows(workspace / "converted") == rows(workspace / "fresh")
    fewer = umc(*convert[:-1], "synth:1", "--update")
    assert fewer.exit_code == 2
    assert "leave behind: synth-" in fewer.stderr


def test_recordings_that_cannot_be_read_now_keep_their_rows(grown: Path, convert: Umc) -> None:
    data(grown, "b/good3").write_bytes(b"")
    report = convert(*UPDATE, "--json").json
    assert (report["exit_code"], report["update"]["n_gone"], report["n_segments"]) == (1, 1, 9)
    assert [entry["path"] for entry in report["failed"]] == [f"data/{SOURCE}/b/good3.wav"]
    assert (grown / "converted/failed.csv").read_text().count("\n") == 2
    data(grown, "b/good3").unlink()
    assert convert(*UPDATE, "--json").json["n_segments"] == 7
    assert not (grown / "converted/failed.csv").exists()


def test_a_folder_that_cannot_be_listed_is_not_gone(grown: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    from umc_cli.audio import manifest

    scan = os.scandir

    def refuse(folder: str | Path) -> object:
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(manifest.os, "scandir", refuse)
    report = convert(*UPDATE, "--json").json
    assert (report["exit_code"], report["update"]["n_gone"]) == (1, 0)


def test_listed_files_are_added_to_what_is_there(grown: Path, convert: Umc) -> None:
    report = convert(*UPDATE, "--json", data(grown, "a/new"), data(grown, "a/good2")).json
    assert report["update"] == {
        "name": "001", "n_new": 1, "n_changed": 0, "n_moved": 0, "n_gone": 1, "n_kept": 1,
    }  # fmt: skip
    assert len(ShardDataset(grown / "converted")) == 8


def test_parts_make_an_update_together(grown: Path, convert: Umc, umc: Umc) -> None:
    before = rows(grown / "converted")
    report = convert(*UPDATE, "--part", "1/2", "--json").json
    assert (report["part"], report["update"]["name"], report["n_shards_written"]) == ("1/2", "001", 1)
    assert rows(grown / "converted") == before
    verified = umc("shards", "verify", "converted")
    assert verified.exit_code == 1
    assert "is an update that is not complete" in verified.stderr
    assert convert(*UPDATE, "--part", "2/2", "--json").json["update"]["name"] is None
    assert convert("--output", "fresh").exit_code == 0
    assert rows(grown / "converted") == rows(grown / "fresh")
    assert umc("shards", "verify", "converted").exit_code == 0


def test_an_unfinished_update_is_finished_first(grown: Path, convert: Umc) -> None:
    convert(*UPDATE, "--part", "1/2")
    (unfinished,) = (grown / "converted/updates/001").rglob("*.h5")
    content = unfinished.read_bytes()
    write_audio(data(grown, "a/newer"), noise(seed=80))
    data(grown, "a/new").unlink()
    report = convert(*UPDATE, "--json").json
    assert report["update"] | {"n_kept": 0} == {
        "name": "002", "n_new": 1, "n_changed": 0, "n_moved": 0, "n_gone": 1, "n_kept": 0,
    }  # fmt: skip
    assert report["failed"] == []
    assert unfinished.read_bytes() == content
    convert("--output", "fresh")
    assert rows(grown / "converted") == rows(grown / "fresh")


def test_a_record_of_updates_that_is_lost_is_made_again(grown: Path, convert: Umc, umc: Umc) -> None:
    convert(*UPDATE)
    record = grown / "converted/updates.json"
    whole = rows(grown / "converted")
    record.unlink()
    assert convert(*UPDATE).exit_code == 0
    assert rows(grown / "converted") == whole
    for content in ("{", '{"format": "umc-updates", "format_version": 2}', "[]"):
        record.write_text(content)
        for command in (("shards", "list", "converted"), ("shards", "verify", "converted")):
            assert umc(*command).exit_code == 2
        run = convert(*UPDATE)
        assert run.exit_code == 2
        assert "updates.json" in run.stderr
    record.write_text(json.dumps({"format": "umc-updates", "format_version": 1, "run_id": "x", "updates": []}))
    assert "are not of the run in" in convert(*UPDATE).stderr


def test_without_the_folder_of_updates_readers_get_the_first_run(grown: Path, convert: Umc) -> None:
    before = rows(grown / "converted")
    (grown / "updates.json").write_text("somebody's own")
    assert rows(grown / "converted") == before
    convert(*UPDATE)
    shutil.rmtree(grown / "converted/updates")
    assert rows(grown / "converted") == rows(grown / f"converted/{TARGET}") == before
    run = convert(*UPDATE)
    assert run.exit_code == 2
    assert "updates/001 has no run.json" in run.stderr


class Killed(BaseException):
    """What nothing catches."""


def test_an_update_that_is_killed_at_any_write_loses_and_doubles_nothing(
    grown: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each file gets its name; readers see the state before or the one after, never a mixture."""
    before = grown / "before"
    (grown / "converted").rename(before)
    old = rows(before)
    options = (*UPDATE, "--write", "shards", "--output")
    shutil.copytree(before, grown / "whole")
    assert convert(*options, "whole").exit_code == 0
    whole, new = shards(grown / "whole"), rows(grown / "whole")
    record = (grown / "whole/updates.json").read_bytes()
    rename = Path.replace
    states = []
    for moment in range(100):
        root = grown / f"killed{moment}"
        shutil.copytree(before, root)
        left = [moment]

        def killed(path: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 2
            if left[0] == -2:
                raise Killed
            result = rename(path, target)
            if left[0] == -1:
                raise Killed
            return result

        with monkeypatch.context() as context:
            context.setattr(atomic_write.Path, "replace", killed)
            with suppress(Killed):
                convert(*options, root.name)
        states.append(rows(root))
        assert states[-1] in (old, new)
        if left[0] >= 0:
            break
        assert convert(*options, root.name).exit_code == 0
        assert (shards(root), rows(root), (root / "updates.json").read_bytes()) == (whole, new, record)
        assert not leftovers(root)
    assert 10 < moment < 99
    assert [state == new for state in states] == sorted(state == new for state in states)


def test_whole_recordings_are_updated_in_the_manifest(grown: Path, convert: Umc, umc: Umc) -> None:
    from tests.test_convert_audio import rows as manifest_rows

    write = ("--write", "shards,flac")
    assert convert("--shard-size", "4", "--overwrite", *write).exit_code == 0
    root = grown / "converted"
    first = {path: path.read_bytes() for path in root.rglob("*.flac")}
    write_audio(data(grown, "a/good0"), noise(2.5, seed=81))
    write_audio(data(grown, "b/newer"), noise(seed=82))
    data(grown, "a/new").unlink()
    assert "has audio files, which the update would leave behind" in convert(*UPDATE).stderr
    gain_db = json.loads((root / "audio.json").read_text())["settings"]["gain_db"]
    assert gain_db < 0
    report = convert(*UPDATE, *write, "--json").json
    assert (report["n_audio_written"], report["n_audio_kept"], report["gain_db"]) == (2, 4, gain_db)
    assert {path: path.read_bytes() for path in first} == first
    listed = {row["source_path"]: row for row in manifest_rows(root)}
    assert len(listed) == len(manifest_rows(root)) == 4
    convert("--output", "fresh", *write, "--gain-db", gain_db)
    for row in manifest_rows(grown / "fresh"):
        made = root / listed[row["source_path"]]["path"]
        assert made.read_bytes() == (grown / "fresh" / row["path"]).read_bytes()
        assert row | {"path": ""} == listed[row["source_path"]] | {"path": ""}
    assert listed[f"data/{SOURCE}/b/newer.wav"]["path"] == f"updates/001/{TARGET}/b/newer.flac"
    assert umc("shards", "verify", "converted").exit_code == 0
    before = (root / "manifest.csv").read_bytes()
    (root / "manifest.csv").unlink()
    again = convert(*UPDATE, *write, "--json").json
    assert (again["n_audio_written"], again["n_audio_kept"]) == (0, 6)
    assert (root / "manifest.csv").read_bytes() == before


def test_labels_of_superseded_rows_are_not_labels(grown: Path, convert: Umc) -> None:
    shutil.rmtree(grown / f"data/{SOURCE}/b")
    assert convert(*UPDATE).exit_code == 0
    assert ShardDataset(grown / "converted").labels == ["a"]
    loaded = torch.utils.data.DataLoader(ShardDataset(grown / "converted"), batch_size=16)
    ((log_mel, label),) = list(loaded)
    assert (tuple(log_mel.shape), label.tolist()) == ((7, 1, 80, 80), [0] * 7)
