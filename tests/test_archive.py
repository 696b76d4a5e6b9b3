"""Files that released versions wrote are read by this one, and mean the same."""

import json
from pathlib import Path

import pytest
import torch

from tests.archive.write_archive import generator_input, refiner_input, tone
from tests.conftest import PROJECT
from umc_cli.audio.log_mel import log_mel
from umc_cli.conversion.band_interpolation import band_gain_db
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.response.device import DeviceRegistry
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
