"""Shards and SOFA files that a stranger forged: nothing outside the file is opened, no claim is believed."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from umc_cli.errors import InputError
from umc_cli.response.impulse_response_files import read_impulse_response
from umc_cli.shards import schema
from umc_cli.shards.reader import ShardDataset
from umc_cli.shards.schema import read_shard_header
from umc_cli.shards.writer import ShardRows, write_shard

N_ROWS = 20
SHAPE = (N_ROWS, 80, 80)
PAIR = np.dtype([("a", "f2"), ("b", "f2")])
ABSENT_FILTER = 40_000
Change = Callable[[h5py.File], object]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A good shard, and beside it another HDF5 file and a text."""
    path = tmp_path / "y" / "shard-00000.h5"
    attributes = {"run_id": "x", "target_id": "x", "source": "x", "target": "y", "shard_index": 0, "description": "{}"}
    texts = {name: [name] * N_ROWS for name in ("label", "recording", "split", "source_path")}
    numbers = {name: list(range(N_ROWS)) for name in ("segment_start", "segment_index")}
    with write_shard(path, attributes, "float16") as writer:
        writer.append(np.random.default_rng(0).uniform(-100, 0, (N_ROWS, 80, 80)).astype(np.float16))
        writer.finish(ShardRows(**texts, **numbers, extra={"room": ["3"] * N_ROWS}))  # type: ignore[arg-type]
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["label"] = np.array([b"stolen"] * N_ROWS, dtype=object)
        other["extra/room"] = np.array([b"stolen"] * N_ROWS, dtype=object)
        other["log_mel"] = np.zeros((N_ROWS, 80, 80), np.float16)
    (tmp_path / "secret").write_bytes(bytes(range(8 * N_ROWS)))
    return path


def forge(path: Path, change: Change) -> None:
    """Change the HDF5 content and renew the checksum of the whole."""
    with h5py.File(path, "r+") as file:
        change(file)
    content = path.read_bytes()[schema.USER_BLOCK_BYTES :]
    path.write_bytes(schema.user_block(hashlib.sha256(content).hexdigest()) + content)


def put(name: str, make: Callable[[h5py.File], object]) -> Change:
    """Return what replaces a dataset, and gives the new one the checksum of the old one."""

    def change(file: h5py.File) -> None:
        digest = file[name].attrs.get("sha256", "")
        del file[name]
        made = make(file)
        if isinstance(made, h5py.Dataset):
            made.attrs["sha256"] = digest
        elif made is not None:
            file[name] = made

    return change


def attribute(name: str, value: object) -> Change:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


