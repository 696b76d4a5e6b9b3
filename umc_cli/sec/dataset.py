"""What a classifier is trained on: segments with labels, and what alters them on the way.

A batch depends on its number and the seed alone, so it can be made ahead, and a run that goes on makes the same ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from umc_cli.audio.feature_settings import features_of
from umc_cli.audio.features import spectrograms
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.sec.method_parts import SampleAlterations
from umc_cli.sec.self_training import SAMPLE_SHARE, GivenLabels, UnlabeledSegments
from umc_cli.training.ranks import ONE_PROCESS, Ranks
from umc_cli.training.row_numbers import sent

_ORDER, _STEP, _NETWORK = 0, 1, 2
"""Streams of random numbers of one seed."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class SecSegments:
    """Segments of one split or part of it, in memory or mapped from a file."""

    log_mel: NDArray[np.float16]
    """[n, 80, 80], or of features of one's own; dB re full scale."""
    label: NDArray[np.int64]
    """[n] Index of the class."""
    waveform: NDArray[np.float32] | None = None
    """[n, 20480], or as `cut` says, full scale 1; only where a method or a conversion wants it."""
    cut: SegmentSettings = field(default_factory=SegmentSettings)
    """How segments were cut, and what features they are for."""

    def __len__(self) -> int:
        return len(self.label)


class SegmentConverter(Protocol):
    """Makes of segments what other devices would have recorded."""

    def __call__(self, segments: Tensor, rows: NDArray[np.int64], random: torch.Generator, /) -> Tensor:
        """Convert every segment to a device drawn at random.

        Shape: [B, 80, 80] dB, on the compute device -> the same, there or on the CPU. For features of one's own:
        waveforms [B, n], full scale 1, on the CPU -> features. `rows`: [B], which training segments these are.
        `random`: on the CPU.
        """
        ...


@dataclass(frozen=True)
class TrainingBatch:
    """What one step sees."""

    log_mel: Tensor
    """[B, 80, 80] (or of features of one's own) float32, dB re full scale."""
    targets: Tensor
    """[B, n_classes] float32: one probability per class."""
    n_converted: int
    share: float = 1.0
    """Of the whole batch, which several ranks may share."""


