"""A small network that judges conversions: which device made a segment, or which label it has.

Trained on real recordings only. As the device probe it tells whether a converted segment passes for the target's; as
the label classifier it tells whether a segment that went there and back still holds what it held.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from umc_cli.config import Settings

N_EMBEDDING = 64


class ClassifierSettings(Settings):
    """How the network is trained. The defaults take a quarter of a minute for 1,500 segments on one processor."""

    epochs: int = Field(default=15, ge=1)
    fewest_steps: int = Field(default=200, ge=1)
    """Small sets are gone through more often, to have at least so many steps."""
    most_steps: int = Field(default=1_000, ge=1)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    """Of AdamW at the start; falls to zero along a cosine."""


DEFAULT_SETTINGS = ClassifierSettings()

STEP_S = 0.02
"""Of a processor (Zen 5, fp32), for a step with 32 segments."""


def n_steps(n_segments: int, settings: ClassifierSettings = DEFAULT_SETTINGS) -> int:
    """Return how many steps a classifier is trained for on so many segments."""
    per_epoch = math.ceil(n_segments / settings.batch_size)
    return min(max(settings.epochs * per_epoch, settings.fewest_steps), settings.most_steps)


class SpectrogramNetwork(nn.Module):
    """Three strided convolutions, the mean over time, an embedding, one output per class.

    Bands keep their places up to the embedding, so that a device's response can be told; the level stays visible.
    """

    def __init__(self, n_classes: int, mean_db: float, std_db: float) -> None:
        super().__init__()
        self.mean_db, self.std_db = mean_db, std_db
        layers: list[nn.Module] = []
        for n_in, n_out in ((1, 12), (12, 24), (24, 48)):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.embedding = nn.Linear(48 * 10, N_EMBEDDING)
        self.output = nn.Linear(N_EMBEDDING, n_classes)

    def embed(self, log_mel: Tensor) -> Tensor:
        """Shape: [B, 80, 80] dB -> [B, 64]."""
        features = self.convolutions(((log_mel - self.mean_db) / self.std_db).unsqueeze(1))  # [B, 48, 10, 10]
        embedding: Tensor = self.embedding(features.mean(dim=3).flatten(1))
        return embedding

    def classed(self, embedding: Tensor) -> Tensor:
        """Return the logits. Shape: [B, 64] -> [B, n_classes]."""
        logits: Tensor = self.output(torch.relu(embedding))
        return logits

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return the logits. Shape: [B, 80, 80] dB -> [B, n_classes]."""
        return self.classed(self.embed(log_mel))


@dataclass(frozen=True)
class SpectrogramClassifier:
    """A trained network and the names of its classes, in the order of its outputs."""

    network: SpectrogramNetwork
    classes: tuple[str, ...]


def train_classifier(
    log_mel: NDArray[np.float32], labels: Sequence[str], seed: int, settings: ClassifierSettings = DEFAULT_SETTINGS
) -> SpectrogramClassifier:
    """Train a classifier of segments. Every class counts the same, however many segments it has.

    Shape: [N, 80, 80] dB, [N]. On the CPU; the same seed gives the same weights with the same number of threads.

    Raises:
        ValueError: fewer than two classes.
    """
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise ValueError("a classifier needs at least two classes")
    numbers = torch.tensor([classes.index(label) for label in labels])
    inputs = torch.from_numpy(log_mel)
    class_weights = len(numbers) / (len(classes) * torch.bincount(numbers, minlength=len(classes)))
    steps = n_steps(len(numbers), settings)

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = SpectrogramNetwork(len(classes), float(log_mel.mean()), max(float(log_mel.std()), 1.0))
        optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < 2:  # batch normalisation needs two
                order = torch.randperm(len(numbers))
            rows, order = order[: settings.batch_size], order[settings.batch_size :]
            loss = nn.functional.cross_entropy(network(inputs[rows]), numbers[rows], weight=class_weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return SpectrogramClassifier(network.requires_grad_(False).eval(), classes)


@dataclass(frozen=True)
class Judgement:
    """What a classifier makes of segments."""

    classes: NDArray[np.str_]
    """[N] the most likely ones."""
    embedding: NDArray[np.float32]
    """[N, 64]"""


@torch.inference_mode()
def classify(classifier: SpectrogramClassifier, log_mel: NDArray[np.float32]) -> Judgement:
    """Return the most likely class of each segment and its embedding. Shape: [N, 80, 80] dB -> [N]."""
    network = classifier.network
    embeddings = [network.embed(batch) for batch in torch.split(torch.from_numpy(log_mel), 256)]
    numbers = torch.cat([network.classed(embedding).argmax(dim=1) for embedding in embeddings])
    return Judgement(np.array(classifier.classes)[numbers.numpy()], torch.cat(embeddings).numpy())
