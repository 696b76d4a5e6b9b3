"""Mutual information and linear probe, on classes whose information is known."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from umc_cli.evaluation.linear_probe import fit_linear_discriminant, held_out_log_probabilities
from umc_cli.evaluation.mutual_information import entropy_bits, information_bound_bits, probe_statistic

N_GROUPS = 40


def groups_of(n_samples: int) -> list[str]:
    return [f"recording {index % N_GROUPS}" for index in range(n_samples)]


def gaussians(means: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Samples around the mean of their class, standard deviation 1 in each direction. Shape: [K, D], [N] -> [N, D]."""
    return means[labels] + np.random.default_rng(seed).standard_normal((len(labels), means.shape[1]))


def true_information_bits(means: list[float], shares: list[float]) -> float:
    """I(x; y) of classes N(mean, 1) on a line: h(x) - h(x | y), integrated numerically."""

    def minus_p_log_p(x: float) -> float:
        density = float(np.dot(shares, scipy.stats.norm.pdf(x, loc=means)))
        return -density * np.log2(density) if density > 0 else 0.0

    entropy, _ = scipy.integrate.quad(minus_p_log_p, min(means) - 10, max(means) + 10, limit=400, points=means)
    return entropy - 0.5 * float(np.log2(2 * np.pi * np.e))


@pytest.mark.parametrize(
    ("means", "shares"),
    [([0.0, 1.0], [0.5, 0.5]), ([0.0, 2.0], [0.8, 0.2]), ([0.0, 1.5, 4.0], [1 / 3] * 3), ([-6.0, 6.0], [0.5, 0.5])],
    ids=["near", "unequal shares", "three on a line", "far"],
)
def test_gaussians_on_a_line(means: list[float], shares: list[float]) -> None:
    n = 6_000
    labels = np.repeat(np.arange(len(means)), np.round(np.multiply(shares, n)).astype(int))
    probed = probe_statistic(gaussians(np.array(means)[:, None], labels), labels.tolist(), groups_of(n))
    truth = true_information_bits(means, shares)
    assert probed.information_bits.value == pytest.approx(truth, abs=0.03)
    assert abs(probed.information_bits.value - truth) < 4 * probed.information_bits.standard_error + 0.005
    assert probed.n_features == 1


def test_gaussians_in_many_dimensions_that_hang_together() -> None:
    """Two classes of one covariance tell what their Mahalanobis distance tells, in any number of dimensions."""
    random = np.random.default_rng(3)
    n, n_dimensions, distance = 8_000, 12, 1.8
    mixing = random.standard_normal((n_dimensions, n_dimensions)) * np.geomspace(1, 100, n_dimensions)
    direction = random.standard_normal(n_dimensions)
    means = np.stack([np.zeros(n_dimensions), distance * direction / np.linalg.norm(direction)])
    labels = np.arange(n) // (n // 2)
    features = gaussians(means, labels) @ mixing.T
    probed = probe_statistic(features, labels.tolist(), groups_of(n))
    assert probed.information_bits.value == pytest.approx(true_information_bits([0, distance], [0.5, 0.5]), abs=0.03)
    # The best that anybody can do.
    assert probed.accuracy.value == pytest.approx(scipy.stats.norm.cdf(distance / 2), abs=0.015)


def interleaved(n_samples: int, n_classes: int) -> list[str]:
    """Groups that hold every class, as a recording is converted to every target."""
    return [f"recording {index // n_classes % N_GROUPS}" for index in range(n_samples)]


def test_classes_of_another_spread_alone_tell_a_network_what_they_tell() -> None:
    """N(0, 1) against N(0, 4^2): 0.366 bits, of which a linear probe finds none."""
    n = 4_000
    labels = np.arange(n) % 2
    samples = np.random.default_rng(0).standard_normal((n, 1)) * np.where(labels, 4.0, 1.0)[:, None]
    probed = probe_statistic(samples, labels.tolist(), interleaved(n, 2), with_network=True)
    assert probed.information_bits.value < 0.005
    assert probed.network_information_bits is not None
    assert probed.network_accuracy is not None
    assert probed.network_information_bits.value == pytest.approx(0.366, abs=0.03)
    assert probed.network_accuracy.value > 0.75


def test_of_gaussians_a_network_finds_what_the_linear_probe_finds() -> None:
    n = 3_000
    labels = np.arange(n) % 3
    means = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 3.0]])
    probed = probe_statistic(gaussians(means, labels), labels.tolist(), interleaved(n, 3), with_network=True)
    assert probed.network_information_bits is not None
    assert probed.network_information_bits.value == pytest.approx(probed.information_bits.value, abs=0.03)


def test_of_noise_a_network_finds_nothing_though_it_could_learn_it_by_heart() -> None:
    n = 300
    labels = np.arange(n) % 3
    noise = np.random.default_rng(1).standard_normal((n, 100))
    probed = probe_statistic(noise, labels.tolist(), interleaved(n, 3), with_network=True)
    assert probed.network_information_bits is not None
    assert probed.network_information_bits.value < 0.02