@dataclass(frozen=True)
class TrainingBatches:
    """The batches of a training, by number."""

    segments: SecSegments
    n_classes: int
    batch_size: int
    seed: int
    alterations: SampleAlterations
    converter: SegmentConverter | None = None
    converted_share: float = 0.5
    """Probability that a sample is converted; the others are what the source recorded."""
    ranks: Ranks = ONE_PROCESS
    """Each has its share of every batch, and random numbers of its own."""
    unlabeled: UnlabeledSegments | None = None
    """What self-training learns from, too."""
    given: GivenLabels | None = None
    """Labels that some of `unlabeled` got, from the second round on."""
    torch_device: torch.device = _CPU
    """Where spectrograms are altered and converted, and stay. All random numbers are drawn on the CPU."""

    @property
    def per_epoch(self) -> int:
        """Number of batches in which every segment is seen once."""
        return math.ceil(len(self.segments) / self.batch_size)

    def n_seen(self, n_batches: int) -> int:
        """Return the number of segments in the first `n_batches`; the last batch of an epoch may be smaller."""
        epochs, rest = divmod(n_batches, self.per_epoch)
        n_last = len(self.segments) % self.batch_size or self.batch_size
        an_epoch = len(self.segments) + max(0, self._fewest - n_last)
        return epochs * an_epoch + rest * self.batch_size

    def get(self, index: int) -> TrainingBatch:
        """Return batch `index`, counted from 0 over all epochs, or this rank's share of it."""
        whole = self._rows(index)
        rows = whole[self.ranks.share(len(whole))]
        random = step_random(self.seed, index, rank=self.ranks.rank)
        levels_db, waveforms = self._segments(rows, random)
        targets = F.one_hot(torch.from_numpy(self.segments.label[rows]), self.n_classes).float()
        recorded = torch.ones(len(rows), dtype=torch.bool)
        if self.unlabeled and self.given:
            recorded = torch.rand(len(rows), generator=random) >= SAMPLE_SHARE
            drawn = torch.randint(len(self.given.row), (len(rows),), generator=random)[~recorded].numpy()
            levels = torch.from_numpy(self.unlabeled.log_mel[self.given.row[drawn]])
            self._put(levels_db, (~recorded).nonzero().squeeze(1), levels)
            targets[~recorded] = F.one_hot(torch.from_numpy(self.given.label[drawn]), self.n_classes).float()
        converted = torch.empty(0, dtype=torch.int64)
        if self.converter:
            drawn_to = torch.rand(len(rows), generator=random) < self.converted_share
            converted = (drawn_to & recorded).nonzero().squeeze(1)
            if len(converted):
                given = levels_db[self._there(converted)] if waveforms is None else waveforms[converted]
                self._put(levels_db, converted, self.converter(given, rows[converted.numpy()], random))
        for alter in self.alterations.spectrogram:
            levels_db, targets = alter(levels_db, targets, random)
        return TrainingBatch(levels_db, self._there(targets), len(converted), len(rows) / len(whole))

    @property
    def _fewest(self) -> int:
        """Segments of a batch: batch normalisation needs two, and each rank one."""
        return max(2, self.ranks.count)

    def _rows(self, index: int) -> NDArray[np.int64]:
        epoch, place = divmod(index, self.per_epoch)
        order = np.random.default_rng([_ORDER, self.seed, epoch]).permutation(len(self.segments))
        rows = order[place * self.batch_size : (place + 1) * self.batch_size]
        # The last batch is filled up from the epoch's beginning.
        missing = max(0, self._fewest - len(rows))
        return np.concatenate([rows, np.resize(order, missing)])

    def _segments(self, rows: NDArray[np.int64], random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return features, and the waveforms if these are what is converted: for features of one's own."""
        segments = self.segments
        if segments.waveform is None:
            return self._stored(rows), None
        waveforms = torch.from_numpy(segments.waveform[rows])
        has_own_features = features_of(segments.cut) is not None
        # The features of one's own are computed on the CPU, and Apple's GPUs lack the double precision of the others.
        if self.alterations.waveform and not has_own_features and self.torch_device.type != "mps":
            waveforms = self._there(waveforms)
        for alter in self.alterations.waveform:
            waveforms = alter(waveforms, random)
        are_converted = waveforms if has_own_features else None
        if not self.alterations.waveform:
            return self._stored(rows), are_converted
        return self._there(spectrograms(waveforms, segments.cut)), are_converted

    def _stored(self, rows: NDArray[np.int64]) -> Tensor:
        return self._there(torch.from_numpy(self.segments.log_mel[rows])).float()

    def _put(self, levels_db: Tensor, rows: Tensor, values: Tensor) -> None:
        levels_db[self._there(rows)] = self._there(values).float()

    def _there(self, values: Tensor) -> Tensor:
        return values if values.device.type == self.torch_device.type else sent(values, self.torch_device)


def step_random(seed: int, index: int, of_network: bool = False, rank: int = 0) -> torch.Generator:
    """Return the random numbers of a step: the same for the same seed, step and rank, whatever was drawn before.

    `of_network`: those of the network's own parts, which are drawn while the next batch is being made.
    """
    numbers = [_NETWORK if of_network else _STEP, seed, index, *([rank] if rank else [])]
    state = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def class_weights(label: NDArray[np.int64], n_classes: int) -> Tensor:
    """Return weights that let every class count the same. Shape: [n] -> [n_classes], mean over samples 1."""
    counts = np.bincount(label, minlength=n_classes)
    return torch.from_numpy(len(label) / (n_classes * np.maximum(counts, 1))).float()


def label_indices(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of every label. Shape: [n] -> [n]."""
    order = {name: index for index, name in enumerate(classes)}
    return np.array([order[label] for label in labels], dtype=np.int64)
