"""Shards that programs without a plug-in of HDF5 read."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.samples import TARGET, Run
from umc_cli.shards.schema import check_shard

_PLAIN = """
import sys
import h5py
with h5py.File(sys.argv[1]) as shard:
    print(shard["log_mel"][:].sum())
assert "hdf5plugin" not in sys.modules
"""


def plain_h5py(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", _PLAIN, str(path)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_plain_h5py_reads_them_and_rows_are_the_same(
    workspace: Path, convert: Callable[..., Run], compression: str
) -> None:
    assert convert("--output", "default").exit_code == 0
    assert convert("--output", "plain", "--compression", compression).exit_code == 0
    default, plain = (workspace / root / TARGET / "shard-00000.h5" for root in ("default", "plain"))
    assert (workspace / "default/run.json").read_bytes() == (workspace / "plain/run.json").read_bytes()
    assert plain_h5py(plain).returncode == 0
    check_shard(plain)
    with h5py.File(default) as one, h5py.File(plain) as other:
        np.testing.assert_array_equal(one["log_mel"][()], other["log_mel"][()])


def test_the_default_needs_the_plugin_and_the_page_of_formats_has_the_message(
    workspace: Path, convert: Callable[..., Run]
) -> None:
    convert()
    refused = plain_h5py(workspace / "converted" / TARGET / "shard-00000.h5")
    page = (Path(__file__).parents[2] / "docs/file-formats.md").read_text()
    if refused.returncode == 0:
        pytest.skip("this HDF5 has the plug-in")
    # HDF5 words it by whether there is a folder of plug-ins.
    known = [said for said in ("can't open directory", "can't find plugin") if said in page]
    assert any(said in refused.stderr for said in known), refused.stderr
