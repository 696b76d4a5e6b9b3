"""Stage of the networks alone: how near they come to what the GPU can do, and what would bring them nearer."""

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cuda_stages.check import SOURCE, TARGETS, Check, note_kernels
from umc_cli.audio.log_mel import log_mel
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients
from umc_cli.conversion.engines import build_engine
from umc_cli.conversion.engines.contract import Engine
from umc_cli.conversion.engines.torch_engine import TorchEngine, drop_idle_biases
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.precision import Precision
from umc_cli.response.device import DeviceRegistry
from umc_cli.runtime import torch_dtype

TRUNK_GFLOP, REFINER_GFLOP = 8.533, 0.84
"""Of a segment, in full size."""


def measure_engines(check: Check) -> None:
    """Measure the generator, the refiner and log-mel on batches that are there."""
    half = _note_ceilings(check)
    generator = load_generator(check.folder / "level_aware.safetensors").generator
    for batch in check.sized((32, 256, 512), (2,)):
        check.attempt(f"generator, {batch}", lambda batch=batch: _measure_trunk(check, generator, batch, half))  # type: ignore[misc]
    for batch in check.sized((32, 256, 1024), (2,)):
        check.attempt(f"refiner, {batch}", lambda batch=batch: _measure_refiner(check, batch))  # type: ignore[misc]
        waves = torch.randn(batch, 20_480, device=check.device) * 0.1
        taken, host = check.timed(lambda waves=waves: log_mel(waves))  # type: ignore[misc]
        check.note("log-mel", batch=batch, ms=1e3 * taken, host_ms=1e3 * host, segments_per_s=batch / taken)


def _note_ceilings(check: Check) -> float:
    """Return TFLOP/s of large products in fp16."""
    size = check.sized(8192, 64)
    rates: dict[torch.dtype, float] = {}
    for dtype in (torch.bfloat16, torch.float16):
        a, b = (torch.randn(size, size, device=check.device, dtype=dtype) for _ in range(2))
        rates[dtype] = 2 * size**3 / check.timed(lambda a=a, b=b: a @ b, 10)[0] / 1e12  # type: ignore[misc]
        check.note(f"product in {dtype}", tflops=rates[dtype])
    if not check.is_dry:
        block = torch.empty(1 << 29, dtype=torch.int32, device=check.device)
        other = torch.empty_like(block)
        copied = check.timed(lambda: other.copy_(block), 5)[0]
        pinned = torch.empty(256 * 80 * 80, dtype=torch.float16, pin_memory=True)
        there = torch.empty(256 * 80 * 80, dtype=torch.float16, device=check.device)
        to_host = check.timed(lambda: pinned.copy_(there, non_blocking=True))[0]
        check.note("copies", within_tb_s=2 * block.nbytes / copied / 1e12, to_host_gb_s=there.nbytes / to_host / 1e9)
    return rates[torch.float16]


def _measure_trunk(check: Check, generator: Generator, batch: int, half_tflops: float) -> None:
    """Measure the engine as `umc convert` uses it, then what could be changed, each beside fp32."""
    device, threads = check.device, torch.get_num_threads()
    engine = TorchEngine(generator, Precision.AUTO, device, threads)
    exact = TorchEngine(generator, Precision.FP32, device, threads)
    channels = 4 * generator.settings.ngf
    gamma, beta = torch.ones(1, channels, device=device), torch.zeros(1, channels, device=device)
    x = torch.randn(batch, 80, 80, device=device)
    stem, truth = engine.stem(x), exact.trunk(exact.stem(x), gamma, beta)
    check.note("generator, stem", batch=batch, ms=1e3 * check.timed(lambda: engine.stem(x))[0])

    def tell(what: str, call: Callable[[], object], result: Callable[[], Tensor]) -> None:
        taken, host = check.timed(call)
        tflops = TRUNK_GFLOP * batch / taken / 1e3 * check.sized(1, 0)  # of the full size
        check.note(
            f"generator, {what}", batch=batch, ms=1e3 * taken, host_ms=1e3 * host, rows_per_s=batch / taken,
            tflops=tflops, of_product=tflops / half_tflops, off=(result().float() - truth).abs().mean().item(),
        )  # fmt: skip

    as_it_is = lambda: engine.trunk(stem, gamma, beta)  # noqa: E731
    tell("as umc does", as_it_is, as_it_is)
    tell("fp32", lambda: exact.trunk(exact.stem(x), gamma, beta), lambda: exact.trunk(exact.stem(x), gamma, beta))
    if check.is_dry:
        return
    bare = copy.deepcopy(generator).eval().requires_grad_(False)
    drop_idle_biases(bare)
    bare = bare.to(device, torch_dtype(engine.precision)).to(memory_format=torch.channels_last)
    g, b = (value.to(torch_dtype(engine.precision)) for value in (gamma, beta))
    with torch.inference_mode():
        stem = bare.stem(x.to(g.dtype))
        _try_changes(bare, lambda module: module.trunk(stem, g, b), tell)
    if batch == 256:
        _, compiled = build_engine(generator, engine="torch-compile", device=device)
        _measure_compiled(check, compiled, x, gamma, beta, tell)
        note_kernels(check, "generator", as_it_is)


