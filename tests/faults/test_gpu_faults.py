"""What a GPU or the memory refuses is a fault with a remedy, whichever command it meets. The faults are raised here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from tests.test_resume import leftovers, shards
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.converters import CONVERTERS, eq
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.errors import EnvironmentFault
from umc_cli.runtime import compute_device, explain_machine_faults

Umc = Callable[..., Run]

NO_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has 79 GiB.")
NO_CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
NO_RAM = RuntimeError("[enforce fail at alloc_cpu.cpp:118] data. DefaultCPUAllocator: can't allocate memory")
BROKEN = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported late")
NO_DRIVER = RuntimeError("Found no NVIDIA driver on your system.")
CONVERT = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq")
SMALL = ("--preset", "smoke", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4", "--no-publish")


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (
            NO_MEMORY,
            "the GPU's memory is not enough: CUDA out of memory. Tried to allocate 20.00 MiB.",
            "nvidia-smi",
        ),
        (NO_CUBLAS, "the GPU's memory is not enough: CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "lower --batch-size"),
        (NO_RAM, "the memory of this machine is not enough", "end other programs, lower --batch-size"),
        (MemoryError("Unable to allocate 9 TiB"), "the memory of this machine is not enough", "lower --batch-size"),
        (BROKEN, "the GPU failed: CUDA error: an illegal memory access was encountered", "--compute-device cpu"),
        (NO_DRIVER, "the GPU failed: Found no NVIDIA driver on your system.", "check it with nvidia-smi"),
    ],
)
def test_a_fault_says_what_failed_and_what_to_do(error: Exception, message: str, hint: str) -> None:
    with pytest.raises(EnvironmentFault) as fault, explain_machine_faults("lower --batch-size"):
        raise error
    assert fault.value.message.startswith(message)
    assert "\n" not in fault.value.message
    assert hint in fault.value.hint


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), explain_machine_faults(""):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize("where", ["build", "begin"])
@pytest.mark.parametrize("error", [NO_CUBLAS, BROKEN], ids=["memory", "device"])
def test_convert_ends_with_a_fault(
    workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    class Failing(eq.Equalizer):
        def begin(self, log_mel: torch.Tensor) -> torch.Tensor:
            raise error

    def fail(ingredients: Ingredients) -> eq.Equalizer:
        raise error

    monkeypatch.setitem(CONVERTERS, "eq", replace(CONVERTERS["eq"], build=fail if where == "build" else Failing))
    run = umc(*CONVERT)
    assert run.exit_code == 3
    assert "Traceback" not in run.stderr
    assert ("memory" if error is NO_CUBLAS else "the GPU failed") in run.stderr
    assert not shards(workspace / "converted")
    assert not leftovers(workspace / "converted")


@pytest.fixture
def trainable(workspace: Path) -> Path:
    for device in (SOURCE, TARGET):
        for index in range(15):
            write_audio(workspace / f"data/{device}/a/more{index}.wav", noise(1.0, seed=index))
    return workspace


def fail(*_: object) -> None:
    raise NO_MEMORY


def test_training_ends_with_a_fault_and_can_be_resumed(
    trainable: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(AdversarialTraining, "step", fail)
        run = umc("train", *SMALL, "--max-steps", "1", "--name", "a")
    assert run.exit_code == 3
    assert "Traceback" not in run.stderr
    assert "the GPU's memory is not enough" in run.stderr
    assert "--micro-batch-size" in run.stderr
    assert umc("train", *SMALL, "--max-steps", "1", "--name", "a", "--resume").exit_code == 0
    # A state that does not fit is not a state of other networks.
    with monkeypatch.context() as broken:
        broken.setattr(AdversarialTraining, "load_state", fail)
        run = umc("train", *SMALL, "--max-steps", "2", "--name", "a", "--resume")
    assert run.exit_code == 3
    assert "does not belong to these networks" not in run.stderr


def test_a_classifiers_training_ends_with_a_fault(trainable: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umc_cli.sec.classifier_training.SecTraining.step", fail)
    run = umc("train-sec", "--preset", "smoke", "--source", SOURCE, "--batch-size", "4", "--max-steps", "1")
    assert run.exit_code == 3
    assert "the GPU's memory is not enough" in run.stderr


def test_a_shard_says_that_a_gpu_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that a CPU and a GPU made then differ in their run, and do not mix; nothing changes for the CPU."""

    class Plain:
        def describe(self) -> dict[str, str]:
            return {"engine": "torch", "precision": "fp32"}

    monkeypatch.setattr(Conversion, "built", Plain())
    on_cpu, on_gpu = (
        Conversion("film_gan", Ingredients("a", ("b",), devices={}, torch_device=device)).made_with
        for device in (torch.device("cpu"), "cuda:1")
    )
    assert on_cpu == {"engine": "torch", "precision": "fp32"}
    assert on_gpu == on_cpu | {"compute_device": "cuda"}


def test_fp32_on_a_gpu_is_not_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("auto", "cuda", "cuda:1"):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        try:
            compute_device("cpu")
            assert torch.backends.cudnn.allow_tf32  # not touched where no GPU computes
            assert compute_device(name).type == "cuda"
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
        finally:
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
