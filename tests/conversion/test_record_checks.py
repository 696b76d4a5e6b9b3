"""What a record leaves open or gets wrong is said where it is used."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import umc_cli
from tests.samples import SOURCE, Run, noise, write_audio
from umc_cli.audio.manifest import Clip
from umc_cli.conversion.chosen import record_checks
from umc_cli.conversion.chosen.record_checks import share_below_floor
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.response.device import DeviceRegistry, write_device

Umc = Callable[..., Run]


def test_the_share_of_levels_below_a_floor_is_counted() -> None:
    device = DeviceRegistry().get(SOURCE).model_copy(update={"noise_floor_db": (-60.0,) * 128})
    levels_db = np.repeat(np.array([-80.0, -67.0, -65.0, -20.0], np.float32)[:, None], 80, axis=1)
    assert share_below_floor(device, levels_db) == 0.5
    assert share_below_floor(device.model_copy(update={"noise_floor_db": None}), levels_db) == 0


@pytest.mark.parametrize("unknown", ["source", "target"])
def test_an_unknown_level_is_said(umc: Umc, workspace: Path, unknown: str) -> None:
    name = SOURCE if unknown == "source" else "pixel3"
    write_device(DeviceRegistry().get(name).model_copy(update={"sensitivity_dbfs": None}), workspace / "devices")
    options = ("--source", SOURCE, "--targets", "pixel3,xperia1", "--converter", "eq")
    run = umc("convert", *options)
    assert run.exit_code == 0
    assert f"record of {'the source ' if unknown == 'source' else ''}{name}" in run.stderr
    assert "keep the source's level" in run.stderr


def test_a_conversion_between_known_levels_warns_of_nothing(umc: Umc) -> None:
    assert umc("convert", "--source", SOURCE, "--targets", "pixel3", "--json").json["warnings"] == []


def test_a_floor_above_the_recordings_is_warned_of_where_levels_are_known(umc: Umc, workspace: Path) -> None:
    for index in range(20):
        for device in (SOURCE, "pixel3"):
            write_audio(workspace / f"data/{device}/a/more{index}.wav", 0.1 * noise(seed=index))
    record = DeviceRegistry().get("pixel3")
    write_device(record.model_copy(update={"noise_floor_db": (-10.0,) * 128}), workspace / "devices")
    options = ("--source", SOURCE, "--targets", "pixel3", "--converter", "refiner_quantile", "--json")
    run = umc("convert", *options)
    assert run.exit_code == 0, run.stderr
    (warning,) = [each for each in run.json["warnings"] if "noise floor" in each]
    assert "the noise floor in the record of pixel3 cannot be its own: 100% of the levels" in warning


@pytest.mark.parametrize("wrong", ["source", "target"])
@pytest.mark.parametrize("converter", ["refiner", "eq_noise"])
def test_a_floor_above_the_recordings_is_warned_of_where_no_levels_are_measured(
    umc: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch, converter: str, wrong: str
) -> None:
    monkeypatch.setattr(record_checks, "_SAMPLING_S", 60)
    name = SOURCE if wrong == "source" else "pixel3"
    write_audio(workspace / "data/pixel3/a/one.wav", 0.1 * noise())
    write_audio(workspace / f"data/{SOURCE}/a/short.wav", 0.1 * noise(0.05))
    options = ("--source", SOURCE, "--targets", "pixel3", "--converter", converter, "--json")
    assert umc("convert", *options, "--output", "o1").json["warnings"] == []
    record = DeviceRegistry().get(name)
    write_device(record.model_copy(update={"noise_floor_db": (10.0,) * 128}), workspace / "devices")
    (warning,) = umc("convert", *options, "--output", "o2").json["warnings"]
    assert f"the noise floor in the record of {name} cannot be its own: 100% of the levels" in warning


def test_who_opens_a_conversion_is_told_as_well(workspace: Path) -> None:
    record = DeviceRegistry().get("pixel3").model_copy(update={"sensitivity_dbfs": None})
    write_device(record, workspace / "devices")
    warnings: list[str] = []
    umc_cli.open_conversion(SOURCE, "pixel3", "eq", workspace=workspace, warnings=warnings)
    (warning,) = warnings
    assert warning.startswith("no level (sensitivity_dbfs) in the record of pixel3")


def test_looking_at_recordings_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_checks, "_SAMPLING_S", 0.2)
    asked: list[Path] = []

    def hang(path: Path) -> None:
        asked.append(path)
        threading.Event().wait(60)

    monkeypatch.setattr(record_checks, "read_header", hang)
    devices = {name: DeviceRegistry().get(name) for name in (SOURCE, "pixel3")}
    clips = [Clip(f"/{name}{index}.wav", name, "a", "", "r") for name in devices for index in range(1_000)]
    ingredients = Ingredients(source=SOURCE, targets=("pixel3",), devices=devices, torch_device=torch.device("cpu"))
    started = time.monotonic()
    assert record_checks.check_ingredients("eq_noise", ingredients, clips) == []
    assert time.monotonic() - started < 10
    assert asked == [Path(f"/{SOURCE}0.wav")]


def test_padding_is_not_counted_as_levels() -> None:
    device = DeviceRegistry().get(SOURCE).model_copy(update={"noise_floor_db": (-60.0,) * 128})
    levels_db = np.repeat(np.array([-100.0, -100.0, -100.0, -20.0], np.float32)[:, None], 80, axis=1)
    assert share_below_floor(device, levels_db) == 0
    assert share_below_floor(device, levels_db[:3]) == 0


def test_a_new_record_is_held_against_the_recordings(umc: Umc, workspace: Path) -> None:
    for index in range(6):
        write_audio(workspace / f"data/mine/a/{index}.wav", 0.1 * noise(seed=index))
    text = (
        '<a><microphone device_id="m" frequencies="99 1000 9000" responses="-1 0 2" sensitivity="{}" min_spl="28"/></a>'
    )
    for sensitivity, n_warnings in ((-37, 0), (40, 1)):
        (workspace / "a.xml").write_text(text.format(sensitivity))
        run = umc("measure-ir", "a.xml", "--device", "mine", "--overwrite", "--json")
        assert run.exit_code == 0, run.stderr
        assert len(run.json["warnings"]) == n_warnings
