"""The machine a run happens on: compute device, precision, thread budget, versions, seeds."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from umc_cli import __version__
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision

TORCH_DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def compute_device(name: str) -> torch.device:
    """Return the device called `name`: `auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises:
        SettingsError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise SettingsError(f"unknown compute device {name!r}", "use auto, cpu, cuda or cuda:N")
    if int(number or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"compute device {name!r} is not here ({torch.cuda.device_count()} CUDA devices)",
            "use --compute-device cpu, or check the driver with nvidia-smi",
        )
    return torch.device(name)


def has_bf16_units(device: torch.device) -> bool:
    """Tell whether bf16 is faster than fp32 on a device.

    On Intel's CPUs that takes AMX: their AVX-512 bf16 products alone are slower than fp32; AMD's are faster
    (docs/decisions.md).
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported()) or _is_amd_with_bf16()


def _is_amd_with_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "AuthenticAMD" in text and "avx512_bf16" in text


def training_precision(wanted: Precision, device: torch.device) -> Precision:
    """Return the precision that `auto` means: bf16 where that is faster, else fp32."""
    if wanted is not Precision.AUTO:
        return wanted
    return Precision.BF16 if has_bf16_units(device) else Precision.FP32


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the number format that training computes in where it may; None is fp32."""
    chosen = training_precision(precision, device)
    return None if chosen is Precision.FP32 else TORCH_DTYPES[chosen]


def cpu_count() -> int:
    """Return the number of processors this process may use (affinity and OMP_NUM_THREADS respected)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(limit)) if limit.isdecimal() and int(limit) > 0 else allowed


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Run the block with `count` torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def versions() -> dict[str, str]:
    """Return the versions that can change a result."""
    return {"umc": __version__, "python": platform.python_version(), "torch": torch.__version__}
