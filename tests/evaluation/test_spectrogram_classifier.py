"""The judge of conversions tells devices and sounds apart, and does so again."""

import numpy as np
import pytest
import torch

from umc_cli.evaluation.spectrogram_classifier import ClassifierSettings, classify, n_steps, train_classifier

SETTINGS = ClassifierSettings(epochs=1, fewest_steps=60)
TILT_DB = np.linspace(-4, 4, 80, dtype=np.float32)[:, None]


def sounds(n_segments: int, seed: int) -> np.ndarray:
    """Noise of a random level and colour. Shape: [n, 80, 80], dB."""
    random = np.random.default_rng(seed)
    level = random.uniform(-70, -40, (n_segments, 1, 1))
    return (level + random.normal(0, 5, (n_segments, 80, 80))).astype(np.float32)


def test_it_tells_two_devices_apart_and_takes_a_perfect_conversion_for_the_target() -> None:
    learnt = np.concatenate([sounds(100, 1), sounds(100, 2) + TILT_DB])
    probe = train_classifier(learnt, ["flat"] * 100 + ["tilted"] * 100, seed=0, settings=SETTINGS)
    unseen = sounds(100, 3)
    assert (classify(probe, unseen).classes == "flat").mean() > 0.9
    assert (classify(probe, unseen + TILT_DB).classes == "tilted").mean() > 0.9
    assert classify(probe, unseen).embedding.shape == (100, 64)


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    learnt = np.concatenate([sounds(270, 1), sounds(30, 2) + TILT_DB])
    probe = train_classifier(learnt, ["flat"] * 270 + ["tilted"] * 30, seed=0, settings=SETTINGS)
    assert (classify(probe, sounds(50, 3) + TILT_DB).classes == "tilted").mean() > 0.5


def test_the_same_seed_gives_the_same_network_and_leaves_the_callers_random_state_alone() -> None:
    given, labels = sounds(20, 0), ["a", "b"] * 10
    settings = ClassifierSettings(epochs=1, fewest_steps=2)
    before = torch.get_rng_state()
    first, again, other = (
        classify(train_classifier(given, labels, seed, settings), given).embedding for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_one_class_is_no_task() -> None:
    with pytest.raises(ValueError, match="two classes"):
        train_classifier(sounds(4, 0), ["a"] * 4, seed=0)


@pytest.mark.parametrize(("n_segments", "steps"), [(10, 200), (1_500, 15 * 47), (100_000, 1_000)])
def test_so_many_steps_are_taken(n_segments: int, steps: int) -> None:
    assert n_steps(n_segments) == steps
