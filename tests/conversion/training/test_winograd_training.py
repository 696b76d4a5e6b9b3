import copy

import pytest
import torch

from tests.conversion.generators import small_generator
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_settings import GeneratorSettings
from umc_cli.conversion.training.winograd_training import forward_for_training, is_worthwhile


def trainable(film_encoder: str = "sized") -> Generator:
    torch.manual_seed(0)
    small = {"ngf": 4, "n_blocks": 2, "film_widths": (4, 4, 4), "film_hidden": 8, "film_encoder": film_encoder}
    return Generator(GeneratorSettings.model_validate(small))


@pytest.mark.parametrize("film_encoder", ["sized", "none"])
def test_results_and_all_gradients_equal_those_of_the_plain_generator(film_encoder: str) -> None:
    """Against the plain generator in double precision, and as near to it as the plain one in single precision is."""
    generator = trainable(film_encoder)
    exact = copy.deepcopy(generator).double()
    torch.manual_seed(1)
    x, difference = torch.randn(3, 80, 80), 5 * torch.randn(3, 128)
    weights = torch.randn(3, 80, 80)
    inputs = [x.double().requires_grad_(), x.clone().requires_grad_()]
    outputs = [exact(inputs[0], difference.double()), forward_for_training(generator, inputs[1], difference)]
    torch.testing.assert_close(outputs[1].double(), outputs[0], atol=1e-4, rtol=1e-4)
    for output in outputs:
        (output * weights).sum().backward()
    gradients = [
        {"input": given.grad, **{name: weight.grad for name, weight in network.named_parameters()}}
        for given, network in zip(inputs, (exact, generator), strict=True)
    ]
    for name, expected in gradients[0].items():
        actual = gradients[1][name]
        assert expected is not None
        if expected.norm() < 1e-9:
            continue  # a bias before an InstanceNorm, which removes it
        assert actual is not None, name
        assert float((actual - expected).norm() / expected.norm()) < 2e-3, name


def test_it_is_for_training_in_fp32_on_cpus_with_enough_channels() -> None:
    wide = Generator(GeneratorSettings(ngf=32, n_blocks=1))
    x = torch.zeros(1, 80, 80)
    assert is_worthwhile(wide, x)
    assert not is_worthwhile(small_generator(), x)
    assert not is_worthwhile(wide, torch.zeros(1, 80, 72))
    assert not is_worthwhile(wide, x.double())
    with torch.no_grad():
        assert not is_worthwhile(wide, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_worthwhile(wide, x)
