import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from tests.conversion.generators import NORMALISATION, log_mel_batch, small_generator, tilt_db
from umc_cli.conversion.generator import Generator, OneMapConv2d
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS, GeneratorSettings
from umc_cli.conversion.normalisation import denormalise, normalise
from umc_cli.errors import SettingsError


def convert(preset: str, log_mel: torch.Tensor) -> torch.Tensor:
    """dB -> dB for a tilt of 6 dB, without the level difference of two devices."""
    generator = small_generator(preset)
    normalised, offset_db = normalise(log_mel, NORMALISATION, generator.settings.level)
    return denormalise(generator(normalised, tilt_db(6)), offset_db, NORMALISATION)


def n_parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_size_and_work_are_those_of_resnet_9blocks() -> None:
    with torch.device("meta"):
        generator = Generator(GENERATOR_PRESETS["paper"])
        normalised, fr_difference_db = torch.zeros(1, 80, 80), torch.zeros(1, 128)
    assert n_parameters(generator.encoder, generator.blocks, generator.decoder) == 11_365_633
    with FlopCounterMode(display=False) as counter:
        gamma, beta = torch.zeros(2, 1, 256, device="meta").unbind()
        stem = generator.stem(normalised)
        of_stem = counter.get_total_flops()
        generator.trunk(stem, gamma, beta)
    assert counter.get_total_flops() / 2 == pytest.approx(4.76e9, rel=2e-3)
    assert of_stem / counter.get_total_flops() == pytest.approx(0.10, abs=0.01)
    assert generator(normalised, fr_difference_db).shape == (1, 80, 80)


def test_norms_have_neither_weights_nor_memory() -> None:
    norms = [module for module in small_generator().modules() if isinstance(module, nn.InstanceNorm2d)]
    assert len(norms) == 3 + 2 + 2
    assert not any(norm.affine or norm.track_running_stats for norm in norms)


def test_new_weights_are_cyclegans() -> None:
    torch.manual_seed(0)
    generator = Generator(GeneratorSettings(n_blocks=1))
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert not module.bias.any()


@pytest.mark.parametrize("shape", [(2, 5, 13, 9), (1, 3, 7, 7)])
def test_the_last_convolution_is_a_convolution(shape: tuple[int, ...]) -> None:
    layer = OneMapConv2d(shape[1], 7).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)
    of = (x, layer.weight, layer.bias)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((result * weights).sum(), of) for result in (layer(x), expected)]
    torch.testing.assert_close(*gradients)


def test_stem_and_trunk_make_the_whole() -> None:
    generator = small_generator()
    normalised, fr_difference_db = torch.randn(3, 80, 80), torch.randn(3, 128)
    stem = generator.stem(normalised)
    for difference in (fr_difference_db, tilt_db(6)):
        parts = generator.trunk(stem, *generator.film_encoder(difference))
        torch.testing.assert_close(parts, generator(normalised, difference), rtol=0, atol=0)


def test_the_difference_steers_each_segment_by_itself() -> None:
    generator = small_generator()
    normalised = torch.randn(2, 80, 80)
    both = generator(normalised, torch.cat([tilt_db(6), tilt_db(-6)]))
    torch.testing.assert_close(both[1:], generator(normalised[1:], tilt_db(-6)), rtol=1e-4, atol=1e-5)
    assert (both[1:] - generator(normalised[1:], tilt_db(6))).abs().mean() > 0.01


@pytest.mark.parametrize("shape", [(1, 80, 81), (1, 78, 80)])
def test_sides_must_be_multiples_of_four(shape: tuple[int, int, int]) -> None:
    with pytest.raises(SettingsError, match=f"cannot take spectrograms of {shape[1]} x {shape[2]}"):
        small_generator().stem(torch.zeros(shape))


def test_other_multiples_of_four_pass() -> None:
    assert small_generator()(torch.randn(1, 48, 20), tilt_db(6)).shape == (1, 48, 20)


def test_the_papers_generator_is_blind_to_the_level() -> None:
    """x, x + 10 dB and 3x give the same output."""
    log_mel = log_mel_batch(2)
    for changed in (log_mel + 10, 3 * log_mel):
        normalised_difference = (convert("paper", changed) - convert("paper", log_mel)) / NORMALISATION.std_db
        assert normalised_difference.abs().max() < 4e-3


def test_the_level_aware_generator_keeps_it() -> None:
    log_mel = log_mel_batch(2)
    raised = convert("level_aware", log_mel + 10)
    torch.testing.assert_close(raised, convert("level_aware", log_mel) + 10, atol=0.01, rtol=0)


def test_silence_stays_finite() -> None:
    assert convert("level_aware", torch.full((1, 80, 80), -100.0)).isfinite().all()


@pytest.mark.parametrize("level", ["lost", "carried"])
def test_normalisation_can_be_undone(level: str) -> None:
    log_mel = log_mel_batch(3)
    normalised, offset_db = normalise(log_mel, NORMALISATION, level)  # type: ignore[arg-type]
    torch.testing.assert_close(denormalise(normalised, offset_db, NORMALISATION), log_mel, atol=1e-4, rtol=0)


def test_levels_of_segments_are_their_means() -> None:
    _, offset_db = normalise(torch.full((2, 80, 80), -33.0), NORMALISATION, "carried")
    assert offset_db.flatten().tolist() == pytest.approx([-33.0, -33.0])
