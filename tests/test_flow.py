"""The commands, end to end, as a user gives them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch

import umc_cli
from tests.samples import SOURCE, Run, noise, write_audio
from umc_cli.audio.log_mel import log_mel
from umc_cli.shards.reader import ShardDataset

Umc = Callable[..., Run]


def read_shard(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {
            "log_mel": file["log_mel"][()].astype(np.float32),
            **{name: file[name].asstr()[()] for name in ("label", "recording", "split", "source_path")},
            **{name: file[name][()] for name in ("segment_start", "segment_index")},
        }


def test_convert_writes_what_the_recordings_hold(umc: Umc, workspace: Path) -> None:
    """eq to a device with a known difference: every row is the input's log-mel plus that difference."""
    report = umc(
        "convert",
        "--source",
        SOURCE,
        "--targets",
        "pixel3,xperia1",
        "--converter",
        "eq",
        "--dtype",
        "float32",
        "--json",
    ).json
    assert report["exit_code"] == 0
    assert (report["n_files"], report["n_segments"], report["targets"]) == (4, 8, ["pixel3", "xperia1"])
    shard = read_shard(workspace / "converted/pixel3/shard-00000.h5")
    expected_paths = [
        f"data/{SOURCE}/{label}/good{index}.wav" for label, index in [("a", 0), ("a", 2), ("b", 1), ("b", 3)]
    ]
    assert shard["source_path"].tolist() == [path for path in expected_paths for _ in range(2)]
    assert shard["label"].tolist() == ["a"] * 4 + ["b"] * 4
    assert shard["segment_start"].tolist() == [0, 20_480] * 4
    assert shard["segment_index"].tolist() == list(range(8))
    samples = soundfile.read(workspace / expected_paths[2], dtype="float32")[0]
    given = log_mel(torch.from_numpy(samples[:20_480])[None])[0].numpy()
    gain = shard["log_mel"][4] - given
    assert np.ptp(gain, axis=1).max() < 1e-3
    with h5py.File(workspace / "converted/pixel3/shard-00000.h5") as file:
        difference = json.loads(file.attrs["description"])["fr_difference_db"]
    # Band centres lie evenly on the mel axis: 80 of them at (i + 1) / 81, 128 of them at (i + 1) / 129.
    expected = np.interp(np.arange(1, 81) / 81, np.arange(1, 129) / 129, difference)
    np.testing.assert_allclose(gain[:, 0], expected, atol=0.05)


def test_auto_takes_quantile_where_both_devices_are_recorded(umc: Umc, workspace: Path) -> None:
    """A target that records 10 dB less: the quantile map finds it from unpaired recordings."""
    for index in range(40):
        for device, gain in ((SOURCE, 1.0), ("other", 10 ** (-10 / 20))):
            write_audio(workspace / f"data/{device}/noise/{device}{index}.wav", gain * noise(1.0, seed=100 + index))
    run = umc("convert", "--source", SOURCE, "--targets", "other", "--label", "noise", "--json")
    assert (run.json["converter"], run.json["targets"]) == ("quantile", ["other"])
    assert run.json["reason"] == "the best for 1 of 1 targets; refiner_transport, refiner_quantile: 0"
    converted = read_shard(workspace / "converted/other/shard-00000.h5")["log_mel"]
    samples = np.stack(
        [
            soundfile.read(path, dtype="float32")[0][:20_480]
            for path in sorted((workspace / f"data/{SOURCE}/noise").iterdir())
        ]
    )
    given = log_mel(torch.from_numpy(samples)).numpy()
    assert abs(np.median(converted[:, :, 5:-5] - given[:, :, 5:-5]) + 10) < 0.3
    tables = json.loads((workspace / "converted/level_quantiles.json").read_text())["devices"]
    assert tables["other"]["n_segments"] == 33
    assert tables[SOURCE]["labels"] == {"a": 4, "b": 4, "noise": 31}


