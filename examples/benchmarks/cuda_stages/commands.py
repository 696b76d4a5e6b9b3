"""Stages of the command line, of the tests that need a GPU, and of NCCL."""

import contextlib
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist

from cuda_stages.check import SOURCE, Check
from cuda_stages.training import adversarial, median_step_s
from umc_cli.cli.app import main
from umc_cli.sec.batch_norm import normalise_over_ranks
from umc_cli.training.ranks import Ranks

PROJECT = Path(__file__).parents[3]
_LONGEST_S = 90.0
_UMC = ("-m", "umc_cli")
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def try_commands(check: Check) -> None:
    """Do what users do, each on little: train, resume, convert in all its ways, classify, evaluate."""
    for command in commands_of(check):
        _try(check, *command)


def commands_of(check: Check) -> list[tuple[str, ...]]:
    """Return the commands, each of which may need what the ones before it made."""
    convert = ("convert", "--source", SOURCE, "--targets", "pixel3,xperia1")
    sec = ("train-sec", "--source", SOURCE, "--preset", "smoke")
    features = ("--feature-rate", "16000", "--feature-mels", "64", "--feature-seconds", "1")
    commands: list[tuple[str, ...]] = [
        ("train", "--preset", "smoke", "--name", "gan", "--max-steps", "20"),
        ("train", "--preset", "smoke", "--name", "gan", "--max-steps", "30", "--resume"),
        ("train", "--preset", "smoke", "--name", "pair", "--pair", f"{SOURCE}:pixel3", "--max-steps", "10"),
        ("train", "--pretrain", "simulated", "--preset", "smoke", "--name", "refiner", "--max-steps", "10"),
        (*convert, "--converter", "film_gan", "--checkpoint", "runs/gan/best.safetensors", "-o", "gan"),
        (*convert, "-o", "auto"),
        (*convert, "-o", "auto"),  # finds everything done
        (*convert, "--converter", "transport", "-o", "transport"),
        (*convert, "--converter", "refiner_transport", "-o", "refiner-transport"),
        (*convert, "-o", "two", "--processes", "2"),
        (*convert, "-o", "gpus", "--compute-device", "cuda:all"),
        (*convert, "-o", "audio", "--write", "shards,flac"),
        *(("shards", "verify", folder) for folder in ("auto", "two", "gpus", "audio")),
        (*sec, "--method", "unified-real", "--name", "sec"),
        (*sec, "--method", "unified-real", "--name", "sec-shards", "--shards", "auto"),
        (*sec, "--method", "eq-noise", "--name", "sec-features", *features),
        ("eval", "--model", "sec", "--bootstrap", "0"),
        ("eval", "--model", "sec-features", "--bootstrap", "0"),
        ("eval", "conversion", "--source", SOURCE, "--targets", "pixel3", "--converters", "eq,refiner"),
    ]
    if check.is_dry:
        commands = [(*convert, "--converter", "eq", "-o", "eq"), ("shards", "verify", "eq")]
    return [_with_device(check, command) for command in commands]


def _with_device(check: Check, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command with the device that it is to compute on, where it has the option and does not say."""
    if command[0] == "shards" or "--compute-device" in command:
        return (*command, "--quiet") if command[0] != "shards" else tuple(command)
    return (*command, "--quiet", "--compute-device", check.device.type)


def _try(
    check: Check, *arguments: str, launcher: Sequence[str] = _UMC, env: Mapping[str, str] | None = None,
    expected: int = 0, said: str = "", limit_s: float = _LONGEST_S,
) -> None:  # fmt: skip
    """Run a command in the small workspace, and expect its exit code and something that it says."""
    folder = check.folder / "small"
    what = " ".join(argument.replace(str(check.folder), "") for argument in arguments)
    started = time.monotonic()
    try:
        if check.is_dry:
            code, output = _run_here(folder, arguments)
        else:
            command = [sys.executable, *launcher, *arguments]
            done = subprocess.run(command, cwd=folder, env=os.environ | (env or {}), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=limit_s)  # fmt: skip
            code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        check.expect(what, False, outcome=f"still running after {limit_s:.0f} s")
        return
    # torchrun itself adds a traceback to what a process says that it refuses.
    is_right = code == expected and said in output and bool(expected or "Traceback" not in output)
    last = (output.strip().splitlines() or [""])[-1]
    warned = [line[:160] for line in output.splitlines() if "Warning" in line][:3]
    check.expect(what, is_right, exit_code=code, seconds=time.monotonic() - started,
                 said=None if is_right else (output[-600:] if "Traceback" in output else last[:200]),
                 warned=warned or None)  # fmt: skip


def _run_here(folder: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a command in this process: starting one takes longer than all of a dry run."""
    output = io.StringIO()
    with (
        contextlib.chdir(folder), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output),
        patch.object(sys, "argv", ["umc", *arguments]),
    ):  # fmt: skip
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), output.getvalue()
    return 0, output.getvalue()


def run_tests(check: Check) -> None:
    """Run the tests that are marked as those of a GPU."""
    if check.is_dry:
        check.note("the tests marked cuda need a GPU")
        return
    files = [str(path) for path in sorted((PROJECT / "tests").rglob("test_*.py")) if "mark.cuda" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-n", "0", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (check.out / "pytest.txt").write_text(done.stdout)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    check.expect(
        "tests marked cuda", done.returncode == 0 and "skipped" not in last, said=re.sub(r"=+", "", last).strip()
    )


def check_collectives(check: Check) -> None:
    """Try NCCL with one GPU: `Ranks` is told of two processes, in a world of one."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29541"}
    dist.init_process_group("gloo" if check.is_dry else "nccl", rank=0, world_size=1)
    try:
        _check_sums(check, Ranks(0, 2))
    finally:
        dist.destroy_process_group()
    if check.is_dry:
        return
    short = ("train", "--preset", "smoke", "--max-steps", "10", "--overwrite", "--quiet", "--compute-device", "cuda")
    _try(check, *_UMC, *short, "--name", "one", launcher=(*_TORCHRUN, "1"))
    n_gpus = torch.cuda.device_count()
    too_many = {"expected": 1, "said": "is not available"} if n_gpus == 1 else {}
    _try(check, *_UMC, *short, "--name", "two", launcher=(*_TORCHRUN, "2"), **too_many)  # type: ignore[arg-type]
    ranks = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29542"}
    _try(check, *short, "--name", "three", env=ranks, expected=2, said="LOCAL_RANK is not set", limit_s=40)


def _check_sums(check: Check, ranks: Ranks) -> None:
    for device, dtype in (("cpu", torch.float64), ("cpu", torch.float32), (check.device, torch.bfloat16)):
        values = torch.ones(3, device=device, dtype=dtype)
        check.expect(f"a sum of {dtype} on {device}", ranks.sum(values) is values and bool((values == 1).all()))
    check.expect("a flag", ranks.any(True) and not ranks.any(False))
    training = adversarial("smoke", 4, check.device)
    training._ranks = ranks
    check.note("a step of rank 0 of 2", step_s=median_step_s(check, training, 0, check.sized(10, 1)))
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8)).to(check.device)
    normalise_over_ranks(network, ranks)
    network(torch.randn(4, 1, 8, 8, device=check.device)).square().sum().backward()
    weights = network[0].weight
    check.expect("batch normalization over ranks", isinstance(weights.grad, torch.Tensor))
    check.note("a flag of all ranks, asked once a step", ms=1e3 * check.timed(lambda: ranks.any(False))[0])
