"""`--with-source`: the source's own recordings beside the conversions, and what a sample of `ShardDataset` holds."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from umc_cli import ShardDataset
from umc_cli.api import log_mel
from umc_cli.errors import SettingsError
from umc_cli.sec.shard_conversions import open_shard_conversions


@pytest.fixture
def kept(workspace: Path, convert: Callable[..., Run]) -> Path:
    """Return the shards of a target and of the source."""
    run = convert("--with-source", "--dtype", "float32", "--json")
    assert run.json["targets"] == [TARGET, SOURCE]
    assert run.json["segments_by_target"] == {TARGET: 8, SOURCE: 8}
    return workspace / "converted"


def test_the_source_keeps_its_recordings_as_they_are(kept: Path) -> None:
    dataset = ShardDataset(kept / SOURCE, item=("log_mel", "label", "target", "recording", "path", "segment_start"))
    spectrogram, label, target, recording, path, start = dataset[0]
    assert (dataset.labels[label], target, recording, start) == ("a", SOURCE, "a/good0", 0)
    assert path == f"data/{SOURCE}/a/good0.wav"
    samples, rate_hz = soundfile.read(kept.parent / path, dtype="float32")
    torch.testing.assert_close(spectrogram[0], log_mel(samples, rate_hz)[0], rtol=0, atol=0)


def test_both_are_samples_of_the_whole_folder(kept: Path) -> None:
    dataset = ShardDataset(kept, item=("target", "recording", "log_mel"))
    rows = {(target, recording) for target, recording, _ in dataset}
    assert rows == {(device, f"{'ab'[n % 2]}/good{n}") for device in (SOURCE, TARGET) for n in range(4)}
    batch = next(iter(DataLoader(dataset, batch_size=4, num_workers=1)))
    assert list(batch[0]) == [TARGET] * 4
    assert batch[2].shape == (4, 1, 80, 80)


def test_the_targets_bytes_do_not_depend_on_it(kept: Path, convert: Callable[..., Run]) -> None:
    name = f"{TARGET}/shard-00000.h5"
    run = convert("--dtype", "float32", "--output", "without")
    assert run.exit_code == 0
    assert (kept / name).read_bytes() == (kept.parent / "without" / name).read_bytes()


def test_the_source_can_be_added_to_a_finished_run(umc: Callable[..., Run], convert: Callable[..., Run]) -> None:
    convert()
    run = convert("--with-source", "--json")
    assert (run.json["n_shards_written"], run.json["n_shards_kept"]) == (1, 1)
    again = convert("--json")
    assert (again.json["n_shards_written"], again.json["targets"]) == (0, [TARGET])
    assert umc("shards", "verify", "converted").exit_code == 0
    listed = umc("shards", "converted", "--json").json["targets"]
    assert {each["target"]: each["converter"] for each in listed} == {TARGET: "eq", SOURCE: "none"}


def test_a_source_among_the_targets_is_told_of_the_option(umc: Callable[..., Run]) -> None:
    run = umc("convert", "--source", SOURCE, "--targets", f"{TARGET},{SOURCE}")
    assert run.exit_code == 2
    assert "--with-source" in run.stderr


def test_a_training_takes_no_originals_for_conversions(kept: Path, tmp_path: Path) -> None:
    found = open_shard_conversions(kept, tmp_path, SOURCE, ("all",), ["eq"], False, [])
    assert found.targets == (TARGET,)


def test_samples_are_pairs_where_nothing_else_is_asked_for(kept: Path) -> None:
    dataset = ShardDataset(kept)
    spectrogram, label = dataset[0]
    assert isinstance(label, int)
    assert spectrogram.shape == (1, 80, 80)


def test_further_columns_of_a_manifest(workspace: Path, convert: Callable[..., Run]) -> None:
    (workspace / "data/manifest.csv").write_text(f"path,device,label,room\n{SOURCE}/a/good0.wav,{SOURCE},a,kitchen\n")
    convert()
    assert ShardDataset(workspace / "converted", item=["extra/room", "split"])[0] == ("kitchen", "train")


@pytest.mark.parametrize(
    ("item", "message"),
    [(["log_mel", "recordng"], "no part 'recordng'"), ([], "without any part"), ("label", "no part 'l'")],
)
def test_an_unknown_part_is_refused(kept: Path, item: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        ShardDataset(kept, item=item)
    assert "recording" in caught.value.hint


def test_weights_make_every_class_count_the_same(workspace: Path, convert: Callable[..., Run]) -> None:
    write_audio(workspace / f"data/{SOURCE}/b/long.wav", noise(8 * 20_480 / 22_050))
    convert()
    dataset = ShardDataset(workspace / "converted", labels=["a", "b", "unheard"])
    assert dataset.class_counts.tolist() == [4, 12, 0]
    weights = dataset.class_weights()
    torch.testing.assert_close(weights, torch.tensor([2.0, 16 / 24, 0.0]))
    drawn = dataset.sample_weights()
    labels = np.array([label for _, label in dataset])
    assert drawn.sum() == pytest.approx(16)
    assert drawn[labels == 0].sum() == pytest.approx(8)


def test_a_shard_says_that_its_rows_are_the_sources(kept: Path) -> None:
    with h5py.File(kept / SOURCE / "shard-00000.h5") as shard:
        assert shard.attrs["source"] == shard.attrs["target"] == SOURCE
