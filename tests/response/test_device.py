"""Device records: what is written is read, what is broken is refused, what is shipped is right."""

import csv
import json
import os
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umc_cli.errors import SettingsError
from umc_cli.response.device import (
    N_BANDS,
    Device,
    DeviceRegistry,
    SourceFile,
    check_device_id,
    format_record,
    read_device,
    write_device,
)
from umc_cli.response.frequency_response import band_centres_hz, read_curve

LIBRARY_IDS = [
    *("pixel3", "pixel3-back", "pixel3-bottom2", "xperia1", "xperia1-top", "xperia1ii", "xperia1ii-back"),
    *("xperia1iii", "xperia1iii-top", "xperia1iv", "xperia1iv-top", "xperia1v", "xperia1v-top"),
]


def make_device(device_id: str = "kitchen-phone", **changes: Any) -> Device:
    content: dict[str, Any] = {
        "id": device_id,
        "name": "A phone [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], “Küche”",
        "method": "sweep",
        "sources": (
            SourceFile(file="take 1.wav", sha256="ab" * 32, origin="own"),
            SourceFile(file="b", sha256="0"),
        ),
        "note": "two\nlines",
        "sample_rate_hz": 48_000,
        "repeats": 2,
        "sensitivity_dbfs": -37.25,
        "trusted_range_hz": (40.0, 10_000.0),
        "band_centres_hz": tuple(band_centres_hz()),
        "frequency_response_db": tuple(np.linspace(-3, 1e-7, N_BANDS)),
        "noise_floor_db": (-90.0,) * N_BANDS,
        "spread_db": (0.1,) * N_BANDS,
    }
    return Device(**(content | changes))


def broken_record(folder: Path, **changes: Any) -> Path:
    """Write a good record with some values replaced, past all checks."""
    path = write_device(make_device(), folder)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return path


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    device = make_device()
    path = write_device(device, tmp_path / "devices")
    assert path == tmp_path / "devices" / "kitchen-phone.json"
    assert read_device(path) == device
    assert [file.name for file in path.parent.iterdir()] == ["kitchen-phone.json"], "a temporary file was left"


def test_a_record_without_the_optional_parts_is_read_as_it_was_written(tmp_path: Path) -> None:
    device = make_device(sensitivity_dbfs=None, noise_floor_db=None, spread_db=None, sources=(), note="")
    path = write_device(device, tmp_path)
    assert "noise_floor_db" not in path.read_text(encoding="utf-8")
    assert read_device(path) == device


def test_a_record_takes_eight_band_values_a_line(tmp_path: Path) -> None:
    lines = write_device(make_device(), tmp_path).read_text(encoding="utf-8").splitlines()
    start = lines.index('  "noise_floor_db": [') + 1
    assert lines[start : start + 17] == ["    " + ", ".join(["-90.0"] * 8) + ","] * 15 + [
        "    " + ", ".join(["-90.0"] * 8),
        "  ],",
    ]


def test_folding_lists_leaves_texts_alone() -> None:
    content = {"note": "see [1,2] and [1, 2, 3, 4, 5, 6, 7, 8, 9]", "range": [1.5, -2e-05], "empty": []}
    assert json.loads(format_record(content)) == content
    assert '"range": [1.5, -2e-05]' in format_record(content)


@pytest.mark.parametrize("device_id", ["a", "iPhone_14.2-b", "x" * 64])
def test_accepts_an_id_that_names_a_file_everywhere(device_id: str) -> None:
    assert check_device_id(device_id) == device_id


