"""What all augmentations promise: equal generators give equal results, inputs stay, the asked share is altered."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from umc_cli.response.synthesis.drawing import library_responses_db
from umc_cli.sec.augmentations import AUGMENTATIONS
from umc_cli.sec.augmentations.contract import (
    AugmentationMaterial,
    AugmentationSpec,
    RandomNetworkPart,
    set_random,
)

MATERIAL = AugmentationMaterial(library_responses_db(), mean_db=-50.0, std_db=12.0)
RANDOM = [name for name, spec in AUGMENTATIONS.items() if "probability" in spec.settings.model_fields]
N = 40


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def samples(kind: str, n: int = N) -> Tensor:
    """Samples that differ in level and shape over frequency, so that mixing any two shows."""
    if kind == "waveform":
        return 0.1 * torch.randn(n, 20_480, generator=seeded(7))
    levels = 4 * torch.randn(n, 80, 1, generator=seeded(8)) - 50 + 6 * torch.randn(n, 80, 80, generator=seeded(9))
    return levels if kind == "spectrogram" else (levels.unsqueeze(1) + 50) / 12


def build(name: str, **settings: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the augmentation as a function of the samples alone."""
    spec = AUGMENTATIONS[name]
    chosen = spec.settings(**settings)
    if spec.build_waveform:
        return spec.build_waveform(chosen, MATERIAL)
    if spec.build_spectrogram:
        augment = spec.build_spectrogram(chosen, MATERIAL)
        return lambda x, random: augment(x, torch.zeros(len(x), 3), random)[0]
    assert spec.build_network_part
    part = spec.build_network_part(chosen, MATERIAL)

    def forward(x: Tensor, random: torch.Generator) -> Tensor:
        set_random(part, random)
        return part(x)

    return forward


@pytest.mark.parametrize("name", RANDOM)
def test_equal_generators_give_equal_results_whatever_the_global_state(name: str) -> None:
    x, augment = samples(AUGMENTATIONS[name].kind), build(name)
    torch.manual_seed(1)
    np.random.seed(1)
    first = augment(x, seeded(3))
    torch.manual_seed(2)
    np.random.seed(2)
    before = torch.get_rng_state()
    again, other = augment(x, seeded(3)), build(name)(x, seeded(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", RANDOM)
def test_a_restored_generator_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    x, augment, random = samples(AUGMENTATIONS[name].kind), build(name), seeded(3)
    augment(x, random)
    state = random.get_state()
    second = augment(x, random)
    restored = torch.Generator()
    restored.set_state(state)
    assert torch.equal(build(name)(x, restored), second)
    assert not torch.equal(second, augment(x, seeded(3)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_shape_and_type_stay_and_the_input_is_not_touched(name: str) -> None:
    x = samples(AUGMENTATIONS[name].kind)
    kept = x.clone()
    augmented = build(name)(x, seeded(0))
    assert (augmented.shape, augmented.dtype) == (x.shape, torch.float32)
    assert augmented.isfinite().all()
    assert torch.equal(x, kept)
    assert (augmented != x).any()


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_the_asked_share_is_altered_and_the_rest_stays_exactly_as_it_was(name: str, probability: float) -> None:
    settings = {"alpha": 1.0} if name == "mixup" else {}  # few lambdas so near 1 that float32 takes them for 1
    x, random = samples(AUGMENTATIONS[name].kind), seeded(5)
    augment = build(name, probability=probability, **settings)
    rounds = 25 if AUGMENTATIONS[name].kind != "waveform" else 8
    n = rounds * N
    altered = sum(int((augment(x, random) != x).flatten(1).any(1).sum()) for _ in range(rounds))
    # mixup: one partner in 40 is the sample itself; spec-augment: all masks have width 0 once in 16^2 * 17^2.
    expected = probability * (39 / 40 if name == "mixup" else 1)
    assert abs(altered / n - expected) <= 4 * (expected * (1 - expected) / n) ** 0.5 + 1e-4


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_batch_of_one_is_augmented(name: str) -> None:
    x = samples(AUGMENTATIONS[name].kind, n=1)
    settings = {"probability": 1.0} if name in RANDOM else {}
    assert build(name, **settings)(x, seeded(0)).isfinite().all()


@pytest.mark.parametrize("name", ["gaussian-noise", "room-reverb", "pitch-shift", "dir"])
def test_digital_silence_stays_silent(name: str) -> None:
    assert not build(name, probability=1.0)(torch.zeros(4, 20_480), seeded(0)).any()


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_that_is_none_is_refused(name: str, probability: float) -> None:
    with pytest.raises(ValidationError, match="probability"):
        AUGMENTATIONS[name].settings(probability=probability)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="strength"):
        AUGMENTATIONS[name].settings(strength=1)


def test_a_spec_builds_exactly_one_thing() -> None:
    rfn = AUGMENTATIONS["rfn"]
    with pytest.raises(ValueError, match="exactly one"):
        AugmentationSpec("nothing", rfn.settings)
    with pytest.raises(ValueError, match="exactly one"):
        AugmentationSpec("two", rfn.settings, build_waveform=lambda *_: None, build_network_part=rfn.build_network_part)


def test_parts_that_draw_are_found_wherever_they_sit() -> None:
    build_part = AUGMENTATIONS["freq-mixstyle"].build_network_part
    build_norm = AUGMENTATIONS["rfn"].build_network_part
    assert build_part
    assert build_norm
    part = build_part(AUGMENTATIONS["freq-mixstyle"].settings(), MATERIAL)
    norm = build_norm(AUGMENTATIONS["rfn"].settings(), MATERIAL)
    assert isinstance(part, RandomNetworkPart)
    assert not isinstance(norm, RandomNetworkPart)
    random = seeded(0)
    set_random(nn.Sequential(norm, nn.Sequential(nn.ReLU(), part)), random)
    assert part.random is random
    assert not hasattr(norm, "random")