def of_absent_filter(file: h5py.File) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((8, 80, 80))
    made.set_filter(ABSENT_FILTER, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((N_ROWS, 80, 80))
    h5py.h5d.create(file.id, b"log_mel", h5py.h5t.py_create(np.dtype(np.float16)), space, made)


def virtual(file: h5py.File) -> h5py.Dataset:
    layout = h5py.VirtualLayout((N_ROWS, 80, 80), np.float16)
    layout[:] = h5py.VirtualSource("../other.h5", "log_mel", (N_ROWS, 80, 80))
    return file.create_virtual_dataset("log_mel", layout)


def many_rows(**options: object) -> Change:
    def change(file: h5py.File) -> None:
        del file["log_mel"]
        file.create_dataset(
            "log_mel", (10**9, 80, 80), np.float16, maxshape=(None, 80, 80), chunks=(8, 80, 80), **options
        )
        file.attrs["n_segments"] = 10**9

    return change


def bomb(file: h5py.File) -> None:
    """1,000 times smaller than what it unpacks to."""
    del file["log_mel"]
    zeros = np.zeros((4_000, 80, 80), np.float16)
    file.create_dataset("log_mel", data=zeros, chunks=(1_000, 80, 80), compression="gzip")
    file.attrs["n_segments"] = 4_000


DEEP = "[" * 100_000 + "]" * 100_000

FORGED: dict[str, tuple[Change, str]] = {
    "external link": (put("label", lambda _: h5py.ExternalLink("../other.h5", "/label")), "is a link"),
    "external link to a group": (put("extra", lambda _: h5py.ExternalLink("../other.h5", "/extra")), "is a link"),
    "soft link": (put("label", lambda _: h5py.SoftLink("/recording")), "is a link"),
    "soft link to nothing": (put("label", lambda _: h5py.SoftLink("/nothing")), "has no dataset|is a link"),
    "soft link to itself": (put("label", lambda _: h5py.SoftLink("/label")), "has no dataset|cannot be read"),
    "values in another file": (
        put(
            "segment_start",
            lambda file: file.create_dataset(
                "segment_start", (N_ROWS,), np.int64, external=[("../secret", 0, 8 * N_ROWS)]
            ),
        ),
        "in other files",
    ),
    "virtual dataset": (put("log_mel", virtual), "in other files"),
    "unknown filter": (put("log_mel", of_absent_filter), f"filter {ABSENT_FILTER}"),
    "a milliard rows": (many_rows(), "more than its file can hold"),
    "a milliard rows, gzip": (many_rows(compression="gzip"), "more than its file can hold"),
    "a milliard rows, Bitshuffle": (many_rows(**schema.COMPRESSIONS["lz4"]), "more than its file can hold"),
    "gzip bomb": (bomb, "more than its file can hold"),
    "huge chunk": (
        put(
            "log_mel",
            lambda f: f.create_dataset("log_mel", SHAPE, np.float16, chunks=(9_000, 80, 80), maxshape=(None, 80, 80)),
        ),
        "chunks of more than",
    ),
    "group for a dataset": (put("label", lambda file: file.create_group("label") and None), "is not a dataset"),
    "dataset for a group": (put("extra", lambda file: file.create_dataset("extra", data=[1])), "is not a group"),
    "numbers for texts": (
        put("label", lambda file: file.create_dataset("label", data=np.arange(N_ROWS))),
        "the type int64",
    ),
    "texts of fixed length": (
        put("label", lambda file: file.create_dataset("label", data=np.array([b"abc"] * N_ROWS))),
        "the type",
    ),
    "references": (
        put("label", lambda file: file.create_dataset("label", (N_ROWS,), h5py.ref_dtype)),
        "the type object",
    ),
    "fractions for numbers": (
        put("segment_start", lambda file: file.create_dataset("segment_start", data=np.zeros(N_ROWS))),
        "the type float64",
    ),
    "compound spectrograms": (
        put("log_mel", lambda file: file.create_dataset("log_mel", SHAPE, PAIR)),
        "the type",
    ),
    "a scalar": (put("label", lambda file: file.create_dataset("label", data="x")), r"shape \(\)"),
    "no space": (put("label", lambda file: file.create_dataset("label", data=h5py.Empty("f4"))), "shape None"),
    "negative count": (attribute("n_segments", -1), "instead of"),
    "infinite count": (attribute("n_segments", np.inf), "missing or damaged"),
    "list for a count": (attribute("n_segments", [1, 2]), "missing or damaged"),
    "list for the format": (attribute("format", ["umc-shard"] * 2), "not a shard that this umc reads"),
    "list for the version": (attribute("format_version", [1, 1]), "not a shard that this umc reads"),
    "deep description": (attribute("description", DEEP[:60_000]), "missing or damaged"),
    "list for the description": (attribute("description", "[]"), "missing or damaged"),
    "text for settings": (attribute("description", '{"settings": "x"}'), "missing or damaged"),
    "list for made_with": (attribute("description", '{"settings": {"made_with": []}}'), "missing or damaged"),
    "numbers that failed": (attribute("failed", "[1]"), "missing or damaged"),
    "a failure without path": (attribute("failed", '[{"reason": "", "hint": ""}]'), "missing or damaged"),
    "a number for what failed": (attribute("failed", "3"), "missing or damaged"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_shard_is_refused_whole(shard: Path, name: str) -> None:
    change, message = FORGED[name]
    forge(shard, change)
    started = time.process_time()
    with pytest.raises(InputError, match=message) as error:
        schema.check_shard(shard)
    assert time.process_time() - started < 5
    assert error.value.hint
    assert "stolen" not in str(error.value)


@pytest.mark.parametrize("name", FORGED)
def test_a_dataset_of_a_forged_shard_holds_nothing_from_elsewhere(shard: Path, name: str) -> None:
    """What the dataset does not read it need not refuse."""
    forge(shard, FORGED[name][0])
    try:
        dataset = ShardDataset(shard.parent)
    except InputError:
        return
    assert dataset.labels == ["label"]
    assert all(dataset[index][0].isfinite().all() for index in range(len(dataset)))


def test_a_text_that_all_rows_share_is_not_unpacked_for_each(shard: Path) -> None:
    """HDF5 lets many rows name one text; here each takes 100 kB."""
    long = b"x" * 100_000

    def change(file: h5py.File) -> None:
        del file["label"]
        dataset = file.create_dataset("label", (N_ROWS,), h5py.string_dtype())
        dataset[0] = long
        dataset.attrs["sha256"] = "0"

    forge(shard, change)
    content = shard.read_bytes()
    with h5py.File(shard) as file:
        first = file["label"].id.get_offset() + schema.USER_BLOCK_BYTES * (file["label"].id.get_offset() < len(content))
    for offset in (first, first - schema.USER_BLOCK_BYTES):
        reference = content[offset : offset + 16]
        if reference[:4] == len(long).to_bytes(4, "little"):
            content = content[:offset] + reference * N_ROWS + content[offset + 16 * N_ROWS :]
            break
    else:
        pytest.fail("the reference was not found")
    body = content[schema.USER_BLOCK_BYTES :]
    shard.write_bytes(schema.user_block(hashlib.sha256(body).hexdigest()) + body)
    with h5py.File(shard) as file:
        assert file["label"][N_ROWS - 1] == long
    with pytest.raises(InputError, match="longer texts than its file"):
        schema.check_shard(shard)


@pytest.mark.parametrize("read", [schema.check_shard, read_shard_header])
def test_a_shard_that_is_no_regular_file_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "shard-00000.h5").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        read(tmp_path / "shard-00000.h5")


# ---- SOFA


def sofa(folder: Path, change: Change) -> Path:
    response = np.zeros((1, 1, 2_000))
    response[0, 0, 100:110] = np.hanning(10)
    path = folder / "response.sofa"
    with h5py.File(path, "w") as file:
        file["Data.IR"], file["Data.SamplingRate"] = response, [48_000.0]
        change(file)
    return path


FORGED_SOFA: dict[str, tuple[Change, str]] = {
    "external link": (put("Data.IR", lambda _: h5py.ExternalLink("other.h5", "/x")), "is a link"),
    "a milliard measurements": (
        put(
            "Data.IR",
            lambda file: file.create_dataset(
                "Data.IR", (10**9, 1, 100), "f8", maxshape=(None, 1, 100), chunks=(1, 1, 100)
            ),
        ),
        "more than its file can hold",
    ),
    "values in another file": (
        put("Data.IR", lambda file: file.create_dataset("Data.IR", (1, 1, 20), "f8", external=[("secret", 0, 160)])),
        "in other files",
    ),
    "group": (put("Data.IR", lambda file: file.create_group("Data.IR") and None), "is not a dataset"),
    "texts": (put("Data.IR", lambda file: file.create_dataset("Data.IR", data=["x"])), "not a SOFA file"),
    "endless rate": (put("Data.SamplingRate", lambda _: [1e300]), r"\[M, R, N\]"),
    "rate that is no number": (put("Data.SamplingRate", lambda _: [np.nan]), r"\[M, R, N\]"),
    "no samples": (put("Data.IR", lambda _: np.zeros((1, 0, 0))), "silent"),
    "no rate": (
        put("Data.SamplingRate", lambda file: file.create_dataset("Data.SamplingRate", data=h5py.Empty("f4"))),
        "at nan Hz|not a SOFA|at .* Hz",
    ),
}


@pytest.mark.parametrize("name", FORGED_SOFA)
def test_a_forged_sofa_file_is_refused(tmp_path: Path, name: str) -> None:
    change, message = FORGED_SOFA[name]
    (tmp_path / "secret").write_bytes(bytes(160))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.ones((1, 1, 20))
    path = sofa(tmp_path, change)
    with pytest.raises(InputError, match=message):
        read_impulse_response(path, None, None)


def test_a_true_sofa_file_is_read(tmp_path: Path) -> None:
    assert read_impulse_response(sofa(tmp_path, lambda _: None), None, None)[1] == 48_000
