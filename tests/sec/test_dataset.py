"""Batches of the classifier: which samples are converted, which are left alone, and what decides it."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel import log_mel
from umc_cli.sec.augmentations.contract import AugmentationMaterial
from umc_cli.sec.dataset import SecSegments, TrainingBatches, class_weights, step_random
from umc_cli.sec.method_parts import SampleAlterations, sample_alterations
from umc_cli.sec.self_training import GivenLabels, UnlabeledSegments

N_SEGMENTS, BATCH = 34, 8


class Raise:
    """A converter that makes every segment 50 dB louder."""

    def __call__(self, log_mel: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
        assert len(log_mel) == len(rows)
        return log_mel + 50


def batches(share: float, seed: int = 0, n: int = N_SEGMENTS) -> TrainingBatches:
    levels = np.zeros((n, 80, 80), np.float16) + np.arange(n, dtype=np.float16)[:, None, None] - 60
    segments = SecSegments(levels, np.arange(n) % 3)
    return TrainingBatches(segments, 3, BATCH, seed, SampleAlterations(), Raise(), share)


def test_the_share_left_unaltered_is_exact_in_expectation_and_unaltered_means_bit_equal() -> None:
    one = batches(0.3)
    levels = torch.cat([one.get(index).log_mel for index in range(5 * 200)])
    is_converted = levels[:, 0, 0] > -20
    n = len(levels)
    assert n == N_SEGMENTS * 200
    # Binomial: five standard deviations.
    assert abs(int(is_converted.sum()) - 0.3 * n) < 5 * (n * 0.3 * 0.7) ** 0.5
    restored = levels - 50 * is_converted[:, None, None]
    assert torch.equal(restored, restored[:, :1, :1].expand_as(restored))
    counts = torch.bincount((restored[:, 0, 0] + 60).long(), minlength=N_SEGMENTS)
    assert torch.equal(counts, torch.full((N_SEGMENTS,), 200))
    for share, expected in ((0.0, 0), (1.0, BATCH)):
        assert batches(share).get(0).n_converted == expected


def test_a_batch_depends_on_its_number_and_the_seed_alone() -> None:
    one, other = batches(0.5), batches(0.5)
    for index in (3, 0, 7):
        other.get(index)
    assert torch.equal(one.get(5).log_mel, other.get(5).log_mel)
    assert not torch.equal(one.get(5).log_mel, batches(0.5, seed=1).get(5).log_mel)
    assert not torch.equal(one.get(0).log_mel, one.get(5).log_mel)


def test_a_last_batch_of_one_is_filled_up() -> None:
    one = batches(0.0, n=33)
    assert one.per_epoch == 5
    assert [len(one.get(index).targets) for index in range(5)] == [8, 8, 8, 8, 2]


def test_segments_seen_are_counted_though_batches_differ_in_size() -> None:
    for n in (1, 8, 33, 34, 40):
        one = batches(0.0, n=n)
        sizes = [len(one.get(index).targets) for index in range(2 * one.per_epoch + 1)]
        assert [one.n_seen(number) for number in range(len(sizes) + 1)] == [0, *np.cumsum(sizes)]


def test_what_is_converted_is_the_waveform_as_it_was_altered() -> None:
    class Keep:
        given: list[Tensor] = []  # noqa: RUF012

        def __call__(self, log_mel: Tensor, rows: NDArray[np.int64], random: torch.Generator) -> Tensor:
            self.given.append(log_mel)
            return log_mel

    waveforms = np.random.default_rng(0).normal(0, 0.01, (BATCH, 20_480)).astype(np.float32)
    levels = log_mel(torch.from_numpy(waveforms)).half().numpy()
    segments = SecSegments(levels, np.zeros(BATCH, np.int64), waveforms)
    tenfold = SampleAlterations(waveform=(lambda waveforms, random: 10 * waveforms,))
    keep = Keep()
    batch = TrainingBatches(segments, 1, BATCH, 0, tenfold, keep, converted_share=1.0).get(0)
    order = [int(abs(levels + 20 - one[None].numpy()).sum(axis=(1, 2)).argmin()) for one in keep.given[0]]
    assert sorted(order) == list(range(BATCH))
    assert torch.allclose(keep.given[0], torch.from_numpy(levels[order]).float() + 20, atol=0.1)
    assert torch.equal(batch.log_mel, keep.given[0])


def test_the_network_draws_other_numbers_than_the_batch() -> None:
    drawn = [torch.rand(4, generator=step_random(0, 7, of_network)) for of_network in (False, True, False)]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_class_weights_let_every_class_count_the_same() -> None:
    weights = class_weights(np.array([0, 0, 0, 1]), 2)
    assert torch.allclose(weights, torch.tensor([4 / 6, 2.0]))
    assert float(weights[[0, 0, 0, 1]].mean()) == 1.0


OF_SPECTROGRAMS = ("spec-augment", "mixup", "filter-augment")
OF_WAVEFORMS = ("gaussian-noise", "room-reverb", "dir")
"""`pitch-shift` is computed on the CPU."""


@pytest.mark.parametrize("names", [OF_SPECTROGRAMS, OF_WAVEFORMS], ids=["spectrograms", "waveforms"])
def test_a_batch_stays_on_its_device_once_it_is_there(names: tuple[str, ...]) -> None:
    """Tensors on `meta` hold no values: to bring one back raises. Batches were made on the CPU, and converted there
    and back.
    """
    meta = torch.device("meta")
    noise = np.random.default_rng(0).normal(0, 0.1, (N_SEGMENTS, 20_480)).astype(np.float32)
    unlabeled = UnlabeledSegments(np.zeros((3, 80, 80), np.float16), np.zeros(3, np.int64))
    of = AugmentationMaterial(np.zeros((2, 128)), mean_db=-50.0, std_db=12.0)
    batch = TrainingBatches(
        SecSegments(np.zeros((N_SEGMENTS, 80, 80), np.float16), np.arange(N_SEGMENTS) % 3, noise),
        n_classes=3,
        batch_size=BATCH,
        seed=0,
        alterations=sample_alterations(names, {}, of),
        converter=Raise(),
        unlabeled=unlabeled,
        given=GivenLabels(np.arange(3), np.zeros(3, np.int64)),
        torch_device=meta,
    ).get(0)
    assert (batch.log_mel.device, batch.log_mel.dtype, batch.log_mel.shape) == (meta, torch.float32, (BATCH, 80, 80))
    assert (batch.targets.device, batch.targets.shape) == (meta, (BATCH, 3))
    assert batch.n_converted
