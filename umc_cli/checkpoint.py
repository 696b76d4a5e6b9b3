"""Checkpoints: weights as safetensors, everything else as JSON in the same file's header. Nothing is unpickled.

Loads torch only where it reads or writes weights.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from umc_cli import atomic_write
from umc_cli.errors import SettingsError
from umc_cli.json_text import JsonFormat, parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

FORMAT = JsonFormat("umc-checkpoint", 1, "checkpoint", "give a checkpoint that umc wrote", "train the checkpoint again")

_HEADER_LENGTH_BYTES = 8

_NOT_SAFETENSORS = (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError)
"""What reading raises of a file that is none."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    tensors: dict[str, Tensor]
    """The weights by name, on the CPU."""
    metadata: dict[str, Any]
    """Settings and whatever else the writer put beside the weights; plain JSON values."""
    sha256: str
    """Of the whole file, in hexadecimal digits: names the checkpoint in the shards made with it."""


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write weights and metadata to one file, all or nothing.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
        ValueError: the metadata holds something that JSON does not, such as a NaN.
    """
    import safetensors.torch

    header = FORMAT.header | {"metadata": dict(metadata)}
    # One text field: safetensors writes several in random order, and the same weights would get another sha256.
    text_fields = {FORMAT.name: json.dumps(header, allow_nan=False, sort_keys=True)}
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Serialised in memory, not by save_file: an OSError of our own writing says whether the disk is full.
    content = safetensors.torch.save(on_cpu, metadata=text_fields)
    with atomic_write.atomic_path(path) as partial:
        partial.write_bytes(content)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        SettingsError: the file is missing, truncated or corrupt, is no umc checkpoint, or is of an unknown version.
    """
    import safetensors.torch

    content = _read_bytes(path)
    try:
        tensors = safetensors.torch.load(content)
        text_fields = _read_text_fields(content)
    except _NOT_SAFETENSORS as error:
        raise _broken(path, error) from error
    return Checkpoint(tensors, _metadata_of(path, text_fields), hashlib.sha256(content).hexdigest())


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the tensors of a checkpoint as NumPy arrays, and its metadata. Loads no torch; bf16 is not for NumPy.

    Raises:
        SettingsError: see `read_checkpoint`.
    """
    import safetensors.numpy

    content = _read_bytes(path)
    try:
        arrays = safetensors.numpy.load(content)
        text_fields = _read_text_fields(content)
    except (*_NOT_SAFETENSORS, TypeError) as error:
        raise _broken(path, error) from error
    return arrays, _metadata_of(path, text_fields)


def file_sha256(path: Path) -> str:
    """Return the checksum that `read_checkpoint` gives of a file, without looking at what it holds.

    Raises:
        SettingsError: the file cannot be read.
    """
    return hashlib.sha256(_read_bytes(path)).hexdigest()


def read_metadata(path: Path) -> dict[str, Any]:
    """Read what stands beside the weights of a checkpoint, and not the weights.

    Raises:
        SettingsError: see `read_checkpoint`; damage to the weights is not seen.
    """
    content = _read_bytes(path, header_alone=True)
    try:
        text_fields = _read_text_fields(content)
    except _NOT_SAFETENSORS as error:
        raise _broken(path, error) from error
    return _metadata_of(path, text_fields)


def _read_bytes(path: Path, header_alone: bool = False) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"checkpoint {path} is not a regular file", "give an existing .safetensors file")
        with path.open("rb") as file:
            length = file.read(_HEADER_LENGTH_BYTES)
            claimed = int.from_bytes(length, "little") if header_alone else status.st_size
            return length + file.read(min(claimed, status.st_size))
    except OSError as error:
        raise SettingsError(
            f"cannot read checkpoint {path}: {error.strerror}",
            "give an existing .safetensors file, or choose a converter that needs no checkpoint",
        ) from error


def _broken(path: Path, error: Exception) -> SettingsError:
    return SettingsError(
        f"checkpoint {path} is truncated, corrupt or not a safetensors file: {error}",
        "copy or download it again; umc does not read pickled .pt or .pth files",
    )


def _metadata_of(path: Path, text_fields: Mapping[str, str]) -> dict[str, Any]:
    if FORMAT.name not in text_fields:
        raise SettingsError(
            f"{path} holds weights but is not a umc checkpoint", f"its header must have the field {FORMAT.name!r}"
        )
    header = _parse(text_fields[FORMAT.name])
    if header is None:
        raise SettingsError(f"checkpoint {path} has a broken header", "copy or download it again")
    metadata = FORMAT.check(header, path).get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("training", {}), dict):
        raise SettingsError(
            f"checkpoint {path} has a broken header: no metadata, or none that umc writes", "copy or download it again"
        )
    return metadata


def _parse(text: str) -> dict[str, Any] | None:
    try:
        header = parse_json(text)
    except ValueError:
        return None
    return header if isinstance(header, dict) and header.get("format") == FORMAT.name else None


def _read_text_fields(content: bytes) -> dict[str, str]:
    """Return the text fields of a safetensors header: 8 bytes of length (little-endian), then JSON."""
    length = int.from_bytes(content[:_HEADER_LENGTH_BYTES], "little")
    header = parse_json(content[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length])
    fields = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(fields, dict) or not all(isinstance(text, str) for text in fields.values()):
        raise ValueError("its header is not a safetensors header")
    return fields
