"""The number of processors that a container may use, from files as Linux shows them."""

from pathlib import Path

import pytest
import torch

from umc_cli import runtime
from umc_cli.errors import SettingsError
from umc_cli.runtime import cgroup_quota, compute_device, processor_count


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "own", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"job/cpu.max": "max 100000\n", "cpu.max": "400000 100000\n"}, "0::/job\n", 4.0),
        ({"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "800000 100000\n"}, "0::/job/step\n", 2.0),
        ({"other/cpu.max": "100000 100000\n"}, "0::/job\n", None),
        (
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/d/cpu.cfs_period_us": "100000\n"},
            "5:memory:/d\n4:cpu,cpuacct:/d\n",
            2.5,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu:/\n", None),
        ({"cpu.max": "0 0\n"}, "0::/\n", None),
        ({}, "", None),
    ],
)
def test_quotas_of_cgroups(tmp_path: Path, files: dict[str, str], own: str, quota: float | None) -> None:
    for name, text in files.items():
        write(tmp_path / "cgroup" / name, text)
    write(tmp_path / "own", own)
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "own") == quota
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "no such file") in (None, 1.5, 4.0)


@pytest.mark.parametrize(("quota", "count"), [(None, 6), (2.5, 3), (0.2, 1), (64.0, 6)])
def test_a_quota_bounds_the_processors(monkeypatch: pytest.MonkeyPatch, quota: float | None, count: int) -> None:
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(runtime, "cgroup_quota", lambda *_: quota)
    assert processor_count() == count


def test_making_weights_touches_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training on the CPU, or on one GPU, leaves the random states of the GPUs alone."""
    from tests.conversion.training_data import TINY, training_devices, training_segments
    from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining

    def refuse(*_: object) -> None:
        raise AssertionError("a GPU was asked for its random state")

    for name in ("get_rng_state", "set_rng_state", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    before = torch.get_rng_state()
    AdversarialTraining(TINY, training_segments(), training_devices(), False, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_mps_is_a_device_where_torch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="'mps' is not available"):
        compute_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert compute_device("mps").type == "mps"
    assert compute_device("auto").type == "cpu"  # not chosen: it has never been run
