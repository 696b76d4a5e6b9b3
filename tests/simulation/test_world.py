"""Worlds, the family of devices, and data sets written from them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.samples import noise, write_audio
from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.errors import SettingsError
from umc_cli.response.device import N_BANDS, DeviceRegistry
from umc_cli.simulation.data_set import write_simulated_data_set
from umc_cli.simulation.device_family import draw_device
from umc_cli.simulation.world import simulate_world

RESPONSES_DB = np.stack([np.zeros(N_BANDS), np.linspace(-5, 5, N_BANDS)])


def devices(count: int, seed: int = 0) -> list:
    random = np.random.default_rng(seed)
    return [draw_device(f"d{index}", RESPONSES_DB, random) for index in range(count)]


def test_a_world_holds_every_segment_on_every_device_and_depends_on_its_seed_alone() -> None:
    sounds = [noise(1.0, seed=index) for index in range(4)]
    worlds = [simulate_world(sounds, RESPONSES_DB, 3, 2, seed) for seed in (5, 5, 6)]
    assert worlds[0].log_mel.shape[0] == 3
    assert worlds[0].log_mel.shape[2:] == (80, 80)
    assert torch.equal(worlds[0].log_mel, worlds[1].log_mel)
    assert worlds[0].devices == worlds[1].devices
    assert worlds[0].devices != worlds[2].devices


def test_the_family_holds_devices_with_and_without_every_stage() -> None:
    settings = [device.settings for device in devices(40)]
    for stage in ("gain_control", "clip_at", "low_pass_hz", "codec_quality"):
        present = sum(getattr(one, stage) is not None for one in settings)
        assert 0 < present < len(settings), stage


def clips(folder: Path) -> list[Clip]:
    return [
        Clip(str(write_audio(folder / f"{name}.wav", noise(0.5, seed=index))), "source", "noise", split, f"take-{name}")
        for index, (name, split) in enumerate([("a", "train-mc"), ("b", "val-sec")])
    ]


def test_a_data_set_is_a_workspace_whose_recordings_are_shared(tmp_path: Path) -> None:
    written = write_simulated_data_set(tmp_path / "set", clips(tmp_path), devices(2), seed=3)
    assert len(written) == 4
    found = find_recordings(tmp_path / "set" / "data")
    assert not found.failed
    assert {(clip.device, clip.recording, clip.split) for clip in found.clips} == {
        (device, recording, split)
        for device in ("d0", "d1")
        for recording, split in (("take-a", "train-mc"), ("take-b", "val-sec"))
    }
    assert DeviceRegistry(tmp_path / "set" / "devices").own_ids() == ["d0", "d1"]
    truth = json.loads((tmp_path / "set" / "simulation.json").read_text())
    assert truth["devices"]["d1"] == devices(2)[1].settings.model_dump(mode="json")


def test_a_file_depends_on_the_seed_and_its_own_device_alone(tmp_path: Path) -> None:
    own = clips(tmp_path)
    for name, count in (("two", 2), ("three", 3)):
        write_simulated_data_set(tmp_path / name, own, devices(count), seed=3)
    first, second = (soundfile.read(tmp_path / name / "data/d1/noise/b.flac")[0] for name in ("two", "three"))
    np.testing.assert_array_equal(first, second)


def test_unseen_devices_record_only_what_nothing_is_trained_on(tmp_path: Path) -> None:
    write_simulated_data_set(tmp_path / "set", clips(tmp_path), devices(2), seed=3, unseen=["d1"])
    found = find_recordings(tmp_path / "set" / "data")
    assert not found.failed
    assert {(clip.device, clip.split) for clip in found.clips} == {
        ("d0", "train-mc"), ("d0", "val-sec"), ("d1", "val-sec"),
    }  # fmt: skip
    write_simulated_data_set(tmp_path / "all", clips(tmp_path), devices(2), seed=3)
    first, second = (soundfile.read(tmp_path / name / "data/d1/noise/b.flac")[0] for name in ("set", "all"))
    np.testing.assert_array_equal(first, second)


def test_unseen_devices_need_a_split_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no clip is in split test"):
        write_simulated_data_set(tmp_path / "set", clips(tmp_path)[:1], devices(2), seed=3, unseen=["d1"])


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    write_simulated_data_set(tmp_path / "set", clips(tmp_path), devices(1), seed=0)
    with pytest.raises(SettingsError, match="already holds recordings"):
        write_simulated_data_set(tmp_path / "set", clips(tmp_path), devices(1), seed=1)
    with (tmp_path / "set/data/manifest.csv").open(newline="") as table:
        assert len(list(csv.DictReader(table))) == 2


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    one = clips(tmp_path)[0]
    with pytest.raises(SettingsError, match=r"two clips are called '.*a\.wav'"):
        write_simulated_data_set(tmp_path / "set", [one, one], devices(1), seed=0)
