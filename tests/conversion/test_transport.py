import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umc_cli.conversion.transport import Sample, common_mixture, fit_transport

SHAPE = (4, 5)
N_VALUES = 20


def sample(values: np.ndarray, labels: list[str] | None = None, recordings: list[str] | None = None) -> Sample:
    """Return segments [N, 4, 5], each of a recording of its own."""
    n = len(values)
    return Sample(
        values.reshape(n, *SHAPE).astype(np.float32),
        recordings or [f"r{number}" for number in range(n)],
        labels or ["a"] * n,
    )


def normal(n: int, root: np.ndarray, seed: int, mean: float = 0.0) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(size=(n, N_VALUES)) @ root


ROOT = np.diag(np.linspace(6, 1, N_VALUES))
MIXING = np.eye(N_VALUES) + 0.5 * np.eye(N_VALUES, k=1)


def named(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(n)]


def test_the_covariance_of_the_target_is_reached() -> None:
    source = sample(normal(3000, ROOT, 0), recordings=named("s", 3000))
    target = sample(normal(3000, ROOT @ MIXING, 1, mean=3.0), recordings=named("t", 3000))
    transport = fit_transport(source, target)
    moved = transport(source.log_mel).reshape(-1, N_VALUES)
    wanted = target.log_mel.reshape(-1, N_VALUES)
    assert transport.strength > 0.9
    off = np.linalg.norm(np.cov(moved.T) - np.cov(wanted.T)) / np.linalg.norm(np.cov(wanted.T))
    assert off < 0.1
    np.testing.assert_allclose(moved.mean(axis=0), wanted.mean(axis=0), atol=0.3)


def test_the_map_is_that_of_monge_not_any_with_the_right_covariance() -> None:
    """Between diagonal covariances it scales each value; a rotation would be further than needed."""
    scales = np.linspace(0.5, 2, N_VALUES)
    source = sample(normal(5_000, ROOT, 0), recordings=named("s", 5_000))
    target = sample(normal(5_000, ROOT * scales, 1), recordings=named("t", 5_000))
    unit = np.eye(N_VALUES, dtype=np.float32).reshape(-1, *SHAPE)
    transport = fit_transport(source, target)
    map_ = (transport(unit) - transport(np.zeros_like(unit))).reshape(N_VALUES, N_VALUES)
    np.testing.assert_allclose(map_, np.diag(scales), atol=0.15)


def test_a_segment_unlike_all_others_moves_no_further_than_they_do() -> None:
    values = normal(600, ROOT, 0)
    transport = fit_transport(sample(values), sample(values @ (2 * np.eye(N_VALUES))))
    learned, far = sample(values).log_mel, sample(np.full((1, N_VALUES), -1000.0)).log_mel
    most = np.abs(transport(learned) - learned).sum(axis=(1, 2)).max()
    assert np.abs(transport(far) - far).sum() < 5 * most


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [20, 100, 400])
def test_what_chance_explains_moves_nothing(n: int, seed: int) -> None:
    source = sample(normal(n, ROOT, 2 * seed), recordings=named("s", n))
    target = sample(normal(n, ROOT, 2 * seed + 1), recordings=named("t", n))
    moved = fit_transport(source, target)(source.log_mel) - source.log_mel
    assert np.sqrt(np.mean(moved**2)) < 0.1 * np.diag(ROOT).mean()


def test_segments_of_one_recording_are_no_evidence_of_many() -> None:
    """Twelve recordings of fifty equal segments each look like 600 segments that differ between devices."""
    source = np.repeat(normal(12, ROOT, 0), 50, axis=0)
    target = np.repeat(normal(12, ROOT, 1), 50, axis=0)
    recordings = [f"r{number // 50}" for number in range(600)]
    ours = sample(source, recordings=[f"s-{one}" for one in recordings])
    theirs = sample(target, recordings=[f"t-{one}" for one in recordings])
    assert not len(fit_transport(ours, theirs).components)
    many = fit_transport(sample(source, recordings=named("s", 600)), sample(target, recordings=named("t", 600)))
    assert len(many.components)


def test_the_same_recordings_on_both_devices_say_more() -> None:
    """What both devices recorded moves both estimates alike: a small difference that holds everywhere is seen."""
    values = normal(150, ROOT, 0)
    target = values @ (np.eye(N_VALUES) + 0.15 * np.eye(N_VALUES, k=1))
    apart = fit_transport(sample(values, recordings=named("s", 150)), sample(target, recordings=named("t", 150)))
    together = fit_transport(sample(values), sample(target))
    assert together.strength > max(0.3, apart.strength)


def test_other_mixtures_of_labels_do_not_become_each_other() -> None:
    """Both devices are the same; one recorded ten times as many of `loud` as the other."""
    loud, quiet = normal(1100, ROOT, 0, mean=20.0), normal(1100, ROOT @ MIXING, 1, mean=-20.0)
    source = np.concatenate([loud[:1000], quiet[:100]])
    target = np.concatenate([loud[1000:], quiet[100:]])
    labels = ["loud"] * 1000 + ["quiet"] * 100, ["loud"] * 100 + ["quiet"] * 1000
    recordings = named("s", 1100), named("t", 1100)
    ours, theirs = (
        sample(values, label, recording)
        for values, label, recording in zip((source, target), labels, recordings, strict=True)
    )
    transport = fit_transport(ours, theirs)
    assert np.array_equal(transport(ours.log_mel), ours.log_mel)


def test_no_label_in_common_moves_nothing() -> None:
    source, target = normal(300, ROOT, 0), normal(300, ROOT @ MIXING, 1, mean=9.0)
    transport = fit_transport(sample(source, ["a"] * 300), sample(target, ["b"] * 300))
    assert not len(transport.components)


def test_the_mixture_in_common() -> None:
    ours, theirs = common_mixture(["a", "a", "a", "b"], ["a", "b", "b", "c"])
    # In common: a quarter `a`, a quarter `b`.
    np.testing.assert_allclose(ours, [1 / 3, 1 / 3, 1 / 3, 1])
    np.testing.assert_allclose(theirs, [1, 0.5, 0.5, 0])


def test_segments_that_are_all_alike_move_nothing() -> None:
    same = sample(np.full((50, N_VALUES), -100.0))
    assert np.array_equal(fit_transport(same, same)(same.log_mel), same.log_mel)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 1000), st.floats(0.0, 30.0), st.integers(1, 5))
def test_any_recordings_give_a_finite_map_that_is_the_identity_between_equals(
    n_source: int, n_target: int, seed: int, spread: float, n_labels: int
) -> None:
    random = np.random.default_rng(seed)
    source, target = (
        sample(
            -60 + spread * random.normal(size=(n, N_VALUES)),
            [str(label) for label in random.integers(n_labels, size=n)],
            [f"{number // 3}" for number in range(n)],
        )
        for n in (n_source, n_target)
    )
    moved = fit_transport(source, target)(source.log_mel)
    assert np.isfinite(moved).all()
    assert np.array_equal(fit_transport(source, source)(source.log_mel), source.log_mel)
