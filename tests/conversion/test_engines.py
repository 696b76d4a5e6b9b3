import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch

from tests.conftest import PROJECT
from tests.conversion.generators import NORMALISATION, small_generator, tilt_db
from tests.samples import Run
from umc_cli.conversion.engines import (
    ENGINES,
    build_engine,
    build_refiner_engine,
    choose_engine,
    openvino_package,
)
from umc_cli.conversion.engines.contract import Engine
from umc_cli.conversion.engines.openvino_engine import OpenVinoEngine
from umc_cli.conversion.engines.precisions import choose_precision, torch_precision
from umc_cli.conversion.engines.torch_engine import TorchEngine, drop_idle_biases
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.precision import Precision

pytestmark = pytest.mark.xdist_group("engines")  # each is compiled once

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator() -> Generator:
    return small_generator()


@pytest.fixture(scope="module")
def torch_fp32(generator: Generator) -> Engine:
    return TorchEngine(generator, Precision.FP32, CPU, 1)


@pytest.fixture(scope="module")
def openvino_fp32(generator: Generator) -> Engine:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return OpenVinoEngine(generator, Precision.FP32, CPU, 1)


def compute(engine: Engine, normalised: torch.Tensor, size_db: float = 6.0) -> torch.Tensor:
    """Return the result for a tilt, in dB."""
    gamma, beta = small_generator().film_encoder(tilt_db(size_db))
    return engine.trunk(engine.stem(normalised), gamma, beta) * NORMALISATION.std_db + NORMALISATION.mean_db