def test_different_labels_are_warned_of(umc: Umc, workspace: Path) -> None:
    for index in range(40):
        write_audio(workspace / f"data/{SOURCE}/noise/{index}.wav", noise(1.0, seed=index))
        write_audio(workspace / f"data/other/speech/{index}.wav", noise(1.0, seed=index))
    run = umc("convert", "--source", SOURCE, "--targets", "other", "--converter", "quantile")
    assert run.exit_code == 0
    assert "hold different labels" in run.stderr


def test_the_shipped_refiner_is_the_default_for_the_library_and_all_means_all(umc: Umc, workspace: Path) -> None:
    report = umc("convert", "--source", SOURCE, "--json").json
    assert report["converter"] == "refiner"
    assert len(report["targets"]) == 12
    assert {path.name for path in (workspace / "converted").iterdir() if path.is_dir()} == set(report["targets"])


def test_the_second_run_keeps_everything_and_more_targets_can_be_added(umc: Umc, workspace: Path) -> None:
    first = umc("convert", "--source", SOURCE, "--targets", "pixel3", "--shard-size", "3", "--json").json
    assert (first["n_shards_written"], first["n_shards_kept"]) == (4, 0)
    before = (workspace / "converted/pixel3/shard-00001.h5").stat().st_mtime_ns
    second = umc("convert", "--source", SOURCE, "--targets", "pixel3,xperia1", "--shard-size", "3", "--json").json
    assert (second["n_shards_written"], second["n_shards_kept"]) == (4, 4)
    assert (workspace / "converted/pixel3/shard-00001.h5").stat().st_mtime_ns == before
    assert umc("shards", "verify", "converted").exit_code == 0


def test_other_settings_are_refused_and_named_until_overwrite_is_given(umc: Umc) -> None:
    assert umc("convert", "--source", SOURCE, "--targets", "pixel3").exit_code == 0
    refused = umc("convert", "--source", SOURCE, "--targets", "pixel3", "--hop", "10240")
    assert refused.exit_code == 2
    assert "--hop: 20480 then, 10240 now" in refused.stderr
    assert "--overwrite" in refused.stderr
    report = umc("convert", "--source", SOURCE, "--targets", "pixel3", "--hop", "10240", "--overwrite", "--json").json
    assert report["n_segments"] == 16 - 4


def test_film_gan_converts_with_a_checkpoint(umc: Umc, workspace: Path) -> None:
    from umc_cli.conversion.generator import Generator
    from umc_cli.conversion.generator_checkpoint import save_generator
    from umc_cli.conversion.generator_settings import GeneratorSettings
    from umc_cli.conversion.normalisation import Normalisation

    torch.manual_seed(0)
    small = Generator(GeneratorSettings(ngf=8, n_blocks=2, level="carried", film_encoder="sized"))
    save_generator(workspace / "checkpoints/generator.safetensors", small, Normalisation(mean_db=-50, std_db=20))
    as_fp32 = ["--converter", "film_gan", "--precision", "fp32"]
    report = umc("convert", "--source", SOURCE, "--targets", "pixel3", *as_fp32, "--json").json
    assert report["n_segments"] == 8
    assert report["made_with"]["engine"] in ("openvino", "torch")
    by_torch = [*as_fp32, "--engine", "torch", "--output", "by_torch"]
    assert umc("convert", "--source", SOURCE, "--targets", "pixel3", *by_torch).exit_code == 0
    first, second = (
        read_shard(workspace / root / "pixel3/shard-00000.h5")["log_mel"] for root in ("converted", "by_torch")
    )
    np.testing.assert_allclose(first, second, atol=0.07)  # float16 steps are 0.06 dB at 100 dB


def test_the_readme_trains_on_shards(umc: Umc, workspace: Path) -> None:
    """The five lines of the README, run on what `umc convert` wrote."""
    assert umc("convert", "--source", SOURCE, "--targets", "pixel3,xperia1").exit_code == 0
    code = re.search(r"```python\n(.*?)```", (Path(__file__).parent.parent / "README.md").read_text(), re.DOTALL)
    assert code
    names: dict[str, object] = {}
    exec(code[1].replace("num_workers=2", "num_workers=0"), names)
    assert len(names["dataset"]) == len(ShardDataset("converted", split="train-sec")) > 0  # type: ignore[arg-type]
    assert torch.isfinite(names["loss"])  # type: ignore[arg-type]


