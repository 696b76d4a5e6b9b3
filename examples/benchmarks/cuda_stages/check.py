"""What a stage of `cuda_check.py` is given: folders, a device, a notebook, a clock."""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

SOURCE = "xperia1v"
TARGETS = ("pixel3", "xperia1", "xperia1ii", "xperia1iii", "xperia1iv", "pixel3-back", "xperia1v-top")
FIGURES = "figures.jsonl"


@dataclass(frozen=True)
class Check:
    """One stage at work."""

    stage: str
    folder: Path
    """With the workspaces and what is made in them."""
    out: Path
    """For the results."""
    is_dry: bool
    """Small, on the CPU: shows that a stage runs."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.is_dry else "cuda")

    def sized(self, whole: Any, dry: Any) -> Any:
        """Return one of two sizes."""
        return dry if self.is_dry else whole

    def note(self, what: str, **values: Any) -> None:
        """Write down figures."""
        rounded = {name: _rounded(value) for name, value in values.items() if value is not None}
        with (self.out / FIGURES).open("a") as file:
            file.write(json.dumps({"stage": self.stage, "what": what, **rounded}) + "\n")

    def expect(self, what: str, is_right: bool, **values: Any) -> None:
        """Write down whether something is as it should be; what is not makes the check fail."""
        self.note(what, right=bool(is_right), **values)

    def attempt(self, what: str, call: Callable[[], None]) -> None:
        """Do one part of a stage; what it raises is written down, and the others are still done."""
        try:
            call()
        except Exception as error:
            self.expect(what, False, error=f"{type(error).__name__}: {error}"[:300])

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def timed(self, call: Callable[[], object], repeats: int = 20) -> tuple[float, float]:
        """Return the median seconds of a call on the device, and those that the host needs to hand one over."""
        repeats = self.sized(repeats, 1)
        for _ in range(self.sized(3, 1)):
            call()
        self.wait()
        taken = []
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            self.wait()
            taken.append(time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        host_s = (time.perf_counter() - started) / repeats
        self.wait()
        return statistics.median(taken), host_s


def note_machine(check: Check) -> None:
    """Write down what the figures were measured on."""
    about: dict[str, Any] = {"torch": torch.__version__, "processors": os.cpu_count(), "load": os.getloadavg()[0]}
    if not check.is_dry:
        card = torch.cuda.get_device_properties(0)
        about |= {"gpu": card.name, "memory_gib": card.total_memory / 2**30, "gpus": torch.cuda.device_count()}
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    check.note("machine", **about)


def note_kernels(check: Check, what: str, call: Callable[[], object]) -> None:
    """Write down what a call makes the device do: how many kernels, how long, what the host waits for, the longest."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        started = time.perf_counter()
        call()
        check.wait()
        wall_s = time.perf_counter() - started
    found: list[Any] = [*seen.key_averages()]
    kernels = sorted((k for k in found if k.device_type == DeviceType.CUDA), key=_time_us, reverse=True)
    busy_us = sum(map(_time_us, kernels))
    stops = sum(k.count for k in found if k.key == "aten::_local_scalar_dense")
    waits = sum(k.count for k in found if k.key == "cudaStreamSynchronize")
    check.note(f"{what}, kernels", wall_s=wall_s, kernels_s=busy_us / 1e6, n_kernels=sum(k.count for k in kernels),
               values_read=stops, stream_waits=waits)  # fmt: skip
    for kernel in kernels[:10]:
        check.note(f"{what}, kernel", share=_time_us(kernel) / busy_us, calls=kernel.count, name=kernel.key[:80])


def _time_us(kernel: Any) -> float:
    return float(kernel.self_device_time_total)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