def assert_same_db(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= 1e-3


def segments(count: int) -> torch.Tensor:
    return torch.randn(count, 80, 80, generator=torch.Generator().manual_seed(count))


def test_torch_is_the_generator_itself(generator: Generator, torch_fp32: Engine) -> None:
    expected = generator(segments(2), tilt_db(6)) * NORMALISATION.std_db + NORMALISATION.mean_db
    assert_same_db(compute(torch_fp32, segments(2)), expected)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_openvino_agrees_with_torch_for_any_batch(torch_fp32: Engine, openvino_fp32: Engine, count: int) -> None:
    assert_same_db(compute(openvino_fp32, segments(count)), compute(torch_fp32, segments(count)))


def test_no_batch_is_no_trouble_for_the_next(torch_fp32: Engine, openvino_fp32: Engine) -> None:
    first = compute(openvino_fp32, segments(5))
    kept = first.clone()
    compute(openvino_fp32, segments(3))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("name", ["torch_fp32", "openvino_fp32"])
def test_a_segment_does_not_depend_on_its_batch(name: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(name)
    together = compute(engine, segments(5))
    assert_same_db(compute(engine, segments(5)[2:3]), together[2:3])


@pytest.mark.parametrize("name", ["torch_fp32", "openvino_fp32"])
def test_one_stem_serves_several_targets(name: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(name)
    film = {size: small_generator().film_encoder(tilt_db(size)) for size in (6.0, -6.0)}
    stem = engine.stem(segments(3))
    first = engine.trunk(stem, *film[6.0])
    other = engine.trunk(stem, *film[-6.0])
    assert (first - other).abs().mean() > 0.01
    assert torch.equal(engine.trunk(stem, *film[6.0]), first)


def test_bf16_stays_near_fp32(generator: Generator, torch_fp32: Engine) -> None:
    bf16 = TorchEngine(generator, Precision.BF16, CPU, 1)
    result = compute(bf16, segments(2))
    assert result.dtype == torch.float32
    assert 1e-4 < (result - compute(torch_fp32, segments(2))).abs().mean() < 0.1


@pytest.mark.parametrize(("precision", "bound_db"), [(Precision.FP16, 0.1), (Precision.BF16, 0.4)])
def test_the_full_generator_stays_near_fp32(precision: Precision, bound_db: float) -> None:
    """In bf16, rounding what the convolutions multiply costs more than 0.1 dB by itself."""
    torch.manual_seed(0)
    generator = Generator(GENERATOR_PRESETS["paper"]).eval()
    with torch.no_grad():
        film = generator.film_encoder(tilt_db(6))
    exact, rounded = (
        engine.trunk(engine.stem(segments(1)), *film) * NORMALISATION.std_db
        for engine in (TorchEngine(generator, number_format, CPU, 1) for number_format in (Precision.FP32, precision))
    )
    assert 1e-3 < (rounded - exact).abs().mean() < bound_db


def test_cuda_computes_in_fp16() -> None:
    assert torch_precision(Precision.AUTO, torch.device("cuda")) is Precision.FP16


def test_biases_before_a_norm_change_nothing_but_rounding(generator: Generator) -> None:
    gamma, beta = generator.film_encoder(tilt_db(6))
    whole, lighter = TorchEngine(generator, Precision.FP32, CPU, 1), TorchEngine(generator, Precision.FP32, CPU, 1)
    with torch.no_grad():
        for parameter in whole._generator.parameters():
            if parameter.dim() == 1:
                parameter += torch.randn_like(parameter)  # they are 0 in a new one
    lighter._generator.load_state_dict(whole._generator.state_dict())
    n_before = sum(1 for _ in lighter._generator.parameters())
    drop_idle_biases(lighter._generator)
    assert n_before - sum(1 for _ in lighter._generator.parameters()) == 5 + 2 * len(generator.blocks)
    results = [engine.trunk(engine.stem(segments(3)), gamma, beta) for engine in (whole, lighter)]
    assert (results[0] - results[1]).abs().max() * NORMALISATION.std_db < 1e-3


def test_an_engine_leaves_the_generator_alone(generator: Generator) -> None:
    TorchEngine(generator, Precision.BF16, CPU, 1)
    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}


def test_openvino_keeps_norms_whole() -> None:
    """Taken apart, they would cost a tenth of the time."""
    from umc_cli.conversion.engines.openvino_generator import stem_model, trunk_model

    generator = small_generator()
    operations = [
        [operation.get_type_name() for operation in model(generator).get_ops()] for model in (stem_model, trunk_model)
    ]
    assert [names.count("MVN") for names in operations] == [3 + 1, 1 + 2 + 2]


def test_openvino_prints_nothing(generator: Generator, capfd: pytest.CaptureFixture[str]) -> None:
    OpenVinoEngine(generator, Precision.FP32, CPU, 1)
    assert capfd.readouterr() == ("", "")


def test_openvino_leaves_the_process_able_to_handle_signals(run_script: Callable[..., Run]) -> None:
    """Engines that came and went, also in another thread, must not take the stack that Ctrl-C is handled on."""
    program = """
import gc, os, signal, threading
import torch
from umc_cli.conversion.engines.openvino_engine import OpenVinoRefinerEngine
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.precision import Precision
signal.signal(signal.SIGINT, lambda *_: print("handled"))
refiner = Refiner(RefinerSettings(widths=(4, 6, 8, 8)))
engines = [OpenVinoRefinerEngine(refiner, Precision.FP32, torch.device("cpu"), 1)]
drop = threading.Thread(target=lambda: (engines.clear(), gc.collect()))
drop.start()
drop.join()
os.kill(os.getpid(), signal.SIGINT)
"""
    ended = run_script("-c", program, cwd=PROJECT)
    assert (ended.exit_code, ended.stdout) == (0, "handled\n"), ended.stderr


@pytest.fixture
def without_code(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let torch.compile take networks apart as ever, and compute what comes of it without compiling: that takes 25 s.

    Returns the number of graphs.
    """
    from torch._dynamo.backends.registry import lookup_backend  # here, as it takes two seconds

    real, graphs = torch.compile, []

    def backend(graph: torch.fx.GraphModule, examples: list[torch.Tensor]) -> Callable[..., object]:
        graphs.append(len(examples))
        return lookup_backend("aot_eager")(graph, examples)

    monkeypatch.setattr(torch, "compile", partial(real, backend=backend))
    return graphs


def test_the_compiled_generator_computes_the_same(
    without_code: list[int], generator: Generator, torch_fp32: Engine
) -> None:
    _, engine = build_engine(generator, engine="torch-compile", device=CPU)
    for count in (2, 5, 3):
        assert_same_db(compute(engine, segments(count)), compute(torch_fp32, segments(count)))
    assert len(without_code) == 2  # stem and trunk, for batches of any size
    assert all(convolution.bias is not None for convolution in [generator.encoder[1], generator.blocks[0].first[1]])


def test_the_compiled_refiner_computes_the_same(without_code: list[int]) -> None:
    refiner = Refiner(RefinerSettings(widths=(4, 4, 8, 8)))
    torch.nn.init.normal_(refiner.last.weight)
    _, engine = build_refiner_engine(refiner, engine="torch-compile", device=CPU)
    for count in (2, 3):
        maps = torch.randn(count, 8, 80, 80)
        torch.testing.assert_close(engine(maps), refiner(maps).detach(), rtol=0, atol=1e-4)
    assert len(without_code) == 1


def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch, generator: Generator) -> None:
    def backend(*_: object) -> None:
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    _, engine = build_engine(generator, engine="torch-compile", device=CPU)
    with pytest.raises(
        EnvironmentFault, match=r"cannot compile the network here: RuntimeError: no g\+\+ .*--engine torch"
    ):
        engine.stem(segments(2))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_compiled_generator_on_cuda_stays_near_the_cpu(generator: Generator, torch_fp32: Engine) -> None:
    _, engine = build_engine(generator, engine="torch-compile", precision=Precision.FP32, device="cuda")
    gamma, beta = (condition.cuda() for condition in generator.film_encoder(tilt_db(6)))
    result = engine.trunk(engine.stem(segments(5).cuda()), gamma, beta) * NORMALISATION.std_db + NORMALISATION.mean_db
    assert_same_db(result.cpu(), compute(torch_fp32, segments(5)))


def test_auto_takes_openvino_on_the_cpu_and_torch_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine(CPU) == "openvino"
    assert choose_engine(torch.device("cuda")) == "torch"
    monkeypatch.setattr(openvino_package, "is_installed", lambda: False)
    assert choose_engine(CPU) == "torch"


def test_openvino_takes_bf16_where_the_processor_has_it_and_it_is_faster() -> None:
    choose = choose_precision
    assert choose(Precision.AUTO, ["FP32", "BF16"], True) is Precision.BF16
    assert choose(Precision.AUTO, ["FP32", "BF16"], False) is Precision.FP32  # it can, but fp32 is faster
    assert choose(Precision.AUTO, ["FP32", "INT8"], True) is Precision.FP32
    assert choose(Precision.BF16, ["FP32", "BF16"], False) is Precision.BF16
    with pytest.raises(SettingsError, match="does not support bf16"):
        choose(Precision.BF16, ["FP32", "INT8"], True)


def test_torch_chooses_fp32_on_the_cpu(generator: Generator) -> None:
    name, engine = build_engine(generator, engine="torch", device=CPU)
    assert (name, engine.precision) == ("torch", Precision.FP32)


def test_unknown_engines_are_refused(generator: Generator) -> None:
    with pytest.raises(SettingsError, match=f"unknown engine 'onnx'.*auto, {', '.join(ENGINES)}"):
        build_engine(generator, engine="onnx", device=CPU)


def test_openvino_does_not_compute_on_cuda(generator: Generator) -> None:
    with pytest.raises(SettingsError, match="computes on the CPU, not on cuda"):
        build_engine(generator, engine="openvino", device=torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [Precision.AUTO, Precision.BF16, Precision.FP16])
def test_cuda_stays_near_the_cpu(generator: Generator, torch_fp32: Engine, precision: Precision) -> None:
    engine = TorchEngine(generator, precision, torch.device("cuda"), 1)
    assert engine.precision is not Precision.FP32
    gamma, beta = (condition.cuda() for condition in generator.film_encoder(tilt_db(6)))
    result = engine.trunk(engine.stem(segments(5).cuda()), gamma, beta) * NORMALISATION.std_db
    expected = compute(torch_fp32, segments(5)) - NORMALISATION.mean_db
    assert (result.cpu() - expected).abs().mean() < 0.1