@pytest.mark.parametrize(
    "device_id", ["", "../x", "a/b", "a\\b", ".hidden", "-option", "dot.", "ä", "a b", "x" * 65, "a\n", "c:"]
)
def test_refuses_an_id_that_could_leave_the_folder_or_names_no_file(tmp_path: Path, device_id: str) -> None:
    with pytest.raises(SettingsError, match="is not a device id"):
        check_device_id(device_id)
    with pytest.raises(SettingsError, match="is not a device id"):
        make_device(device_id)
    registry = DeviceRegistry(tmp_path)
    assert device_id not in registry
    with pytest.raises(SettingsError, match="is not a device id"):
        registry.get(device_id)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": "other"}, "is not a device record"),
        ({"format_version": 2}, "format version 2; this umc reads 1"),
        ({"format_version": None}, "format version None"),
        ({"id": "other"}, "is of device 'other'"),
        ({"id": "../x"}, "'../x' is not a device id"),
        ({"frequency_response_db": [0.0] * 127}, "frequency_response_db: .*128 items"),
        ({"noise_floor_db": [0.0] * 129}, "noise_floor_db: .*128 items"),
        ({"frequency_response_db": [0.0] * 127 + [float("nan")]}, "frequency_response_db.127: .*finite"),
        ({"noise_floor_db": [float("-inf")] * 128}, "noise_floor_db.0: .*finite"),
        ({"sensitivity_dbfs": float("nan")}, "sensitivity_dbfs: .*finite"),
        ({"band_centres_hz": [100.0] * 128}, "band_centres_hz must rise"),
        ({"trusted_range_hz": [500.0, 100.0]}, "trusted_range_hz must be"),
        ({"method": "guess"}, "method: "),
        ({"mood": "fine"}, "mood: is not a known name"),
    ],
)
def test_refuses_a_broken_record(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = broken_record(tmp_path, **changes)
    with pytest.raises(SettingsError, match=complaint):
        read_device(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"id: kitchen-phone"])
def test_refuses_what_is_not_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kitchen-phone.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"kitchen-phone\.json is not JSON"):
        read_device(path)


def test_refuses_json_of_another_kind_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(SettingsError, match="is not a device record"):
        read_device(tmp_path / "list.json")
    with pytest.raises(SettingsError, match="cannot read device record"):
        read_device(tmp_path / "absent.json")


def test_the_workspace_lies_over_the_library(tmp_path: Path) -> None:
    for device_id in ("zebra", "ant"):
        write_device(make_device(device_id), tmp_path)
    (tmp_path / "notes.txt").write_text("not a device", encoding="utf-8")
    registry = DeviceRegistry(tmp_path)
    assert registry.own_ids() == ["ant", "zebra"]
    assert registry.ids() == ["ant", *LIBRARY_IDS, "zebra"]
    assert [device.id for device in registry] == registry.ids()
    assert "ant" in registry
    assert "bee" not in registry
    assert registry.get("pixel3").name == "Google Pixel 3, bottom microphone"
    with pytest.raises(SettingsError, match="unknown device 'bee'") as caught:
        registry.get("bee")
    assert caught.value.hint.startswith("known devices: ant, pixel3, ")


