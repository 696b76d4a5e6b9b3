"""Files of differences, and the devices that they make of a source."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from umc_cli.errors import SettingsError
from umc_cli.response.device import DeviceRegistry
from umc_cli.response.difference import fr_difference_db, level_difference_db
from umc_cli.response.frequency_response import band_centres_hz
from umc_cli.response.synthetic_differences import (
    SyntheticDifferences,
    invented_device,
    read_differences,
    write_differences,
)


def some(n: int = 3) -> SyntheticDifferences:
    random = np.random.default_rng(0)
    return SyntheticDifferences(
        random.normal(0, 4, (n, 128)).astype(np.float32),
        random.uniform(-80, -50, (n, 128)).astype(np.float32),
        random.uniform(-9, 9, n).astype(np.float32),
        {"method": "pca", "seed": 4, "settings": {"spread": 1.0}},
    )


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    drawn = some()
    write_differences(tmp_path / "a.safetensors", drawn)
    write_differences(tmp_path / "b.safetensors", drawn)
    read = read_differences(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read.fr_difference_db, drawn.fr_difference_db)
    np.testing.assert_array_equal(read.noise_floor_db, drawn.noise_floor_db)
    np.testing.assert_array_equal(read.sensitivity_difference_db, drawn.sensitivity_difference_db)
    assert read.about == drawn.about
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def header(**changes: Any) -> str:
    content = {"format": "umc-differences", "format_version": 1, "about": {}}
    return json.dumps(content | {"band_centres_hz": band_centres_hz().tolist()} | changes)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (header(format_version=2), "format version 2; this umc reads 1"),
        (header(format="umc-shard"), "is not a file of differences"),
        ("{", "is not a file of differences"),
        (header(about=None), "broken header"),
        (header(band_centres_hz=[1.0, 2.0]), "other mel bands"),
        (header(band_centres_hz=["x"] * 128), "other mel bands"),
    ],
)
def test_other_formats_and_versions_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "a.safetensors"
    write_differences(path, some())
    save_file(load_file(path), path, metadata={"umc-differences": text})
    with pytest.raises(SettingsError, match=complaint):
        read_differences(path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"noise_floor_db": np.zeros((2, 128), np.float32)}, "of equal length"),
        ({"fr_difference_db": np.zeros((3, 80), np.float32)}, "of equal length"),
        ({"noise_floor_db": np.full((3, 128), np.nan, np.float32)}, "noise_floor_db must hold finite"),
        ({"sensitivity_difference_db": np.zeros(3, np.float64)}, "sensitivity_difference_db must hold finite float32"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, changes: dict[str, np.ndarray], complaint: str) -> None:
    path = tmp_path / "a.safetensors"
    write_differences(path, some())
    save_file(load_file(path) | changes, path, metadata={"umc-differences": header()})
    with pytest.raises(SettingsError, match=complaint):
        read_differences(path)


def test_broken_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_differences(path, some())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SettingsError, match="truncated, corrupt or not a safetensors file"):
        read_differences(path)
    with pytest.raises(SettingsError, match="there is no file of differences"):
        read_differences(tmp_path / "none.safetensors")


def test_an_invented_device_differs_from_its_source_as_drawn() -> None:
    """Shape and level together are the drawn difference plus the sensitivity difference."""
    source, drawn = DeviceRegistry(Path("no folder")).get("pixel3"), some()
    target = invented_device(source, drawn, 1)
    gain_db = fr_difference_db(source, target) + (level_difference_db(source, target) or 0.0)
    np.testing.assert_allclose(gain_db, drawn.fr_difference_db[1] + drawn.sensitivity_difference_db[1], atol=0.02)
    assert abs(np.interp(1000, band_centres_hz(), fr_difference_db(source, target))) < 0.01
    np.testing.assert_allclose(target.noise_floor_db or (), drawn.noise_floor_db[1], atol=0.01)
    assert (target.id, target.method) == ("synth-001", "simulated")


def test_an_unknown_sensitivity_stays_unknown() -> None:
    source = DeviceRegistry(Path("no folder")).get("pixel3").model_copy(update={"sensitivity_dbfs": None})
    assert level_difference_db(source, invented_device(source, some(), 0)) is None
