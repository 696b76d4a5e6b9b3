"""A classifier as a checkpoint: its weights, its classes, how it was built and what it was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from umc_cli.audio.feature_settings import FeatureSegmentSettings, SecFeatures, segment_shape
from umc_cli.config import Settings, dump_settings
from umc_cli.sec.method_parts import NetworkParts
from umc_cli.sec.network import SecNetwork
from umc_cli.training.network_checkpoint import load_weights, read_network, stored_settings, write_network

KIND = "sec"


class SecNetworkSettings(Settings):
    """What a classifier is built from; stored in its checkpoint."""

    backbone: str
    classes: tuple[str, ...] = Field(min_length=2)
    """In the order of the outputs."""
    mean_db: float = Field(allow_inf_nan=False)
    std_db: float = Field(gt=0, allow_inf_nan=False)
    source: str
    """Device whose recordings it was trained on."""
    method: str
    """As `umc train-sec --method` took it."""
    parts: NetworkParts = NetworkParts()
    """What the method put into the network."""
    features: Annotated[SecFeatures | None, Field(exclude_if=lambda features: features is None)] = None
    """What it sees; None means the paper's log-mel spectrograms, and stands in no checkpoint."""

    def build(self) -> SecNetwork:
        """Return the untrained network.

        Raises:
            SettingsError: no such backbone, or it does not take segments of this size.
        """
        return SecNetwork(
            self.backbone,
            len(self.classes),
            self.mean_db,
            self.std_db,
            self.parts.at_input(self.mean_db, self.std_db),
            self.parts.after_stages(self.mean_db, self.std_db),
            segment_shape(FeatureSegmentSettings(features=self.features)),
        )


@dataclass(frozen=True)
class TrainedSec:
    """A classifier with all that must go with it."""

    network: nn.Module
    """[B, 80, 80] dB float32 (or of `features`) -> [B, n_classes] logits; fp32, on the CPU, in evaluation mode."""
    classes: tuple[str, ...]
    source: str
    method: str
    training: dict[str, Any]
    """What the training wrote of itself: name, settings, seed, versions."""
    sha256: str
    """Of the checkpoint file."""
    features: SecFeatures | None = None
    """What it sees; None means the paper's log-mel spectrograms."""


def save_sec(path: Path, network: nn.Module, settings: SecNetworkSettings, training: Mapping[str, Any]) -> None:
    """Write a classifier, all or nothing. `training` takes plain JSON values.

    Raises:
        EnvironmentFault: the folder cannot be written, or the disk is full.
    """
    metadata = {"sec": dump_settings(settings), "training": dict(training)}
    write_network(path, KIND, network, metadata)


def load_sec(path: Path) -> TrainedSec:
    """Read a classifier.

    Raises:
        SettingsError: the file is no checkpoint of a classifier, was made for other log-mel spectrograms, or its
            weights are missing, misshapen or not finite.
    """
    checkpoint = read_network(path, KIND)
    settings = stored_settings(path, checkpoint, SecNetworkSettings, "sec")
    network = settings.build()
    load_weights(path, checkpoint, network)
    training = checkpoint.metadata.get("training", {})
    return TrainedSec(
        network, settings.classes, settings.source, settings.method, training, checkpoint.sha256, settings.features
    )