def _try_changes(bare: Generator, trunk: Callable[[Any], Tensor], tell: Callable[..., None]) -> None:
    plain = copy.deepcopy(bare).to(memory_format=torch.contiguous_format)
    tell("NCHW", lambda: trunk(plain), lambda: trunk(plain))
    graph, result = captured(lambda: trunk(bare).float())
    tell("CUDA graph", graph.replay, lambda: result)
    torch.backends.cudnn.benchmark = True
    tell("cudnn.benchmark", lambda: trunk(bare), lambda: trunk(bare))
    torch.backends.cudnn.benchmark = False


def _measure_compiled(
    check: Check, engine: Engine, x: Tensor, gamma: Tensor, beta: Tensor, tell: Callable[..., None]
) -> None:
    """Measure the engine `torch-compile`, alone and as a CUDA graph."""
    started = time.perf_counter()
    stem = engine.stem(x)
    trunk = lambda: engine.trunk(stem, gamma, beta)  # noqa: E731
    trunk()
    check.wait()
    check.note("generator, compiling", seconds=time.perf_counter() - started)
    tell("torch-compile", trunk, trunk)
    graph, result = captured(trunk)
    tell("torch-compile, CUDA graph", graph.replay, lambda: result)


def captured(call: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Return what replays `call` as one CUDA graph, and its result."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph, result


def _measure_refiner(check: Check, batch: int) -> None:
    registry = DeviceRegistry()
    devices = {name: registry.get(name) for name in (SOURCE, TARGETS[0])}
    log_mel_db = torch.randn(batch, 80, 80, device=check.device) * 12 - 50

    def converting(name: str) -> Callable[[], Tensor]:
        engine = EngineSettings(engine=name, threads=torch.get_num_threads())
        built = CONVERTERS["refiner"].build(
            Ingredients(SOURCE, TARGETS[:1], devices, check.device, refiner=SHIPPED_REFINER, engine=engine)
        )
        begun = built.begin(log_mel_db)
        return lambda: built.convert(begun, TARGETS[0]).half()

    convert = converting("torch")

    def tell(what: str, taken: float, host: float) -> None:
        tflops = REFINER_GFLOP * batch / taken / 1e3
        check.note(f"refiner, {what}", batch=batch, ms=1e3 * taken, host_ms=1e3 * host, rows_per_s=batch / taken,
                   tflops=tflops)  # fmt: skip

    tell("as umc does", *check.timed(convert))
    if check.is_dry or batch != 256:
        return
    graph, _ = captured(convert)
    tell("CUDA graph", *check.timed(graph.replay))
    convert = converting("torch-compile")
    started = time.perf_counter()
    convert()
    check.wait()
    check.note("refiner, compiling", seconds=time.perf_counter() - started)
    tell("torch-compile", *check.timed(convert))
    graph, _ = captured(convert)
    tell("torch-compile, CUDA graph", *check.timed(graph.replay))