def test_a_record_of_the_workspace_replaces_the_library_s_of_the_same_id(tmp_path: Path) -> None:
    mine = make_device("pixel3")
    write_device(mine, tmp_path)
    registry = DeviceRegistry(tmp_path)
    assert registry.get("pixel3") == mine != DeviceRegistry().get("pixel3")
    assert registry.path("pixel3") == tmp_path / "pixel3.json"
    assert registry.ids() == LIBRARY_IDS
    assert registry.replaced_ids() == registry.own_ids() == ["pixel3"]


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_without_records_of_its_own_a_workspace_has_the_library(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    registry = DeviceRegistry(tmp_path / folder)
    assert registry.own_ids() == registry.replaced_ids() == []
    assert registry.ids() == registry.ids_to_learn_from() == DeviceRegistry().ids() == LIBRARY_IDS


@pytest.mark.parametrize(
    ("own", "recorded", "meant"),
    [
        ([], [], LIBRARY_IDS),
        ([], ["met"], ["met", *LIBRARY_IDS]),
        (["mine"], [], LIBRARY_IDS),
        (["mine"], ["mine", "met"], ["met"]),
        (["mine", "other"], [], ["other"]),
        (["mine", "other"], ["met"], ["met", "other"]),
        (["other"], [], ["other"]),
    ],
)
def test_all_means_the_workspace_s_devices_or_else_the_library_s(
    tmp_path: Path, own: list[str], recorded: list[str], meant: list[str]
) -> None:
    for device_id in own:
        write_device(make_device(device_id), tmp_path)
    assert DeviceRegistry(tmp_path).others("mine", recorded) == meant


@pytest.mark.parametrize("n_own", range(5))
def test_methods_learn_from_the_workspace_s_devices_where_these_are_enough(tmp_path: Path, n_own: int) -> None:
    own = [f"d{index}" for index in range(n_own)]
    for device_id in own:
        write_device(make_device(device_id), tmp_path)
    assert DeviceRegistry(tmp_path).ids_to_learn_from() == (own if n_own >= 3 else [*own, *LIBRARY_IDS])


@pytest.mark.parametrize("device_id", LIBRARY_IDS)
def test_a_library_record_is_complete(device_id: str) -> None:
    device = DeviceRegistry().get(device_id)
    np.testing.assert_allclose(device.band_centres_hz, band_centres_hz(), atol=0.051)
    assert np.interp(1000, device.band_centres_hz, device.frequency_response_db) == pytest.approx(0, abs=0.3)
    assert device.trusted_range_hz[1] == 11_025
    assert device.sensitivity_dbfs == -37
    assert device.noise_floor_db is not None
    assert -92 < device.noise_floor_db[0] < -88  # 28 to 29 dB SPL
    assert "assumption" in device.note
    assert len(device.sources[0].sha256) == 64


def phone_responses() -> Path:
    data = os.environ.get("UMC_REALDATA", str(Path(__file__).resolve().parents[2].parent / "shared" / "data"))
    folder = Path(data) / "phone_responses"
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder}")
    return folder


@pytest.mark.realdata
def test_the_library_agrees_with_the_published_values() -> None:
    folder = phone_responses()
    devices = {device.sources[0].file: device for device in DeviceRegistry()}
    rows = list(csv.DictReader((folder / "metadata.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["file"] for row in rows} == set(devices)
    for row in rows:
        device = devices[row["file"]]
        assert device.name.startswith(row["device"].partition(" (")[0])
        assert row["address"] in device.name
        assert device.sources[0].origin == row["source"]
        # A band at 8 kHz is 430 Hz wide and averages the notches that some curves have there.
        for column, frequency_hz, tolerance_db in (
            ("db_2k", 2000, 1),
            ("db_4k", 4000, 1),
            ("db_8k", 8000, 1.25),
        ):
            ours = np.interp(frequency_hz, device.band_centres_hz, device.frequency_response_db)
            published = float(row[column]) - float(row["db_1k"])
            assert ours == pytest.approx(published, abs=tolerance_db), (device.id, column)


@pytest.mark.realdata
def test_the_library_is_what_the_example_builds(tmp_path: Path) -> None:
    folder = phone_responses()
    script = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "build_phone_library.py"))
    script["build_library"](folder, tmp_path)
    found = DeviceRegistry().path("pixel3")
    assert found is not None
    shipped = found.parent
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        path.name: path.read_text(encoding="utf-8") for path in shipped.glob("*.json")
    }


@pytest.mark.realdata
def test_the_third_pixel_microphone_is_referred_to_1_khz() -> None:
    device = DeviceRegistry().get("pixel3-bottom2")
    curve = read_curve(phone_responses() / "curves" / device.sources[0].file)
    assert np.interp(1000, curve.frequency_hz, curve.response_db) < -9, "the published curve is 0 dB at 10 kHz"
    assert np.interp(1000, device.band_centres_hz, device.frequency_response_db) == pytest.approx(0, abs=0.1)
