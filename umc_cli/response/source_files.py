"""The files that a device record was made from, as the record names them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from umc_cli.errors import InputError
from umc_cli.response.device import SourceFile


def source_file(path: Path) -> SourceFile:
    """Return the entry of one file.

    Raises:
        InputError: it cannot be read.
    """
    return SourceFile(file=path.name, sha256=_sha256(path))


def source_of_recordings(paths: Sequence[Path], device: str) -> SourceFile:
    """Return one entry for all recordings of a device.

    Raises:
        InputError: one of them cannot be read.
    """
    every = sorted(map(_sha256, paths))
    return SourceFile(
        file=f"{len(every)} recordings of {device}",
        sha256=hashlib.sha256("\n".join(every).encode()).hexdigest(),
        origin="the checksum is that of the files' checksums, sorted, one a line",
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the path") from error
