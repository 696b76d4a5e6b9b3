"""What recordings are for: names of today, of 0.1.0 and of other data sets, and shares."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import SOURCE, Run, noise, write_audio
from umc_cli import ShardDataset
from umc_cli.audio.manifest import (
    Clip,
    assign_splits,
    find_recordings,
    for_converters,
    read_manifest,
    recordings_if_any,
)
from umc_cli.errors import SettingsError
from umc_cli.splits import OLD_SHARES, SplitRules, parse_shares, parse_split_map, role


def clips_of(n: int) -> list[Clip]:
    return [Clip(f"{index}.wav", "x", "bell", "", f"r{index}") for index in range(n)]


def counts(rules: SplitRules, n: int = 300) -> dict[str, int]:
    return dict(Counter(clip.split for clip in assign_splits(clips_of(n), rules=rules)))


def test_of_300_clips_a_classifier_learns_from_240() -> None:
    assert counts(SplitRules()) == {"train": 240, "test": 60}


def test_what_is_tested_on_is_what_0_1_0_tested_on() -> None:
    now = {clip.recording: clip.split for clip in assign_splits(clips_of(300))}
    then = {clip.recording: clip.split for clip in assign_splits(clips_of(300), rules=SplitRules(OLD_SHARES))}
    assert Counter(then.values()) == {"train-mc": 120, "train-sec": 120, "val-sec": 60}
    assert {name for name, split in now.items() if split == "test"} == {
        name for name, split in then.items() if role(split) == "test"
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("train=70,val=10,test=20", {"train": 210, "val": 30, "test": 60}),
        ("test=0.2, train=0.8", {"train": 240, "test": 60}),
        ({"train": 50, "train-converter": 50}, {"train-converter": 150, "train": 150}),
        ("train-mc=40,train-sec=40,val-sec=20", {"train-mc": 120, "train-sec": 120, "val-sec": 60}),
    ],
)
def test_shares_are_options(given: object, expected: dict[str, int]) -> None:
    assert counts(SplitRules(parse_shares(given))) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("train=70,test=20", "sum to 90, not to 100"),
        ("train=80,tets=20", "unknown split 'tets'; did you mean 'test'"),
        ("train=50,train-sec=50", "'train-sec' gets two shares"),
        ("train=all", "share of train is 'all'"),
        ("train=-5,test=105", "share of train is '-5'"),
        ("train", "'train' has no value"),
        ("", "names no split"),
        ({"train": True}, "share of train is True"),
        (80, "80 is not a list"),
    ],
)
def test_wrong_shares_are_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_shares(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("training=train", "unknown split 'training': the manifest's name comes after the sign"),
        ("train=dev,val=dev", "'dev' is to be train and val"),
        ("train=", "has no value"),
        ({"train": [""]}, "names no split"),
    ],
)
def test_a_wrong_map_is_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_split_map(given)


def write_manifest(folder: Path, splits: list[str]) -> Path:
    rows = [f"{index}.wav,x,bell,{split},r{index}\n" for index, split in enumerate(splits)]
    path = folder / "manifest.csv"
    path.write_text("path,device,label,split,recording\n" + "".join(rows))
    return path


def test_a_map_reads_the_splits_of_another_data_set(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, ["training", "extra", "dev", "test", "train-sec", ""])
    found = read_manifest(path, SplitRules(names=parse_split_map("train=training,train=extra,val=dev")))
    assert not found.failed
    assert [clip.split for clip in found.clips] == ["train", "train", "val", "test", "train-sec", "train"]
    assert parse_split_map({"train": ["training", "extra"], "val": "dev"}) == {
        "training": "train",
        "extra": "train",
        "dev": "val",
    }


def test_a_map_that_leaves_rows_out_names_their_splits(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, ["training", "dev", "dev", "evaluation"])
    with pytest.raises(SettingsError, match=r"leaves out splits of the manifest: 'dev' \(2 rows\), 'evaluation' \(1 r"):
        read_manifest(path, SplitRules(names=parse_split_map("train=training")))


def test_without_a_map_an_unknown_split_says_that_there_is_one(tmp_path: Path) -> None:
    found = read_manifest(write_manifest(tmp_path, ["training", "train"]))
    assert "unknown split 'training'" in found.failed[0].reason
    assert "--split-map" in found.failed[0].hint


def test_a_map_that_meets_no_manifest_or_no_split_is_refused(tmp_path: Path) -> None:
    rules = SplitRules(names=parse_split_map("train=training,val=dev"))
    for find in (recordings_if_any, find_recordings):
        with pytest.raises(
            SettingsError, match=r"the split map has no effect: there is no manifest in .*data"
        ) as error:
            find(tmp_path / "data", rules)
        assert "manifest.csv" in error.value.hint
        (tmp_path / "data").mkdir(exist_ok=True)
    path = write_manifest(tmp_path, ["train", "", "test"])
    with pytest.raises(SettingsError, match=r"no row of .*manifest.csv has split 'training' or 'dev'") as error:
        read_manifest(path, rules)
    assert "the rows have: test, train" in error.value.hint
    assert not read_manifest(write_manifest(tmp_path, []), rules).clips


def test_shares_that_nothing_gets_are_told(tmp_path: Path) -> None:
    shares = SplitRules(shares=parse_shares("train=50,test=50"), shares_are_of_call=True)
    assert read_manifest(write_manifest(tmp_path, ["train", "test"]), shares).warnings == (
        "shares of the splits have no effect: manifest.csv gives every recording a split",
    )
    assert not read_manifest(write_manifest(tmp_path, ["train", ""]), shares).warnings
    assert not read_manifest(write_manifest(tmp_path, ["train", "test"])).warnings


def test_old_and_new_names_mean_the_same(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,device,label,split,recording\na.wav,x,bell,train-sec,r1\nb.wav,y,bell,train,r1\n"
    )
    assert [clip.role for clip in find_recordings(tmp_path).clips] == ["train", "train"]
    (tmp_path / "manifest.csv").write_text(
        "path,device,label,split,recording\na.wav,x,bell,train-sec,r1\nb.wav,y,bell,test,r1\n"
    )
    with pytest.raises(SettingsError, match="recording 'r1' is in two splits"):
        find_recordings(tmp_path)


def test_converters_learn_from_train_unless_there_is_a_split_of_their_own() -> None:
    clips = [Clip("1", "x", "a", "train", "1"), Clip("2", "x", "a", "val", "2"), Clip("3", "x", "a", "test", "3")]
    assert [clip.file for clip in for_converters(clips)] == ["1"]
    own = [*clips, Clip("4", "y", "a", "train-mc", "4")]
    assert [clip.file for clip in for_converters(own)] == ["4"]


def test_the_command_line_takes_shares_and_a_map(workspace: Path, convert: Callable[..., Run]) -> None:
    rows = [f"{SOURCE}/{'ab'[n % 2]}/good{n}.wav,{SOURCE},a,{'fit' if n else 'check'}\n" for n in range(4)]
    (workspace / "data/manifest.csv").write_text("path,device,label,split\n" + "".join(rows))
    run = convert("--split-map", "train=fit,test=check", "--split", "test", "--json")
    assert run.json["n_files"] == 1
    assert len(ShardDataset(workspace / "converted", split="val-sec")) == 2
    (workspace / "data/manifest.csv").unlink()
    for files in ([], [workspace / f"data/{SOURCE}/a/good0.wav"]):
        run = convert("--split-map", "train=fit,test=check", "--output", "no", *files)
        assert (run.exit_code, run.stdout) == (2, "")
        assert "the split map has no effect: there is no manifest in" in run.stderr
    run = convert("--shares", "train-sec=100", "--output", "all-train")
    assert run.exit_code == 0
    assert len(ShardDataset(workspace / "all-train", split="train")) == 8


def test_a_workspace_says_it_once_for_all_commands(
    workspace: Path, umc: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audio(workspace / f"data/{SOURCE}/a/more.wav", noise())
    (workspace / "umc.toml").write_text('[workspace]\nshares = { train = 100 }\n[convert]\nconverter = "eq"\n')
    arguments = ("convert", "--source", SOURCE, "--targets", "pixel3", "--json")
    assert umc(*arguments, "--split", "train").json["n_files"] == 5
    monkeypatch.setenv("UMC_SHARES", "val=100")
    assert umc(*arguments, "--split", "val", "--output", "other").json["n_files"] == 5


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("shares = { train = 70 }", "[workspace]: shares: shares sum to 70, not to 100"),
        ('split_map = "train"', "[workspace]: split_map: 'train' has no value"),
        ("shaers = 1", "unknown name 'shaers'"),
    ],
)
def test_a_wrong_workspace_is_refused(workspace: Path, umc: Callable[..., Run], toml: str, message: str) -> None:
    (workspace / "umc.toml").write_text(f"[workspace]\n{toml}\n")
    run = umc("convert", "--source", SOURCE)
    assert run.exit_code == 2
    assert message in run.stderr


def test_the_wrong_option_is_named(convert: Callable[..., Run]) -> None:
    run = convert("--shares", "train=70,test=20")
    assert run.exit_code == 2
    assert "--shares is 'train=70,test=20': shares sum to 90, not to 100" in run.stderr


def test_a_run_of_0_1_0_goes_on_with_the_shares_of_0_1_0(workspace: Path, convert: Callable[..., Run]) -> None:
    assert convert("--shares", "train-mc=40,train-sec=40,val-sec=20").exit_code == 0
    refused = convert()
    assert refused.exit_code == 2
    assert "--shares train-mc=40,train-sec=40,val-sec=20" in refused.stderr
    again = convert("--shares", "train-mc=40,train-sec=40,val-sec=20", "--json")
    assert (again.exit_code, again.json["n_shards_kept"]) == (0, 1)


def test_an_unknown_split_of_shards_is_refused(workspace: Path, convert: Callable[..., Run]) -> None:
    convert()
    with pytest.raises(SettingsError, match="unknown split 'tran'"):
        ShardDataset(workspace / "converted", split="tran")
