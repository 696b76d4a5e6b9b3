from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conversion.devices import device, ingredients
from tests.conversion.generators import NORMALISATION, log_mel_batch, small_generator, write_small_checkpoint
from umc_cli.checkpoint import read_checkpoint
from umc_cli.conversion.converters.contract import EngineSettings
from umc_cli.conversion.converters.film_gan import GeneratorConverter
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import load_generator, save_generator
from umc_cli.conversion.generator_settings import GeneratorSettings
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision
from umc_cli.response.device import Device
from umc_cli.response.difference import fr_difference_db

TILTED_DB = np.linspace(-6, 6, 128).tolist()


def converter(checkpoint: Path | None, *devices: Device, engine: str = "torch") -> GeneratorConverter:
    settings = EngineSettings(engine=engine, precision=Precision.FP32)
    return GeneratorConverter(replace(ingredients(*devices), checkpoint=checkpoint, engine=settings))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_small_checkpoint(tmp_path / "generator.safetensors")


def test_it_is_the_generator_with_normalisation_and_level_around_it(checkpoint: Path) -> None:
    source, target = device("a"), device("b", TILTED_DB)
    log_mel = log_mel_batch(3)
    subject = converter(checkpoint, source, target)
    level_db = log_mel.mean(dim=(1, 2), keepdim=True)
    difference = torch.from_numpy(fr_difference_db(source, target)).unsqueeze(0)
    expected = (
        small_generator()((log_mel - level_db) / NORMALISATION.std_db, difference) * NORMALISATION.std_db + level_db
    )
    actual = subject.convert(subject.begin(log_mel), "b")
    torch.testing.assert_close(actual, expected.clamp_min(-100), atol=1e-3, rtol=1e-3)


def test_one_begin_serves_several_targets_and_batch_sizes(checkpoint: Path) -> None:
    subject = converter(checkpoint, device("a"), device("b", TILTED_DB), device("c", 3.0))
    log_mel = log_mel_batch(5)
    begun = subject.begin(log_mel)
    first, other = subject.convert(begun, "b"), subject.convert(begun, "c")
    assert first.shape == other.shape == (5, 80, 80)
    assert (first - other).abs().mean() > 0.1
    alone = subject.convert(subject.begin(log_mel[4:]), "b")
    torch.testing.assert_close(alone, first[4:], atol=1e-3, rtol=1e-3)


def test_a_more_sensitive_target_is_louder(checkpoint: Path) -> None:
    quiet, loud = device("a", sensitivity_dbfs=-40.0), device("b", sensitivity_dbfs=-33.0)
    unknown = device("c")
    subject = converter(checkpoint, quiet, loud, unknown)
    begun = subject.begin(log_mel_batch(1) + 20)
    torch.testing.assert_close(subject.convert(begun, "b"), subject.convert(begun, "c") + 7, atol=1e-3, rtol=0)


def write_generator(path: Path, **settings: object) -> Path:
    """A small generator of the paper's kind, with other settings where they are given."""
    plain = small_generator("paper")
    generator = Generator(plain.settings.model_copy(update=settings)).requires_grad_(False).eval()
    generator.load_state_dict(plain.state_dict())
    save_generator(path, generator, NORMALISATION)
    return path


def answer(path: Path, log_mel: torch.Tensor, condition_db: torch.Tensor) -> torch.Tensor:
    """What the generator itself makes of a condition, in dB. Shape: [B, 80, 80], [1 or B, 128] -> [B, 80, 80]."""
    mean, std = NORMALISATION.mean_db, NORMALISATION.std_db
    return (load_generator(path).generator((log_mel - mean) / std, condition_db) * std + mean).clamp_min(-100)


@pytest.mark.parametrize(("condition", "told_db"), [("shape", 0.0), ("shape_and_level", 7.0)])
def test_the_condition_holds_the_level_if_the_generator_was_trained_with_it(
    tmp_path: Path, condition: str, told_db: float
) -> None:
    path = write_generator(tmp_path / "generator.safetensors", condition=condition)
    source, target = device("a", sensitivity_dbfs=-40.0), device("b", TILTED_DB, sensitivity_dbfs=-33.0)
    subject, log_mel = converter(path, source, target), log_mel_batch(2)
    expected = answer(path, log_mel, torch.from_numpy(fr_difference_db(source, target)).unsqueeze(0) + told_db)
    torch.testing.assert_close(subject.convert(subject.begin(log_mel), "b"), expected, atol=1e-3, rtol=1e-3)


