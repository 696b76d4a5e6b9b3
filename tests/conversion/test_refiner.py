"""The refiner: what it starts from, what it sees, and that a step learns."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conversion.devices import device
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients
from umc_cli.conversion.noise_aware_eq import signal_power
from umc_cli.conversion.refiner_checkpoint import load_refiner, save_refiner
from umc_cli.conversion.refiner_network import KnownPair, Refiner, refined, refiner_maps
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision

SMALL = RefinerSettings(widths=(4, 6, 8, 8))
PAIR = KnownPair(torch.full((80, 1), 6.0), torch.full((80, 1), -70.0), torch.full((80, 1), -60.0))
LEVELS = torch.linspace(-90, 0, 2 * 80 * 80).reshape(2, 80, 80)


def trained(path: Path) -> Path:
    """A checkpoint of a refiner whose correction is not zero."""
    torch.manual_seed(0)
    refiner = Refiner(SMALL)
    torch.nn.init.normal_(refiner.last.weight, 0, 0.2)
    save_refiner(path, refiner, {"sounds": "none"})
    return path


def ingredients(path: Path, engine: str = "torch", with_tables: bool = False) -> Ingredients:
    rising = np.linspace(-80, -10, 20, dtype=np.float32)[:, None].repeat(80, 1)
    return Ingredients(
        source="a",
        targets=("b", "c"),
        devices={"a": device("a", 0.0, -80.0), "b": device("b", 6.0, -70.0), "c": device("c", -6.0, -60.0)},
        torch_device=torch.device("cpu"),
        level_quantiles={"a": rising, "b": rising + 5, "c": rising - 5} if with_tables else {},
        refiner=path,
        engine=EngineSettings(engine=engine, precision=Precision.FP32, threads=1),
    )


def test_a_new_refiner_changes_nothing() -> None:
    maps, start = refiner_maps(signal_power(LEVELS, PAIR.source_floor_db), LEVELS, PAIR, None)
    assert torch.equal(refined(start, Refiner(SMALL)(maps)), start)


def test_maps_hold_the_input_both_starts_the_gain_and_the_floors() -> None:
    mapped = LEVELS + 3
    maps, start = refiner_maps(signal_power(LEVELS, PAIR.source_floor_db), LEVELS, PAIR, mapped)
    assert torch.equal(start, mapped)
    torch.testing.assert_close(maps[:, 0], (LEVELS + 50) / 20)
    torch.testing.assert_close(maps[:, 2], (mapped + 50) / 20)
    constants = maps[:, 3:7].amax(dim=(0, 2, 3)), maps[:, 3:7].amin(dim=(0, 2, 3))
    for values in constants:
        torch.testing.assert_close(values, torch.tensor([0.6, -1.0, -0.5, 1.0]))
    loud = LEVELS[1, -1, -1] + 6  # far above both floors eq_noise is the gain
    assert maps[1, 1, -1, -1] * 20 - 50 == pytest.approx(float(loud), abs=0.01)


def test_the_network_sees_the_level_and_the_size_of_the_difference() -> None:
    # The two traps of the paper's generator.
    torch.manual_seed(0)
    refiner = Refiner(SMALL)
    torch.nn.init.normal_(refiner.last.weight, 0, 0.2)

    def correction(levels: torch.Tensor, gain_db: float) -> torch.Tensor:
        pair = KnownPair(torch.full((80, 1), gain_db), PAIR.source_floor_db, PAIR.target_floor_db)
        return refiner(refiner_maps(signal_power(levels, pair.source_floor_db), levels, pair, None)[0])

    base = correction(LEVELS - 20, 3.0)
    assert (correction(LEVELS - 10, 3.0) - base).abs().max() > 0.01
    assert (correction(LEVELS - 20, 12.0) - base).abs().max() > 0.01


@pytest.mark.parametrize(("name", "start"), [("refiner", "eq_noise"), ("refiner_quantile", "quantile")])
def test_the_converter_adds_the_network_to_its_start(name: str, start: str, tmp_path: Path) -> None:
    given = ingredients(trained(tmp_path / "refiner.safetensors"), with_tables=True)
    converter, rival = CONVERTERS[name].build(given), CONVERTERS[start].build(given)
    for target in given.targets:
        begun = converter.begin(LEVELS)
        result, plain = converter.convert(begun, target), rival.convert(rival.begin(LEVELS), target)
        refiner = load_refiner(given.refiner).refiner
        signal = signal_power(LEVELS, torch.full((80, 1), -80.0))
        pair = converter._pairs[target]
        maps, _ = refiner_maps(signal, LEVELS, pair, plain if name == "refiner_quantile" else None)
        with torch.inference_mode():
            expected = (plain + 20 * refiner(maps)).clamp_min(-100)
        torch.testing.assert_close(result, expected, atol=1e-3, rtol=0)
        assert (result - plain).abs().max() > 0.1


@pytest.mark.parametrize("name", ["refiner", "refiner_quantile"])
def test_engines_agree_and_a_segment_does_not_depend_on_its_batch(name: str, tmp_path: Path) -> None:
    path = trained(tmp_path / "refiner.safetensors")
    results = {}
    for engine in ("torch", "openvino"):
        converter = CONVERTERS[name].build(ingredients(path, engine, with_tables=True))
        results[engine] = converter.convert(converter.begin(LEVELS), "b")
        alone = converter.convert(converter.begin(LEVELS[1:]), "b")
        torch.testing.assert_close(alone[0], results[engine][1], atol=1e-3, rtol=0)
        assert converter.describe()["engine"] == engine
    torch.testing.assert_close(results["torch"], results["openvino"], atol=1e-3, rtol=0)


def test_a_checkpoint_in_half_precision_reads_back(tmp_path: Path) -> None:
    refiner = load_refiner(trained(tmp_path / "full.safetensors")).refiner
    save_refiner(tmp_path / "half.safetensors", refiner, dtype=torch.float16)
    half = load_refiner(tmp_path / "half.safetensors").refiner
    assert half.last.weight.dtype is torch.float32
    torch.testing.assert_close(half.last.weight, refiner.last.weight, atol=1e-3, rtol=1e-3)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.safetensors", "full.safetensors")]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_generator_is_not_taken_for_a_refiner(tmp_path: Path) -> None:
    from umc_cli.conversion.generator import Generator
    from umc_cli.conversion.generator_checkpoint import save_generator
    from umc_cli.conversion.generator_settings import GeneratorSettings
    from umc_cli.conversion.normalisation import Normalisation

    generator = Generator(GeneratorSettings(ngf=2, n_blocks=1))
    save_generator(tmp_path / "g.safetensors", generator, Normalisation(mean_db=-50.0, std_db=20.0))
    with pytest.raises(SettingsError, match="holds a 'generator', not a refiner"):
        load_refiner(tmp_path / "g.safetensors")
