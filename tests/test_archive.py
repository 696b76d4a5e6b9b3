"""Files that released versions wrote are read by this one, and mean the same."""

import json
from pathlib import Path

import pytest
import soundfile
import torch

from tests.archive.write_archive import generator_input, refiner_input, tone
from tests.conftest import PROJECT, run_here
from umc_cli.audio.log_mel import log_mel
from umc_cli.cli.app import main
from umc_cli.conversion.band_interpolation import band_gain_db
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.response.device import DeviceRegistry
from umc_cli.shards.plan import read_plan
from umc_cli.shards.reader import ShardDataset
from umc_cli.shards.schema import check_shard

RELEASES = sorted((PROJECT / "tests" / "archive").glob("umc-*"))
REFINERS = sorted(path.parent for path in (PROJECT / "tests" / "archive").glob("*/refiner.safetensors"))
"""The first is of the version before the wide family; no release had refiners yet."""


def test_there_is_a_release() -> None:
    assert next(path.name for path in RELEASES) == "umc-0.1.0"


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_shard_of_a_release_reads_as_what_this_version_would_write(release: Path) -> None:
    header = check_shard(release / "shard-00000.h5")
    assert (header.source, header.target, header.converter, header.n_segments) == ("xperia1v", "pixel3", "eq", 1)
    dataset = ShardDataset(release)
    assert (len(dataset), dataset.labels) == (1, ["tone"])
    library = DeviceRegistry(Path("no folder of devices"))
    gain_db = band_gain_db(library.get("xperia1v"), library.get("pixel3"), torch.device("cpu"))
    expected = (log_mel(torch.from_numpy(tone()).unsqueeze(0)) + gain_db).clamp_min(-100)
    torch.testing.assert_close(dataset[0][0], expected, rtol=0, atol=0.04)  # float16 is off by 0.03 dB at -100


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_generator_of_a_release_computes_what_it_computed(release: Path) -> None:
    trained = load_generator(release / "generator.safetensors")
    assert (trained.normalisation.mean_db, trained.normalisation.std_db) == (-45.0, 18.0)
    assert trained.generator.settings.condition == "shape"  # as all were before the level could be part of it
    answer = trained.generator(*generator_input()).flatten()[::640]
    expected = torch.tensor(json.loads((release / "generator_output.json").read_text()))
    torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("release", REFINERS, ids=lambda path: path.name)
def test_a_refiner_of_a_release_computes_what_it_computed(release: Path) -> None:
    trained = load_refiner(release / "refiner.safetensors")
    assert trained.training == {"name": "archived"}
    answer = trained.refiner(refiner_input()).flatten()[::640]
    expected = torch.tensor(json.loads((release / "refiner_output.json").read_text()))
    torch.testing.assert_close(answer, expected, rtol=1e-2, atol=1e-2)  # weights in half precision


def test_a_device_record_of_0_1_0_is_read(tmp_path: Path) -> None:
    (tmp_path / "pixel3.json").write_bytes((RELEASES[0] / "pixel3.json").read_bytes())
    record = DeviceRegistry(tmp_path).get("pixel3")
    library = DeviceRegistry(Path("no folder of devices")).get("pixel3")
    assert record.frequency_response_db == library.frequency_response_db


def test_a_run_of_0_1_0_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    """Its splits were dealt out; with the shares of then the shard is kept, and the manifest of then needs none."""
    clip = tmp_path / "data/xperia1v/tone/a.wav"
    clip.parent.mkdir(parents=True)
    soundfile.write(clip, tone(), 22_050, subtype="FLOAT")
    shard = tmp_path / "converted/pixel3/shard-00000.h5"
    shard.parent.mkdir(parents=True)
    shard.write_bytes((RELEASES[0] / shard.name).read_bytes())
    (tmp_path / "converted/run.json").write_bytes((RELEASES[0] / "run.json").read_bytes())
    plan, _ = read_plan(tmp_path / "converted") or pytest.fail("there is a plan")
    assert [file.split for file in plan.files] == ["train-sec"]
    assert len(ShardDataset(tmp_path / "converted", split="train")) == 1
    monkeypatch.chdir(tmp_path)
    command = ("convert", "--source", "xperia1v", "--targets", "pixel3", "--converter", "eq", "--json", "--quiet")
    refused = run_here(monkeypatch, capfd, main, [*command])
    assert refused.exit_code == 2
    assert "--shares train-mc=40,train-sec=40,val-sec=20" in refused.stderr
    resumed = run_here(monkeypatch, capfd, main, [*command, "--shares", "train-mc=40,train-sec=40,val-sec=20"])
    assert (resumed.json["n_shards_kept"], resumed.json["n_shards_written"]) == (1, 0)
    (tmp_path / "data/manifest.csv").write_text(
        "path,device,label,split,recording\nxperia1v/tone/a.wav,xperia1v,tone,train-sec,tone/a\n"
    )
    assert run_here(monkeypatch, capfd, main, [*command]).json["n_shards_kept"] == 1
    assert shard.read_bytes() == (RELEASES[0] / shard.name).read_bytes()