def test_train_smoke_gives_a_generator_that_converts(umc: Umc, workspace: Path) -> None:
    """From recordings of two devices to shards through a generator trained here, with nothing but defaults."""
    for device in (SOURCE, "pixel3"):
        for index in range(10):
            write_audio(workspace / f"data/{device}/noise/{device}{index}.wav", noise(0.93, seed=index))
    report = umc("train", "--preset", "smoke", "--json").json
    assert (report["exit_code"], report["devices"], report["n_steps"]) == (0, ["pixel3", SOURCE], 40)
    assert report["seconds"] < 60
    assert len(list((workspace / "runs/smoke/pictures").glob("*.png"))) == 2
    rows = (workspace / "runs/smoke/metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 40 // 5
    converted = umc("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "film_gan", "--json").json
    assert converted["made_with"]["generator_preset"] == "level_aware"
    assert converted["n_segments"] == 18


def test_demo_makes_a_workspace_shards_and_a_picture(run_umc: Callable[..., Run], tmp_path: Path) -> None:
    run = run_umc("demo", "place", cwd=tmp_path, timeout=180)
    assert run.exit_code == 0, run.stderr
    assert "synthesized" in run.stderr
    assert "distance to what phone-1 really recorded" in run.stdout
    assert (tmp_path / "place/conversion.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "place/converted").glob("*/shard-*.h5"))) == 1
    for name in ("bell", "knock", "plucked_string"):
        recorded, converted, true = (
            umc_cli.log_mel(*soundfile.read(tmp_path / f"place/listen/{name}-{number}.flac", dtype="float32"))
            for number in ("1-recorded", "2-converted", "3-target")
        )
        assert (converted - true).square().mean() < 0.5**2 * (recorded - true).square().mean()
    again = run_umc("demo", "place", "--json", cwd=tmp_path, timeout=180).json
    assert again["conversion"]["n_shards_kept"] == 1
    assert 0 < 2 * again["distance_after_db"] < again["distance_before_db"]
    assert again["n_measured"] > 10
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    refused = run_umc("demo", "mine", cwd=tmp_path)
    assert refused.exit_code == 2
    assert "mine is not empty" in refused.stderr


def test_devices_are_listed_and_shown(umc: Umc) -> None:
    listed = umc("devices")
    assert listed.exit_code == 0
    assert len(listed.stdout.splitlines()) == 14
    shown = umc("devices", "show", "pixel3")
    assert "Google Pixel 3" in shown.stdout
    assert "8k" in shown.stdout.splitlines()[-1]
    assert umc("devices", "show", "pixel3", "--json").json["id"] == "pixel3"
    unknown = umc("devices", "show", "nokia")
    assert unknown.exit_code == 2
    assert "known devices: pixel3" in unknown.stderr


def test_shards_are_listed(umc: Umc) -> None:
    umc("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "eq_noise")
    assert re.search(r"pixel3 +xperia1v +eq_noise +1 of 1 +8", umc("shards", "converted").stdout)
    assert umc("shards", "list", "converted", "--json").json["targets"][0]["n_segments"] == 8
    assert umc("shards", "nowhere").exit_code == 2


@pytest.mark.realdata
def test_real_recordings_to_the_whole_library(umc: Umc, workspace: Path, realdata: Path) -> None:
    """300 real clips of one class each, to the twelve other microphones."""
    source = workspace / "data" / SOURCE
    for folder in source.iterdir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    source.rmdir()
    source.symlink_to(realdata / "events", target_is_directory=True)
    report = umc("convert", "--source", SOURCE, "--targets", "all", "--converter", "eq_noise", "--json").json
    assert (report["exit_code"], report["n_files"], len(report["targets"])) == (0, 300, 12)
    assert report["n_segments"] == 1128
    assert umc("shards", "verify", "converted").exit_code == 0
    dataset = ShardDataset(workspace / "converted")
    assert len(dataset) == 12 * 1128
    assert len(dataset.labels) == 10
