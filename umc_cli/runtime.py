"""The machine a run happens on: compute device, precision, thread budget, versions, seeds.

Loads torch only where it computes with it, as that takes longer than all else that a short command does.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import runpy
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umc_cli import __version__
from umc_cli.errors import EnvironmentFault, SettingsError, did_you_mean
from umc_cli.precision import Precision

if TYPE_CHECKING:
    import torch

_GPU_FILES = ("nvidia*", "nvhost*", "nvgpu*", "dxg", "kfd")
"""In `/dev` of Linux: one of them is there where there is a GPU of NVIDIA (of a Jetson, behind Windows) or AMD."""


def torch_dtype(precision: Precision) -> torch.dtype:
    """Return the number format of fp32, bf16 or fp16."""
    import torch

    return {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}[precision]


def compute_device(name: str) -> torch.device:
    """Return the device called `name`: `auto` (CUDA where there is one, else the CPU), or see `compute_device_name`.

    Raises:
        SettingsError: no such device here.
    """
    import torch

    device = torch.device(compute_device_name(name))
    compute_fp32_in_full(device)
    return device


def compute_device_name(name: str) -> str:
    """Return the name of the device that `compute_device` means: `cpu`, `cuda`, `cuda:N` or `mps`.

    `mps`, Apple's GPU, has never been run; `auto` does not take it.

    Raises:
        SettingsError: no such device here.
    """
    if name == "auto":
        name = "cuda" if _may_have_gpu() and _torch().cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if name == "mps":
        if not _torch().backends.mps.is_available():
            raise SettingsError(
                "compute device 'mps' is not available: there is no GPU of Apple's, or torch is built without it",
                "use --compute-device cpu",
            )
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise SettingsError(
            f"unknown compute device {name!r}",
            did_you_mean(name, ("auto", "cpu", "cuda", "cuda:N", "mps"), "compute devices"),
        )
    count = _torch().cuda.device_count()
    if int(number or 0) >= count:
        raise SettingsError(
            f"compute device {name!r} is not available ({count} CUDA devices)",
            "use --compute-device cpu, or check the driver with nvidia-smi",
        )
    return name


def gpu_count() -> int:
    """Return the number of CUDA devices that this process sees."""
    return int(_torch().cuda.device_count())


def _torch() -> Any:
    import torch

    return torch


def _may_have_gpu() -> bool:
    """Tell whether it is worth asking torch for a GPU. Where torch is loaded, asking costs nothing."""
    if "torch" in sys.modules or sys.platform != "linux":
        return True
    built_for = _torch_version()
    return bool(built_for.get("cuda") or built_for.get("hip")) and any(
        next(Path("/dev").glob(pattern), None) for pattern in _GPU_FILES
    )


@cache
def _torch_version() -> dict[str, Any]:
    """Return what `torch/version.py` says of the installed torch, without loading the rest of it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return dict(vars(_torch().version))
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))


def compute_fp32_in_full(device: torch.device) -> None:
    """Let what is computed in fp32 on a GPU from here on be fp32, in this process.

    Left alone PyTorch convolves in TF32 there, which rounds to 10 bits: the paper's generator is then 0.1 dB off on
    average and 3 dB at worst, instead of 0.001. bf16 and fp16 are not touched.
    """
    if device.type == "cuda":
        import torch

        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


_GPU_FAULTS = (
    *("CUDA error", "CUDA driver", "CUDA out of memory", "CUDA failure", "NVIDIA driver", "HIP error", "NVRTC"),
    *("cuDNN error", "CUDNN_STATUS_", "CUBLAS_STATUS_", "CUSPARSE_STATUS_", "cuFFT error", "ncclUnhandledCudaError"),
)
_OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "DefaultCPUAllocator")
"""Of the GPU, of its libraries, of the machine."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory did not suffice, whatever library of the GPU said so."""
    return isinstance(error, MemoryError | _cuda_out_of_memory()) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


def _cuda_out_of_memory() -> type[BaseException]:
    """Return what torch raises; where it is not loaded, it can have raised nothing."""
    torch = sys.modules.get("torch")
    return torch.cuda.OutOfMemoryError if torch else MemoryError


