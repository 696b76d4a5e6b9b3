import hashlib
import pickle
import unicodedata
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from umc_cli.errors import InputError, SettingsError
from umc_cli.shards import schema
from umc_cli.shards.reader import ShardDataset
from umc_cli.shards.writer import ShardRows, write_shard


def make_shard(
    path: Path, n_rows: int = 37, label_offset: int = 0, dtype: schema.Dtype = "float16", label: str = "label{}"
) -> np.ndarray:
    values = np.random.default_rng(n_rows).uniform(-100, 20, (n_rows, 80, 80)).astype(dtype)
    attributes = dict.fromkeys(["run_id", "target_id", "source"], "x")
    attributes |= {"shard_index": 0, "target": path.parent.name, "description": "{}"}
    rows = ShardRows(
        label=[label.format((index + label_offset) % 3) for index in range(n_rows)],
        recording=[f"r{index}" for index in range(n_rows)],
        split=["train-sec" if index % 2 else "val-sec" for index in range(n_rows)],
        source_path=[f"data/x/ü{index}.wav" for index in range(n_rows)],
        segment_start=list(range(n_rows)),
        segment_index=list(range(n_rows)),
        extra={"room": ["3"] * n_rows},
        failed=[{"path": "a", "reason": "bad", "hint": ""}],
    )
    with write_shard(path, attributes, dtype) as writer:
        for start in range(0, n_rows, 10):
            writer.append(values[start : start + 10])
        writer.finish(rows)
    return values


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("n_rows", [0, 1, 16, 37])
def test_what_is_written_is_read(tmp_path: Path, n_rows: int, dtype: schema.Dtype) -> None:
    path = tmp_path / "y" / "shard-00000.h5"
    values = make_shard(path, n_rows, dtype=dtype)
    header = schema.check_shard(path)
    assert (header.source, header.target, header.n_segments) == ("x", "y", n_rows)
    assert header.failed == [{"path": "a", "reason": "bad", "hint": ""}]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["log_mel"][()], values)
        assert file["log_mel"].dtype == dtype
        assert list(file["source_path"].asstr()[:1]) == ["data/x/ü0.wav"][:n_rows]
        assert file["extra/room"].shape == (n_rows,)
    assert [entry.name for entry in path.parent.iterdir()] == ["shard-00000.h5"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_shard(tmp_path / name / "y" / "shard-00000.h5")
    first, second = ((tmp_path / name / "y" / "shard-00000.h5").read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with write_shard(tmp_path / "shard-00000.h5", {}, "float16") as writer:
            writer.append(np.zeros((3, 80, 80), np.float16))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Change the HDF5 content and renew the checksum of the whole, as a faulty writer would."""
    with h5py.File(path, "r+") as file:
        change(file)
    content = path.read_bytes()[schema.USER_BLOCK_BYTES :]
    path.write_bytes(schema.user_block(hashlib.sha256(content).hexdigest()) + content)


def corrupt_values(path: Path) -> None:
    edit(path, lambda file: file["segment_start"].write_direct(np.full(37, 99)))


def drop_column(path: Path) -> None:
    edit(path, lambda file: file.pop("label"))


def shorten_column(path: Path) -> None:
    edit(path, lambda file: file.attrs.modify("n_segments", 36))


def other_version(path: Path) -> None:
    edit(path, lambda file: file.attrs.modify("format_version", 2))


def flip_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(255 - value for value in content[middle : middle + 64])
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def newer_file(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"umc-shard 1", b"umc-shard 2", 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (corrupt_values, "'segment_start' is damaged: its checksum differs"),
        (drop_column, "has no dataset 'label'"),
        (shorten_column, r"'log_mel' has shape \(37, 80, 80\) instead of \(36, 80, 80\)"),
        (flip_bytes, "is damaged: its checksum differs"),
        (truncate, "is damaged: its checksum differs"),
        (newer_file, "begins with 'umc-shard 2', not 'umc-shard 1'"),
        (other_version, "format 'umc-shard', version .*2"),
        (lambda path: path.write_bytes(b"no shard"), "begins with 'no shard'"),
    ],
)
def test_damage_is_found_and_named(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "y" / "shard-00000.h5"
    make_shard(path)
    damage(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as error:
        schema.check_shard(path)
    assert str(path) in error.value.message


def test_dataset_gives_spectrogram_and_label(tmp_path: Path) -> None:
    values = make_shard(tmp_path / "y" / "shard-00000.h5")
    dataset = ShardDataset(tmp_path)
    assert len(dataset) == 37
    assert dataset.labels == ["label0", "label1", "label2"]
    log_mel, label = dataset[4]
    assert (log_mel.shape, log_mel.dtype, label) == ((1, 80, 80), torch.float32, 1)
    np.testing.assert_array_equal(log_mel[0], values[4].astype(np.float32))
    assert len(ShardDataset(tmp_path, split="train-sec")) == 18
    assert ShardDataset(tmp_path, labels=["label2", "label1", "label0"])[4][1] == 1


def test_an_index_means_the_same_label_in_every_split(tmp_path: Path) -> None:
    """A label that only one split has must not move the others."""
    make_shard(tmp_path / "y" / "shard-00000.h5", n_rows=3)  # label0 and label2 in val-sec, label1 in train-sec
    test, train = (ShardDataset(tmp_path, split=split) for split in ("val-sec", "train-sec"))
    assert test.labels == train.labels == ["label0", "label1", "label2"]
    assert [label for _, label in test] == [0, 2]
    assert [label for _, label in train] == [1]
    assert ShardDataset(tmp_path, split="train-sec", labels=["label1"])[0][1] == 0


def test_labels_of_earlier_shards_are_one_however_they_are_spelled(tmp_path: Path) -> None:
    for target, form in (("y", "NFC"), ("z", "NFD")):
        name = unicodedata.normalize(form, "tür")
        make_shard(tmp_path / target / "shard-00000.h5", n_rows=3, label=name)
    dataset = ShardDataset(tmp_path)
    assert dataset.labels == [unicodedata.normalize("NFC", "tür")]
    assert ShardDataset(tmp_path, labels=["a", unicodedata.normalize("NFD", "tür")])[5][1] == 1


def test_dataset_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no shards in"):
        ShardDataset(tmp_path)
    make_shard(tmp_path / "y" / "shard-00000.h5")
    with pytest.raises(SettingsError, match="label 'label2' is not among"):
        ShardDataset(tmp_path, labels=["label0", "label1"])


@pytest.mark.usefixtures("forked_worlds")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_many_loader_workers_read_what_one_reads(tmp_path: Path, context: str) -> None:
    """A handle that was open before the fork must not be shared."""
    for target in ("y", "z"):
        make_shard(tmp_path / target / "shard-00000.h5")
    dataset = ShardDataset(tmp_path)
    alone = [dataset[index] for index in range(len(dataset))]  # opens the files in this process
    loader = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context=context)
    log_mels, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    torch.testing.assert_close(log_mels, torch.stack([log_mel for log_mel, _ in alone]), rtol=0, atol=0)
    assert labels.tolist() == [label for _, label in alone]


def test_a_pickled_dataset_opens_its_own_files(tmp_path: Path) -> None:
    make_shard(tmp_path / "y" / "shard-00000.h5")
    dataset = ShardDataset(tmp_path)
    expected = dataset[0][0]
    torch.testing.assert_close(pickle.loads(pickle.dumps(dataset))[0][0], expected)
