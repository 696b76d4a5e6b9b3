"""`umc synth-fr`, and invented devices as targets of `umc convert`, as a user gives them."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from tests.samples import SOURCE, TARGET, Run
from umc_cli.config import find_workspace
from umc_cli.response.device import DeviceRegistry, write_device
from umc_cli.response.learned_responses import responses_to_learn_from
from umc_cli.response.synthesis import METHODS
from umc_cli.response.synthetic_differences import read_differences

Umc = Callable[..., Run]


def difference_of(shard: Path) -> np.ndarray:
    """Return what a shard says that was added: shape and level."""
    with h5py.File(shard) as file:
        description = json.loads(file.attrs["description"])
    return np.array(description["fr_difference_db"]) + description["level_difference_db"]


@pytest.mark.parametrize("method", METHODS)
def test_a_set_is_written_and_drawn(umc: Umc, workspace: Path, method: str) -> None:
    options = ("--method", method, "--n", "40", "--seed", "3", "--figure", "set.png")
    report = umc("synth-fr", *options, "--output", "set.safetensors", "--json").json
    drawn = read_differences(workspace / "set.safetensors")
    assert (drawn.fr_difference_db.shape, drawn.noise_floor_db.shape) == ((40, 128), (40, 128))
    assert (drawn.about["method"], drawn.about["seed"], report["drawn"]["n"]) == (method, 3, 40)
    assert len(drawn.about["learned_from"]) == (0 if method == "piecewise" else 13)
    np.testing.assert_allclose(report["drawn"]["example_db"], drawn.fr_difference_db[0], atol=1e-3)
    assert (workspace / "set.png").read_bytes().startswith(b"\x89PNG")
    first = (workspace / "set.safetensors").read_bytes()
    assert umc("synth-fr", *options, "--output", "set.safetensors", "--overwrite").exit_code == 0
    assert (workspace / "set.safetensors").read_bytes() == first


def test_terminal_shows_curves_and_where_things_are(umc: Umc) -> None:
    run = umc("synth-fr", "--n", "5", "-o", "set.safetensors")
    assert run.exit_code == 0
    assert "5 differences by mixture" in run.stdout
    assert run.stdout.count("dB over 128 mel bands") == 3
    assert "learned from the package's library, 13 devices" in run.stderr
    assert "written: set.safetensors" in run.stderr


def test_settings_of_the_method_come_from_the_command_line_and_the_workspace(umc: Umc, workspace: Path) -> None:
    (workspace / "umc.toml").write_text(
        '[synth-fr]\nmethod = "piecewise"\nlevels = {sensitivity_difference_db = [2.0, 2.0]}\n'
        "[synth-fr.method_settings]\nleast_db = 3.0\nmost_db = 3.0\n"
    )
    assert umc("synth-fr", "-o", "three.safetensors").exit_code == 0
    assert umc("synth-fr", "-o", "nine.safetensors", "--setting", "most_db=9", "--setting", "least_db=9").exit_code == 0
    for name, size in (("three", 3.0), ("nine", 9.0)):
        drawn = read_differences(workspace / f"{name}.safetensors")
        np.testing.assert_allclose(np.abs(drawn.fr_difference_db[:, [0, -1]]), size, atol=1e-4)
        np.testing.assert_array_equal(drawn.sensitivity_difference_db, 2.0)


def test_methods_learn_from_the_workspace_s_devices(umc: Umc, workspace: Path) -> None:
    """Three devices that differ in level over the upper half only."""
    pixel = DeviceRegistry().get("pixel3")
    for index, step_db in enumerate((-5.0, 0.0, 5.0)):
        response_db = tuple(step_db * (band >= 64) for band in range(128))
        write_device(
            pixel.model_copy(update={"id": f"d{index}", "frequency_response_db": response_db}), workspace / "devices"
        )
    assert umc("synth-fr", "--method", "pca", "-o", "set.safetensors").exit_code == 0
    drawn_db = read_differences(workspace / "set.safetensors").fr_difference_db
    assert np.abs(drawn_db[:, :64]).max() < 1e-3
    assert np.ptp(drawn_db[:, 64:], axis=1).max() < 1e-3
    assert drawn_db[:, 64:].std() > 3


def test_coverage_puts_all_methods_side_by_side(umc: Umc, workspace: Path) -> None:
    options = ("--coverage", "--coverage-drawn", "100", "--coverage-seeds", "2", "--figure", "coverage.svg")
    report = umc("synth-fr", *options, "--json").json
    coverage = report["coverage"]
    assert [row["method"] for row in coverage["methods"]] == list(METHODS)
    assert (coverage["n_differences"], coverage["seeds"], report["drawn"]) == (13 * 12, [0, 1], None)
    for row in coverage["methods"]:
        assert 0 < row["nearest_median_db"]["mean"] < row["nearest_90_db"]["mean"]
        assert 0 < row["rank_median"]["mean"] < 1
        assert set(row["by_device"]) == set(coverage["devices"])
    assert "<svg" in (workspace / "coverage.svg").read_text()
    table = umc("synth-fr", "--coverage", "--coverage-drawn", "20", "--coverage-seeds", "1").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["method", *METHODS]


def test_impulse_responses_are_learned_from(umc: Umc, workspace: Path) -> None:
    folder = workspace / "impulses"
    folder.mkdir()
    for index, tap in enumerate((0.0, 0.5, -0.5)):
        soundfile.write(folder / f"{index}.wav", np.array([0.0, 0.9, 0.9 * tap, 0.0] + [0.0] * 400), 22_050)
    learned = responses_to_learn_from(find_workspace(workspace), str(folder))
    assert learned.names == ("0", "1", "2")
    np.testing.assert_allclose(learned.responses_db[0], 0, atol=1e-3)
    # 1 + 0.5 / z falls by 20 log10(3) dB over the whole axis.
    assert abs(learned.responses_db[1, 0] - learned.responses_db[1, -1] - 20 * np.log10(3)) < 0.2
    report = umc("synth-fr", "--learn-from", str(folder), "--json").json
    assert report["devices"] == ["0", "1", "2"]


def test_convert_to_invented_devices_and_go_on(umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--converter", "eq_noise", "--json", "--targets")
    first = umc(*convert, "synth:3").json
    assert first["targets"] == ["synth-000", "synth-001", "synth-002"]
    assert (first["exit_code"], first["n_shards_written"], first["n_segments"]) == (0, 3, 8)
    shards = [workspace / f"converted/synth-00{index}/shard-00000.h5" for index in range(3)]
    before = [shard.read_bytes() for shard in shards]
    shards[1].unlink()
    again = umc(*convert, "synth:3").json
    assert (again["n_shards_written"], again["n_shards_kept"]) == (1, 2)
    assert [shard.read_bytes() for shard in shards] == before
    more = umc(*convert, "synth:5,pixel3").json
    assert (more["n_shards_written"], more["n_shards_kept"]) == (3, 3)
    differences = np.array([difference_of(shard) for shard in shards])
    assert np.abs(differences[0] - differences[1]).max() > 1


def test_convert_takes_a_file_of_differences(umc: Umc, workspace: Path) -> None:
    umc("synth-fr", "--method", "piecewise", "--n", "2", "--seed", "8", "-o", "set.safetensors")
    report = umc(
        "convert", "--source", SOURCE, "--targets", "synth:set.safetensors", "--converter", "eq", "--json"
    ).json
    assert report["targets"] == ["synth-000", "synth-001"]
    drawn = read_differences(workspace / "set.safetensors")
    for index in range(2):
        added = difference_of(workspace / f"converted/synth-00{index}/shard-00000.h5")
        expected = drawn.fr_difference_db[index] + drawn.sensitivity_difference_db[index]
        np.testing.assert_allclose(added, expected, atol=0.02)
    umc("synth-fr", "--method", "piecewise", "--n", "2", "--seed", "9", "-o", "set.safetensors", "--overwrite")
    refused = umc("convert", "--source", SOURCE, "--targets", "synth:set.safetensors", "--converter", "eq")
    assert refused.exit_code == 2
    assert "target synth-000: its record changed" in refused.stderr


@pytest.mark.parametrize(
    ("options", "complaint", "remedy"),
    [
        (["--method", "pcs"], "unknown method 'pcs'", "known methods: piecewise, pca, mixture"),
        (["--n", "0"], "cannot draw 0 differences", "ask for 1 to 1,000,000"),
        (["--seed", "-1"], "--seed is '-1': must be at least 0", "umc synth-fr --help"),
        (["--setting", "spred=2", "--method", "pca"], "setting spred: is not a known name", "most_components, spread"),
        (["--learn-from", "nowhere"], "cannot learn from 'nowhere': it is not a folder", "folder of impulse responses"),
        (["--learn-from", "data/nothing"], "it holds no WAV file", "folder of impulse responses"),
        (["--learn-from", "data/broken"], "cannot read impulse response", "replace it"),
        (["--figure", "set.gif"], "cannot draw a figure as 'set.gif'", "png, svg, pdf"),
        (["--coverage", "--output", "other.safetensors"], "draws no set", "leave out --output"),
    ],
)
def test_bad_input_is_refused(umc: Umc, workspace: Path, options: list[str], complaint: str, remedy: str) -> None:
    (workspace / "data/nothing").mkdir()
    (workspace / "data/broken").mkdir()
    (workspace / "data/broken/a.wav").write_bytes(b"RIFF")
    output = [] if "--output" in options else ["--output", "set.safetensors"] * ("--coverage" not in options)
    run = umc("synth-fr", *output, *options)
    assert run.exit_code == 2
    assert complaint in run.stderr
    assert remedy in run.stderr
    assert not list(workspace.glob("*.safetensors*"))


def test_existing_files_are_kept_unless_told_otherwise(umc: Umc, workspace: Path) -> None:
    for name in ("set.safetensors", "set.png"):
        (workspace / name).write_text("mine")
        run = umc("synth-fr", "--output", "set.safetensors", "--figure", "set.png")
        assert run.exit_code == 2
        assert f"{name} already exists" in run.stderr
        assert (workspace / name).read_text() == "mine"
        (workspace / name).unlink()
    assert not list(workspace.glob("set.*"))


@pytest.mark.parametrize(("method", "n_devices"), [("pca", 2), ("mixture", 1)])
def test_too_few_devices_are_refused(umc: Umc, workspace: Path, method: str, n_devices: int) -> None:
    (workspace / "few").mkdir()
    for index in range(n_devices):
        soundfile.write(workspace / f"few/{index}.wav", np.array([0.9, 0.1 * index] + [0.0] * 400), 22_050)
    run = umc("synth-fr", "--method", method, "--learn-from", "few", "--output", "set.safetensors")
    assert run.exit_code == 2
    assert f"or more measured devices; there are {n_devices}" in run.stderr
    assert "--learn-from library" in run.stderr
    assert not (workspace / "set.safetensors").exists()
    assert umc("synth-fr", "--method", method, "--learn-from", "library").exit_code == 0
    coverage = umc("synth-fr", "--coverage", "--learn-from", "few")
    assert coverage.exit_code == 2
    assert "coverage takes 4 or more measured devices" in coverage.stderr


def test_a_method_that_learns_nothing_says_so(umc: Umc) -> None:
    run = umc("synth-fr", "--method", "piecewise")
    assert run.exit_code == 0
    assert "learned from no device" in run.stderr
    report = umc("synth-fr", "--method", "piecewise", "--json").json
    assert (report["learned_from"], report["devices"]) == ("", [])


def test_an_empty_learn_from_is_refused(umc: Umc) -> None:
    run = umc("synth-fr", "--learn-from=")
    assert run.exit_code == 2
    assert "--learn-from names nothing" in run.stderr


def test_a_first_device_of_one_s_own_is_learned_from_beside_the_library(umc: Umc, workspace: Path) -> None:
    own = DeviceRegistry().get("pixel3").model_copy(update={"id": "mine"})
    write_device(own, workspace / "devices")
    run = umc("synth-fr", "--json")
    assert run.exit_code == 0
    assert run.json["devices"] == sorted(["mine", *DeviceRegistry().ids()])
    assert run.json["learned_from"] == "the workspace and the package's library"
    assert umc("convert", "--source", SOURCE, "--targets", "synth:1").exit_code == 0


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("synth:0", "neither a number of devices from 1 nor a file"),
        ("synth:many", "neither a number of devices from 1 nor a file"),
        ("synth:", "neither a number of devices from 1 nor a file"),
        ("synth:2000000", "cannot draw 2000000 differences"),
        ("synth:2,synth:3", "devices of the same names"),
        ("synth:broken.safetensors", "truncated, corrupt or not a safetensors file"),
    ],
)
def test_bad_targets_are_refused(umc: Umc, workspace: Path, target: str, complaint: str) -> None:
    (workspace / "broken.safetensors").write_bytes(b"nothing of the kind")
    run = umc("convert", "--source", SOURCE, "--targets", target)
    assert run.exit_code == 2
    assert complaint in run.stderr
    assert not (workspace / "converted").exists()


def test_a_source_without_record_can_be_converted_to_invented_devices_alone(umc: Umc, workspace: Path) -> None:
    (workspace / "data" / SOURCE).rename(workspace / "data/unknown")
    run = umc("convert", "--source", "unknown", "--targets", f"synth:2,{TARGET}")
    assert run.exit_code == 2
    assert "next to 'synth:2', no real target can be named" in run.stderr
    assert umc("convert", "--source", "unknown", "--targets", "synth:2", "--converter", "eq").exit_code == 0
    assert umc("convert", "--source", SOURCE, "--targets", "synth:2").exit_code == 2  # it has no recordings now


def test_quantile_cannot_serve_devices_that_never_recorded(umc: Umc) -> None:
    run = umc("convert", "--source", SOURCE, "--targets", "synth:1", "--converter", "quantile")
    assert run.exit_code == 2
    assert "recordings of synth-000" in run.stderr
    assert "these would work: " in run.stderr


def test_ids_of_records_are_not_taken(umc: Umc, workspace: Path) -> None:
    library = DeviceRegistry()
    for device in library:
        write_device(device, workspace / "devices")
    write_device(library.get("pixel3").model_copy(update={"id": "synth-001"}), workspace / "devices")
    run = umc("convert", "--source", SOURCE, "--targets", "synth:2")
    assert run.exit_code == 2
    assert "a device record 'synth-001' already exists" in run.stderr
