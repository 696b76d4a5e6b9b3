"""Statistics of a generator's layers, on generators whose layers are known."""

import numpy as np
import pytest
import torch

from tests.conversion.generators import NORMALISATION, log_mel_batch, small_generator, tilt_db
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.layer_statistics import layer_names, layer_statistics
from umc_cli.conversion.normalisation import normalise

TARGETS = {"flat": torch.zeros(128), "tilted": tilt_db(20).squeeze(0)}
N_SEGMENTS = 5


@pytest.fixture(scope="module")
def generator() -> Generator:
    return small_generator()


@pytest.fixture(scope="module")
def segments() -> torch.Tensor:
    return normalise(log_mel_batch(N_SEGMENTS), NORMALISATION, "carried")[0]


def test_names_and_sizes(generator: Generator, segments: torch.Tensor) -> None:
    statistics = layer_statistics(generator, segments, TARGETS, batch_size=2)
    assert list(statistics) == layer_names(2)
    assert list(statistics) == [
        *("encoder 1", "encoder 2", "encoder 3"),
        *("block 1", "block 1 sum", "block 2", "block 2 sum"),
        *("decoder 1", "decoder 2", "output"),
    ]
    sizes = {layer: tuple(found.shape for found in targets["tilted"].values()) for layer, targets in statistics.items()}
    n, ngf = N_SEGMENTS, 8
    assert sizes["encoder 1"] == ((n, ngf), (n, 80), (n, 80))
    assert sizes["encoder 3"] == sizes["block 1"] == sizes["block 2 sum"] == ((n, 4 * ngf), (n, 20), (n, 20))
    assert sizes["decoder 1"] == ((n, 2 * ngf), (n, 40), (n, 40))
    assert sizes["output"] == ((n, 1), (n, 80), (n, 80))
    assert all(found.dtype == np.float32 for found in statistics["block 1"]["flat"].values())


def test_layers_computed_by_hand(generator: Generator, segments: torch.Tensor) -> None:
    statistics = layer_statistics(generator, segments, TARGETS, batch_size=2)
    difference = TARGETS["tilted"].unsqueeze(0)
    output = generator(segments, difference)
    found = {layer: targets["tilted"] for layer, targets in statistics.items()}
    np.testing.assert_allclose(found["output"]["frequency"], output.mean(dim=2), atol=1e-5)
    np.testing.assert_allclose(found["output"]["time"], output.mean(dim=1), atol=1e-5)
    np.testing.assert_allclose(found["output"]["channel"], output.mean(dim=(1, 2))[:, None], atol=1e-5)

    encoded, normed = generator.stem(segments)
    gamma, beta = generator.film_encoder(difference)
    modulated = torch.relu(normed * gamma[:, :, None, None] + beta[:, :, None, None])
    np.testing.assert_allclose(found["encoder 3"]["frequency"], encoded.mean(dim=(1, 3)), atol=1e-5)
    np.testing.assert_allclose(found["block 1"]["channel"], modulated.mean(dim=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(found["block 1"]["time"], modulated.mean(dim=(1, 2)), atol=1e-5)
    first = encoded + generator.blocks[0].norm(generator.blocks[0].second(modulated))
    np.testing.assert_allclose(found["block 1 sum"]["frequency"], first.mean(dim=(1, 3)), atol=1e-5)
    np.testing.assert_allclose(found["block 2 sum"]["time"], generator.blocks[1](first).mean(dim=(1, 2)), atol=1e-5)


def test_what_the_encoder_holds_is_the_same_for_all_targets_and_the_blocks_are_not(
    generator: Generator, segments: torch.Tensor
) -> None:
    statistics = layer_statistics(generator, segments, TARGETS)
    for layer, targets in statistics.items():
        for dimension in ("channel", "frequency", "time"):
            same = np.array_equal(targets["flat"][dimension], targets["tilted"][dimension])
            assert same == layer.startswith("encoder"), (layer, dimension)


def test_a_block_hands_on_the_channel_means_that_it_was_given(generator: Generator, segments: torch.Tensor) -> None:
    """The InstanceNorm at its end has no mean to add."""
    statistics = layer_statistics(generator, segments, TARGETS)
    for target in TARGETS:
        for layer in ("block 1 sum", "block 2 sum"):
            np.testing.assert_allclose(
                statistics[layer][target]["channel"], statistics["encoder 3"][target]["channel"], atol=1e-6
            )


def test_batches_do_not_matter_and_progress_is_told(generator: Generator, segments: torch.Tensor) -> None:
    told: list[int] = []
    small = layer_statistics(generator, segments, TARGETS, batch_size=2, say=told.append)
    large = layer_statistics(generator, segments, TARGETS, batch_size=100)
    assert told == [2, 4, 5]
    for layer, targets in large.items():
        for target, statistics in targets.items():
            for dimension, found in statistics.items():
                np.testing.assert_allclose(small[layer][target][dimension], found, atol=1e-4)


def test_no_hook_is_left_behind(generator: Generator, segments: torch.Tensor) -> None:
    layer_statistics(generator, segments, TARGETS)
    with pytest.raises(RuntimeError):
        layer_statistics(generator, segments, {"wrong": torch.zeros(3, 128)})
    for module in generator.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
