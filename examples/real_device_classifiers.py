"""Classifiers of one device's recordings and of what converters make of them. Used by `evaluate_real_devices.py`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from umc_cli.evaluation.macro_f1 import score_device
from umc_cli.precision import Precision
from umc_cli.sec.backbones import build_backbone
from umc_cli.sec.classifier_settings import SEC_PRESETS, SecSettings
from umc_cli.sec.classifier_training import SecTraining
from umc_cli.sec.dataset import SecSegments, TrainingBatches, class_weights
from umc_cli.sec.method_parts import NetworkParts, SampleAlterations
from umc_cli.sec.network import predict_logits
from umc_cli.sec.sec_checkpoint import SecNetworkSettings

Levels = NDArray[np.float32]
Labels = NDArray[np.int64]

_CPU = torch.device("cpu")
_STRIDED_BATCH, _STRIDED_RATE = 32, 3e-3


@dataclass(frozen=True)
class Lesson:
    """What a classifier learns from."""

    given: Levels
    """[N, 80, 80] dB: what the source recorded."""
    converted: Sequence[Levels]
    """The same segments as each of several converters makes them those of each target; none: nothing is converted."""
    labels: Labels
    """[N]"""
    classes: tuple[str, ...]


@dataclass(frozen=True)
class DrawnConversions:
    """Conversions made beforehand; a sample gets one of them at random."""

    converted: torch.Tensor
    """[conversions, N, 80, 80], dB."""

    def __call__(self, log_mel: torch.Tensor, rows: NDArray[np.int64], random: torch.Generator) -> torch.Tensor:
        """See `SegmentConverter`."""
        drawn = torch.randint(len(self.converted), (len(rows),), generator=random)
        return self.converted[drawn, torch.from_numpy(rows)].float()


def network_settings(epochs: int, seed: int, converted_share: float = 0.5) -> SecSettings:
    """Return those of `train-sec --preset cpu`, stretched or shortened, in the fastest precision."""
    preset = SEC_PRESETS["cpu"]
    update = {"epochs": epochs, "learning_rate_epochs": max(1, round(preset.learning_rate_epochs * epochs / 30))}
    update |= {"seed": seed, "converted_share": converted_share, "precision": Precision.BF16, "batch_size": 32}
    return SecSettings.model_validate(preset.model_dump() | update)


def train_network(
    lesson: Lesson,
    settings: SecSettings,
    parts: NetworkParts | None = None,
    alterations: SampleAlterations | None = None,
) -> torch.nn.Module:
    """Train the small network of `umc train-sec` and return it after the last step."""
    segments = SecSegments(lesson.given.astype(np.float16), lesson.labels)
    network = SecNetworkSettings(
        backbone=settings.backbone,
        classes=lesson.classes,
        mean_db=float(lesson.given.mean()),
        std_db=float(lesson.given.std()),
        source="source",
        method="none",
        parts=parts or NetworkParts(),
    )
    converter = None
    if len(lesson.converted):
        converter = DrawnConversions(torch.from_numpy(np.stack([one.astype(np.float16) for one in lesson.converted])))
    batches = TrainingBatches(
        segments,
        len(lesson.classes),
        settings.batch_size,
        settings.seed,
        alterations or SampleAlterations(),
        converter,
        settings.converted_share,
    )
    training = SecTraining(settings, network, batches, segments, _CPU)
    for index in range(settings.epochs * batches.per_epoch):
        training.step(index)
    return training.network


def network_f1(network: torch.nn.Module, heard: Levels, labels: Labels, n_classes: int) -> float:
    """Return the macro F1 of a network on recordings of one device. Shape: [N, 80, 80] dB, [N]."""
    logits = predict_logits(network, heard.astype(np.float16), _CPU, batch_size=256)
    return score_device(labels, logits.argmax(dim=1).numpy(), n_classes).macro_f1


class StridedNetwork(nn.Module):
    """The backbone `strided` with its normalization, its convolutions in bf16.

    Scores on three microphones stop moving after some 25 epochs, a tenth of the time that the backbone `cnn` takes for
    them.
    """

    def __init__(self, n_classes: int, mean_db: float, std_db: float) -> None:
        """`mean_db`, `std_db`: of what is learned from."""
        super().__init__()
        self.mean_db, self.std_db = mean_db, std_db
        backbone = build_backbone("strided", n_classes)
        self.stages, self.output = backbone.stages, backbone.output

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Return the logits. Shape: [B, 80, 80] dB -> [B, n_classes]."""
        x = ((log_mel - self.mean_db) / self.std_db).unsqueeze(1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            for stage in self.stages:
                x = stage(x)
        x = x.float()
        logits: torch.Tensor = self.output(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1).mean(dim=2))
        return logits


def train_strided(lesson: Lesson, epochs: int, seed: int) -> StridedNetwork:
    """Train the strided network: AdamW, a rate that falls from 3e-3 along half a cosine, half of all samples converted.

    Classes weigh the same. Levels are rounded to float16, as in shards. The weights after the last step are returned.
    """
    given = lesson.given.astype(np.float16).astype(np.float32)
    converted = [one.astype(np.float16) for one in lesson.converted]
    random = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StridedNetwork(len(lesson.classes), float(given.mean()), float(given.std()))
    network.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    weights = class_weights(lesson.labels, len(lesson.classes))
    labels = torch.from_numpy(lesson.labels)
    starts = range(0, len(labels), _STRIDED_BATCH)
    for epoch in range(epochs):
        order = random.permutation(len(labels))
        for step, first in enumerate(starts, start=epoch * len(starts)):
            rows = order[first : first + _STRIDED_BATCH]
            batch = given[rows]
            if converted:
                for place in np.flatnonzero(random.random(len(rows)) < 0.5):
                    batch[place] = converted[random.integers(len(converted))][rows[place]]
            done = step / (epochs * len(starts))
            for group in optimiser.param_groups:
                group["lr"] = _STRIDED_RATE * min(1.0, (step + 1) / len(starts)) * 0.5 * (1 + np.cos(np.pi * done))
            loss = F.cross_entropy(network(torch.from_numpy(batch)), labels[rows], weight=weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network


def regression_f1(lesson: Lesson, heard: Sequence[Levels], labels: Labels) -> list[float]:
    """Return the macro F1 of a logistic regression on the mean and the deviation of every band, for each device."""
    everything = [lesson.given, *lesson.converted]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(np.concatenate([_statistics(one) for one in everything]), np.tile(lesson.labels, len(everything)))
    return [score_device(labels, model.predict(_statistics(one)), len(lesson.classes)).macro_f1 for one in heard]


def _statistics(log_mel: Levels) -> Levels:
    """Shape: [N, 80, 80] -> [N, 160]."""
    log_mel = log_mel.astype(np.float32, copy=False)  # sums of squares in float16 overflow
    return np.concatenate([log_mel.mean(axis=2), log_mel.std(axis=2)], axis=1)