def test_a_level_that_a_record_does_not_say_counts_as_equal(tmp_path: Path) -> None:
    path = write_generator(tmp_path / "generator.safetensors", condition="shape_and_level")
    source, target = device("a", sensitivity_dbfs=-40.0), device("b", TILTED_DB)
    subject, log_mel = converter(path, source, target), log_mel_batch(1)
    expected = answer(path, log_mel, torch.from_numpy(fr_difference_db(source, target)).unsqueeze(0))
    torch.testing.assert_close(subject.convert(subject.begin(log_mel), "b"), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_drawn_curve_goes_to_the_encoder_exactly_as_it_is(tmp_path: Path, engine: str) -> None:
    """Every segment its own curve; what a curve has at 1 kHz stays in it."""
    path = write_generator(tmp_path / "generator.safetensors", condition="shape_and_level")
    subject = converter(path, device("a"), engine=engine)
    for n_segments in (1, 3):
        curves_db = torch.randn(n_segments, 128, generator=torch.Generator().manual_seed(2)) * 4 + 3
        log_mel = log_mel_batch(n_segments)
        found = subject.convert_each(subject.begin(log_mel), curves_db)
        torch.testing.assert_close(found, answer(path, log_mel, curves_db), atol=2e-3, rtol=1e-3)


def test_where_the_level_is_carried_what_a_curve_has_at_1_khz_goes_with_it(checkpoint: Path) -> None:
    subject, log_mel = converter(checkpoint, device("a")), log_mel_batch(2)
    curve_db = torch.linspace(-6, 6, 128).repeat(2, 1)
    begun = subject.begin(log_mel)
    low, high = (subject.convert_each(begun, curve_db + offset) for offset in (0.0, 5.0))
    torch.testing.assert_close(high, low + 5, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("precision", "bound_db"), [(Precision.FP16, 0.05), (Precision.BF16, 0.3)])
def test_16_bits_are_near_on_quiet_segments_too(tmp_path: Path, precision: Precision, bound_db: float) -> None:
    """The paper's generator takes the level off only behind its first convolution, which rounds with the level on."""
    path = write_small_checkpoint(tmp_path / "paper.safetensors", "paper")
    quiet = -100 + torch.rand(2, 80, 80, generator=torch.Generator().manual_seed(1))
    devices = ingredients(device("a"), device("b", TILTED_DB))
    results = {}
    for kind in (Precision.FP32, precision):
        settings = EngineSettings(engine="torch", precision=kind)
        subject = GeneratorConverter(replace(devices, checkpoint=path, engine=settings))
        results[kind] = subject.convert(subject.begin(quiet), "b")
        assert subject.describe().get("input") == (None if kind is Precision.FP32 else "centred")
    assert (results[precision] - results[Precision.FP32]).abs().mean() < bound_db


def test_the_papers_generator_told_shapes_loses_both_levels(tmp_path: Path) -> None:
    checkpoint = write_generator(tmp_path / "paper.safetensors", condition="shape")
    subject = converter(
        checkpoint, device("a", sensitivity_dbfs=-40.0), device("b", sensitivity_dbfs=-33.0), device("c")
    )
    log_mel = log_mel_batch(1)
    begun, begun_louder = subject.begin(log_mel), subject.begin(log_mel + 10)
    assert torch.equal(subject.convert(begun, "b"), subject.convert(begun, "c"))
    torch.testing.assert_close(subject.convert(begun_louder, "b"), subject.convert(begun, "b"), atol=0.07, rtol=0)


def test_nothing_lies_below_the_floor(checkpoint: Path) -> None:
    subject = converter(checkpoint, device("a"), device("b"))
    converted = subject.convert(subject.begin(torch.full((1, 80, 80), -100.0) + 5 * torch.randn(1, 80, 80)), "b")
    assert float(converted.min()) == -100.0


def test_the_input_is_left_alone(checkpoint: Path) -> None:
    log_mel = log_mel_batch(1)
    before = log_mel.clone()
    subject = converter(checkpoint, device("a"), device("b"))
    subject.convert(subject.begin(log_mel), "b")
    assert torch.equal(log_mel, before)


def test_engines_give_the_same_spectrograms(checkpoint: Path) -> None:
    devices = (device("a"), device("b", TILTED_DB))
    results = {}
    for engine in ("torch", "openvino"):
        subject = converter(checkpoint, *devices, engine=engine)
        results[engine] = subject.convert(subject.begin(log_mel_batch(3)), "b")
    torch.testing.assert_close(results["openvino"], results["torch"], atol=1e-3, rtol=1e-3)


def test_it_says_what_made_a_shard(checkpoint: Path) -> None:
    assert converter(checkpoint, device("a"), device("b")).describe() == {
        "engine": "torch",
        "precision": "fp32",
        "checkpoint_sha256": read_checkpoint(checkpoint).sha256,
        "generator_preset": "level_aware",
    }


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read checkpoint"):
        converter(tmp_path / "absent.safetensors", device("a"), device("b"))


def test_a_generator_of_one_pair_refuses_every_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorSettings(ngf=4, n_blocks=1, film_encoder="none"))
    checkpoint = tmp_path / "a-to-b.safetensors"
    save_generator(checkpoint, generator, NORMALISATION, {"pair": ["a", "b"]})
    subject = converter(checkpoint, device("a"), device("b", TILTED_DB))
    assert subject.convert(subject.begin(log_mel_batch(2)), "b").shape == (2, 80, 80)
    assert subject.describe()["generator_preset"] == "one_to_one"
    with pytest.raises(SettingsError, match="converts a to b only, not b to a"):
        converter(checkpoint, device("b"), device("a"))
    with pytest.raises(SettingsError, match="converts a to b only, not a to b, c"):
        converter(checkpoint, device("a"), device("b"), device("c"))
    save_generator(checkpoint, generator, NORMALISATION)
    with pytest.raises(SettingsError, match="does not say which"):
        converter(checkpoint, device("a"), device("b"))
