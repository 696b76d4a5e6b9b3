"""Classifiers of log-mel segments, by name. To add one, see docs/extending.md."""

from collections.abc import Callable

from torch import nn

from umc_cli.errors import SettingsError, guess
from umc_cli.sec.backbones import cnn, torchvision_classifier

StageNorm = Callable[[], nn.Module]
"""Makes what a method wants after every stage of a network (`residual-norm`, `rfn`)."""


BackboneBuilder = Callable[[int, StageNorm | None], nn.Module]
"""From the number of classes and the stage norm (None leaves the network as published) makes a network.

Shape of the network: [B, 1, 80, 80] without unit -> [B, n_classes] logits.
"""


BACKBONES: dict[str, BackboneBuilder] = {
    "resnet50": torchvision_classifier.builder("resnet50"),
    "cnn": cnn.Cnn,
}
"""The paper's, and a small one for CPUs. Any other classifier of torchvision is found by its name."""


def build_backbone(name: str, n_classes: int, stage_norm: StageNorm | None = None) -> nn.Module:
    """Return an untrained network for `n_classes`, with one input channel.

    Raises:
        SettingsError: no such network, or it does not take segments of 80 x 80.
    """
    if name in BACKBONES:
        return BACKBONES[name](n_classes, stage_norm)
    if name in torchvision_classifier.names():
        return torchvision_classifier.builder(name)(n_classes, stage_norm)
    guessed = guess(name, (*BACKBONES, *torchvision_classifier.names()))
    raise SettingsError(
        f"unknown backbone {name!r}",
        f"{guessed}known backbones: {', '.join(BACKBONES)}, and the classifiers of torchvision.models",
    )