def machine_fault(error: BaseException, remedy: str) -> EnvironmentFault | None:
    """Return the fault of GPU or memory that an error is, if it is one. `remedy`: what takes less memory."""
    text = str(error).strip()
    first_line = text.partition("\n")[0]
    on_gpu = isinstance(error, _cuda_out_of_memory()) or any(words in text for words in _GPU_FAULTS)
    if is_out_of_memory(error):
        where = "the GPU's memory" if on_gpu else "the memory of this machine"
        others = "end other programs that use the GPU (nvidia-smi shows them)" if on_gpu else "end other programs"
        elsewhere = ", or give --compute-device cpu" if on_gpu else ""
        return EnvironmentFault(f"{where} is not enough: {first_line}", f"{others}, {remedy}{elsewhere}")
    accelerator_error = getattr(sys.modules.get("torch"), "AcceleratorError", ())  # of torch 2.8 and later
    if isinstance(error, accelerator_error) or (isinstance(error, RuntimeError) and on_gpu):
        return EnvironmentFault(
            f"the GPU failed: {first_line}",
            "check it with nvidia-smi, then run the same command again, or give --compute-device cpu",
        )
    return None


@contextmanager
def explain_machine_faults(remedy: str) -> Iterator[None]:
    """Turn faults of GPU and memory into an `EnvironmentFault`. `remedy`: what takes less memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if fault := machine_fault(error, remedy):
            raise fault from error
        raise


@contextmanager
def explain_compiler_faults(problem: str, remedy: str) -> Iterator[None]:
    """Turn what `torch.compile` raises into an `EnvironmentFault`. `remedy`: how to do without it."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    try:
        yield
    except (TorchDynamoException, CppCompileError, InvalidCxxCompiler) as error:
        cause = getattr(error, "inner_exception", error)
        raise EnvironmentFault(
            f"{problem}: {type(cause).__name__}: {cause}"[:300],
            f"install a C++ compiler such as g++, or {remedy}",
        ) from error


def has_bf16_units(device: torch.device | str) -> bool:
    """Tell whether bf16 is faster than fp32 on a device.

    On Intel's CPUs that takes AMX: their AVX-512 bf16 products alone are slower than fp32; AMD's are faster
    (docs/decisions/arithmetic.md).
    """
    if str(device).startswith("cuda"):
        return bool(_torch().cuda.is_bf16_supported(including_emulation=False))
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:
        return bool(_torch().cpu._is_amx_tile_supported())
    return " amx_tile" in processor or ("AuthenticAMD" in processor and "avx512_bf16" in processor)


def training_precision(wanted: Precision, device: torch.device) -> Precision:
    """Return the precision that `auto` means: bf16 where that is faster, else fp32."""
    if wanted is not Precision.AUTO:
        return wanted
    return Precision.BF16 if has_bf16_units(device) else Precision.FP32


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the number format that training computes in where it may; None is fp32."""
    chosen = training_precision(precision, device)
    return None if chosen is Precision.FP32 else torch_dtype(chosen)


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Return a context in which a network computes in `dtype` where it may; None is fp32."""
    return nullcontext() if dtype is None else _torch().autocast(device.type, dtype)


def cpu_count() -> int:
    """Return the number of processors this process may use (affinity, cgroup and OMP_NUM_THREADS respected)."""
    allowed = processor_count()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(limit)) if limit.isdecimal() and int(limit) > 0 else allowed


def processor_count() -> int:
    """Return the number of processors that the system leaves to this process (affinity and cgroup respected)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return max(1, min(allowed, math.ceil(quota))) if quota else allowed


def cgroup_quota(root: Path, own: Path) -> float | None:
    """Return how many processors' time a container may use (`docker run --cpus`), None where there is no limit.

    `root`: where cgroups are mounted; `own`: the file that names those of this process.
    """
    quotas: list[float] = []
    for entry in _lines(own) or ["0::/"]:
        _, _, rest = entry.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "cpu" not in kinds.split(","):
            continue
        mount = root / kinds if kinds else root
        # A container may see its own cgroup as the root of all; a limit of any group above holds too.
        for folder in {mount, *(mount / path.strip("/")).parents, mount / path.strip("/")}:
            if folder.is_relative_to(mount):
                quotas += _quotas(folder)
    return min(quotas, default=None)


def _quotas(folder: Path) -> Iterator[float]:
    """Yield the limit of one cgroup: `cpu.max` of version 2, two files of version 1."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if len(words) != 2:
        words = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):  # without a limit: max, or -1
        yield int(words[0]) / int(words[1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")[:-1]
    except OSError:
        return []


@contextmanager
def compute_threads(count: int) -> Iterator[None]:
    """Run the block with `count` torch threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def utc_now() -> str:
    """Return the date and time (UTC) as people read it in what is written: `2026-11-28T17:05:00+00:00`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions that can change a result."""
    return {"umc": __version__, "python": platform.python_version(), "torch": _torch_version()["__version__"]}
