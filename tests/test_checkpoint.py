import hashlib
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from umc_cli.checkpoint import read_checkpoint, read_metadata, write_checkpoint
from umc_cli.errors import EnvironmentFault, SettingsError

TENSORS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.5], dtype=torch.bfloat16)}
METADATA = {"settings": {"ngf": 64, "kind": "größe"}, "widths": [1, 2]}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "generator.safetensors"
    write_checkpoint(path, TENSORS, METADATA)
    return path


def write_header(path: Path, header: dict[str, str]) -> None:
    path.write_bytes(safetensors.torch.save(TENSORS, metadata=header))


def test_what_is_written_is_read(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    assert read.metadata == METADATA
    assert read.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert read.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(read.tensors[name], tensor, rtol=0, atol=0)


def test_views_of_larger_tensors_can_be_written(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    write_checkpoint(tmp_path / "a.safetensors", {"column": whole[:, 1], "transposed": whole.T}, {})
    read = read_checkpoint(tmp_path / "a.safetensors").tensors
    torch.testing.assert_close(read["column"], whole[:, 1])
    torch.testing.assert_close(read["transposed"], whole.T)


def test_nothing_half_written_is_left(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_checkpoint(checkpoint, TENSORS, {"loss": float("nan")})
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_folder_in_the_way_is_an_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(EnvironmentFault, match="cannot write"):
        write_checkpoint(tmp_path / "taken" / "a.safetensors", TENSORS, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read checkpoint .*absent\.safetensors: No such file"):
        read_checkpoint(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("length", [0, 4, 60, -1])
def test_a_truncated_file_is_refused(checkpoint: Path, length: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:length])
    with pytest.raises(SettingsError, match=r"generator\.safetensors is truncated, corrupt"):
        read_checkpoint(checkpoint)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "sprung"),)  # type: ignore[return-value]

    (tmp_path / "model.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(SettingsError, match="does not read pickled"):
        read_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "sprung").exists()


def test_what_stands_beside_the_weights_is_read_without_them(checkpoint: Path) -> None:
    assert read_metadata(checkpoint) == METADATA
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-8])  # the weights are damaged, the header is not
    assert read_metadata(checkpoint) == METADATA
    header_length = int.from_bytes(content[:8], "little")
    for damaged in (content[: 8 + header_length // 2], b"\xff" * 64, (2).to_bytes(8, "little") + b"[]", b""):
        checkpoint.write_bytes(damaged)
        with pytest.raises(SettingsError, match="truncated, corrupt"):
            read_metadata(checkpoint)


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    write_header(tmp_path / "other.safetensors", {"format": "pt"})
    with pytest.raises(SettingsError, match="not a umc checkpoint"):
        read_checkpoint(tmp_path / "other.safetensors")


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    header = {"format": "umc-checkpoint", "format_version": 2, "metadata": {}}
    write_header(tmp_path / "new.safetensors", {"umc-checkpoint": json.dumps(header)})
    with pytest.raises(SettingsError, match="format version 2; this umc reads 1"):
        read_checkpoint(tmp_path / "new.safetensors")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": "umc-checkpoint", "format_version": 1, "metadata": []}'])
def test_a_broken_header_is_refused(tmp_path: Path, text: str) -> None:
    write_header(tmp_path / "broken.safetensors", {"umc-checkpoint": text})
    with pytest.raises(SettingsError, match="broken header"):
        read_checkpoint(tmp_path / "broken.safetensors")