def test_more_separation_tells_more_up_to_the_entropy() -> None:
    labels = np.arange(1_200) % 3
    samples = gaussians(np.zeros((3, 5)), labels)
    directions = np.eye(3, 5)[labels]
    found = [
        probe_statistic(samples + size * directions, labels.tolist(), np.repeat(np.arange(40), 30).astype(str).tolist())
        for size in (0.0, 0.5, 1.0, 2.0, 4.0, 50.0)
    ]
    bits = [probed.information_bits.value for probed in found]
    assert bits == sorted(bits)
    assert bits[0] < 0.01
    assert found[0].accuracy.value == pytest.approx(1 / 3, abs=0.05)
    assert np.log2(3) - 0.01 < bits[-1] <= np.log2(3)
    assert found[-1].accuracy.value == 1


def test_many_useless_features_and_few_samples_tell_nothing_and_are_no_evidence_against_it() -> None:
    labels = np.arange(240) % 2
    features = gaussians(np.zeros((2, 150)), labels)
    told = held_out_log_probabilities(features, labels.tolist(), np.repeat(np.arange(40), 6).astype(str).tolist())
    cross_entropy_bits = -told[np.arange(240), labels].mean() / np.log(2)
    # Without shrinkage and temperature it would be several bits.
    assert cross_entropy_bits < 1.1


def test_what_is_learnt_of_a_recording_says_nothing_of_another() -> None:
    """Each recording has a place of its own and a label drawn by lot: seen before, it would give the label away."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 20)
    places, label_of = 10 * random.standard_normal((60, 30)), random.permutation(np.arange(60) % 2)
    features = places[group] + random.standard_normal((1_200, 30))
    labels = label_of[group].tolist()
    apart = probe_statistic(features, labels, group.astype(str).tolist())
    mixed = probe_statistic(features, labels, [str(index) for index in range(1_200)])
    assert apart.information_bits.value < 0.1
    assert mixed.information_bits.value > 0.3


@pytest.mark.parametrize("value", [0.0, 1e3, 0.1])
def test_the_same_features_for_every_class_tell_exactly_nothing(value: float) -> None:
    labels = np.repeat(np.arange(4), 50).tolist()
    content = np.random.default_rng(0).standard_normal((50, 6))
    content[:, 0] = value  # constant
    content[:, 1] = value * (1 + 1e-9 * content[:, 1])  # constant but for rounding
    probed = probe_statistic(np.tile(content, (4, 1)), labels, [str(index // 2) for index in range(50)] * 4)
    assert probed.information_bits.value == pytest.approx(0, abs=1e-9)
    assert probed.accuracy.value == 0.25


def test_the_discriminant_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    labels = random.permutation(np.repeat([0, 1, 2], [30, 50, 20]))
    features = gaussians(2 * random.standard_normal((3, 8)), labels) @ random.standard_normal((8, 8)) + 5
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(standardised, labels)
    ours = fit_linear_discriminant(features, labels, 3).log_probabilities(features, 0.1)
    share = 1 / 101
    expected = (1 - share) * reference.predict_proba(standardised) + share * reference.priors_
    np.testing.assert_allclose(np.exp(ours), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.exp(ours).sum(axis=1), 1)


def test_entropy_and_bound_of_probabilities_that_are_given() -> None:
    assert entropy_bits([0, 1, 2, 3]) == 2
    assert entropy_bits([0, 0, 0, 0]) == 0
    assert entropy_bits([0, 0, 0, 1]) == pytest.approx(0.8113, abs=1e-4)
    labels, groups = [0, 1, 0, 1], ["a", "a", "b", "b"]
    told = np.log([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25], [0.25, 0.75]])
    bound = information_bound_bits(told, labels, groups)
    assert bound.value == pytest.approx(1 + np.mean(np.log2([0.5, 0.5, 0.75, 0.75])))
    # Two recordings of two samples each: their means differ by log2 1.5.
    assert bound.standard_error == pytest.approx(np.log2(1.5) / 2)
    wrong = np.log([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    assert information_bound_bits(wrong, labels, groups).value == 0


def test_the_error_knows_that_samples_of_a_recording_hang_together() -> None:
    """Every sample ten times over is no more evidence."""
    random = np.random.default_rng(0)
    told = scipy.special.log_softmax(random.standard_normal((50, 2)), axis=1)
    labels, groups = (np.arange(50) % 2).tolist(), [str(index) for index in range(50)]
    once = information_bound_bits(told, labels, groups)
    often = information_bound_bits(np.tile(told, (10, 1)), labels * 10, groups * 10)
    assert often.standard_error == pytest.approx(once.standard_error)


def test_what_cannot_be_probed() -> None:
    features = np.zeros((20, 2))
    with pytest.raises(ValueError, match="4 groups cannot be dealt to 5 folds"):
        probe_statistic(features, [0, 1] * 10, [str(index % 4) for index in range(20)])
    with pytest.raises(ValueError, match="class 1 has no sample"):
        probe_statistic(features, [1] + [0] * 19, [str(index) for index in range(20)])
