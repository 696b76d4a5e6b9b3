"""`umc simulate`: a workspace of simulated devices from one's own clips."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.samples import SOURCE, Run, noise, write_audio
from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.config import find_workspace
from umc_cli.response.device import DeviceRegistry
from umc_cli.settings.simulate import SimulateSettings
from umc_cli.simulation import data_set
from umc_cli.simulation.data_set import write_simulated_data_set
from umc_cli.simulation.device_family import draw_device
from umc_cli.workflows import simulate as workflow

Umc = Callable[..., Run]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_workspaces_recordings_become_those_of_several_devices(umc: Umc, workspace: Path) -> None:
    for index in range(8):
        write_audio(workspace / f"data/{SOURCE}/a/more{index}.wav", noise(0.5, index))
    run = umc("simulate", "--devices", "3", "--unseen", "1", "--json", "--quiet")
    assert run.exit_code == 0, run.stderr
    assert (run.json["devices"], run.json["unseen"], run.json["n_clips"]) == (["sim0", "sim1", "sim2"], ["sim2"], 12)
    clips = find_recordings(workspace / "simulated/data").clips
    splits = {clip.recording: clip.split for clip in find_recordings(workspace / "data").clips}
    assert {clip.recording: clip.split for clip in clips} == splits
    assert {clip.split for clip in clips if clip.device == "sim2"} <= {"test"}
    assert DeviceRegistry(workspace / "simulated/devices").own_ids() == ["sim0", "sim1", "sim2"]
    assert not list(workspace.glob(".simulated*"))


def test_equal_settings_give_equal_files_and_another_seed_others(umc: Umc, workspace: Path) -> None:
    for name, seed in (("one", 4), ("two", 4), ("three", 5)):
        assert umc("simulate", f"data/{SOURCE}", "--devices", "1", "--seed", seed, "--output", name).exit_code == 0
    assert files(workspace / "one") == files(workspace / "two")
    assert files(workspace / "one").keys() == files(workspace / "three").keys()
    assert files(workspace / "one") != files(workspace / "three")


def test_the_new_workspace_is_one_of_its_own(umc: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "umc.toml").write_text('[convert]\nsource = "xperia1v"\n')
    assert umc("simulate", "--devices", "2").exit_code == 0
    monkeypatch.chdir(workspace / "simulated")
    run = umc("convert", "--converter", "eq", "--json")
    assert run.exit_code == 0
    assert (run.json["source"], run.json["targets"]) == ("sim0", ["sim1"])


def test_what_the_target_really_recorded_is_known(umc: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(12):
        write_audio(workspace / f"data/{SOURCE}/{'ab'[index % 2]}/more{index}.wav", noise(3.0, index))
    assert umc("simulate", "--devices", "2", "--seed", "1").exit_code == 0
    monkeypatch.chdir(workspace / "simulated")
    run = umc("eval", "conversion", "--no-probe", "--converters", "no_conversion,eq_noise", "--json", "--quiet")
    assert run.exit_code == 0, run.stderr
    assert run.json["targets"]["sim1"]["is_parallel"]
    assert all("log_spectral_distance_db" in row["overall"] for row in run.json["converters"][:2])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("nowhere",), "there is no folder nowhere"),
        (("empty",), "empty holds no recordings in folders of labels"),
        (("--source", "nokia"), "no recordings of nokia"),
        (("--devices", "0"), "must be at least 1"),
        (("--devices", "2", "--unseen", "2"), "none is left to train on"),
        (("--prefix", "xperia"), "there is a real device 'xperia1'"),
        (("--prefix", "../up"), "is not a device id"),
        (("--output", "data"), "data is not empty"),
    ],
)
def test_what_cannot_be_simulated_is_refused_and_leaves_nothing(
    umc: Umc, workspace: Path, options: tuple[str, ...], complaint: str
) -> None:
    (workspace / "empty").mkdir()
    before = files(workspace)
    run = umc("simulate", *options)
    assert run.exit_code == 2
    assert complaint in run.stderr
    assert "Hint:" in run.stderr
    assert files(workspace) == before


def test_several_devices_with_recordings_need_a_name(umc: Umc, workspace: Path) -> None:
    shutil.copytree(workspace / "data" / SOURCE, workspace / "data/phone")
    run = umc("simulate")
    assert run.exit_code == 2
    assert "name one with --source" in run.stderr


def test_clips_that_cannot_be_read_are_listed_and_the_others_recorded(umc: Umc, workspace: Path) -> None:
    (workspace / f"data/{SOURCE}/a/broken.wav").write_bytes(b"no sound")
    run = umc("simulate", "--devices", "1")
    assert run.exit_code == 1
    assert "1 clip left out" in run.stderr
    assert "broken.wav" in run.stderr
    assert "4 recordings: 4 clips with 2 labels x 1 device" in run.stdout
    for path in (workspace / f"data/{SOURCE}").rglob("good*"):
        path.write_bytes(b"no sound either")
    nothing = umc("simulate", "--devices", "1", "--output", "nothing")
    assert nothing.exit_code == 2
    assert "none of the 5 clips can be read" in nothing.stderr
    assert not (workspace / "nothing").exists()


def test_clips_without_a_label_are_told_and_system_files_are_none(umc: Umc, workspace: Path) -> None:
    write_audio(workspace / "clips/a/one.wav")
    write_audio(workspace / "clips/flat.wav")
    write_audio(workspace / "clips/@eaDir/one.wav")
    (workspace / "clips/a/._one.wav").write_bytes(b"Mac OS X")
    run = umc("simulate", "clips", "--devices", "1", "--json")
    assert (run.exit_code, run.json["n_clips"]) == (1, 1)
    (failed,) = run.json["failed"]
    assert failed["path"].endswith("clips/flat.wav")
    assert failed["reason"] == "does not lie in <label>/"


def test_an_interruption_leaves_nothing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow.atomic_write, "write_text", interrupt)
    before = files(workspace)
    settings = SimulateSettings(devices=1, output=workspace / "simulated")
    with pytest.raises(KeyboardInterrupt):
        workflow.simulate(find_workspace(workspace), settings, None, lambda _: None)
    assert files(workspace) == before


def test_clips_of_one_name_and_labels_that_are_no_folders_stay_apart(tmp_path: Path) -> None:
    sounds = [write_audio(tmp_path / f"{index}/take.wav", noise(0.5, index)) for index in range(2)]
    clips = [Clip(str(path), "phone", "../up", "train-mc", str(index)) for index, path in enumerate(sounds)]
    device = draw_device("sim0", np.zeros((1, 128)), np.random.default_rng(0))
    written = write_simulated_data_set(tmp_path / "set", clips, [device], seed=0)
    assert [path.relative_to(tmp_path / "set/data/sim0").as_posix() for path in written] == [
        "_up/take.flac",
        "_up/take-2.flac",
    ]
    assert {clip.label for clip in find_recordings(tmp_path / "set/data").clips} == {"../up"}


def test_only_the_beginning_of_a_long_clip_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_set, "LONGEST_S", 1)
    clip = Clip(str(write_audio(tmp_path / "long.wav", noise(3.0))), "phone", "a", "train-mc", "long")
    device = draw_device("sim0", np.zeros((1, 128)), np.random.default_rng(0))
    (written,) = write_simulated_data_set(tmp_path / "set", [clip], [device], seed=0)
    assert soundfile.info(written).frames == 22_050


def test_truth_that_no_record_holds_stands_beside_the_data(umc: Umc, workspace: Path) -> None:
    assert umc("simulate", "--devices", "2").exit_code == 0
    truth = json.loads((workspace / "simulated/simulation.json").read_text())
    assert sorted(truth["devices"]) == ["sim0", "sim1"]
