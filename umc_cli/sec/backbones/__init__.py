"""Classifiers of log-mel segments, by name. To add one, see docs/extending.md."""

from collections.abc import Callable

import torch
from torch import nn

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.errors import SettingsError, guess
from umc_cli.sec.backbones import cnn, strided, torchvision_classifier

StageNorm = Callable[[], nn.Module]
"""Makes what a method wants after every stage of a network (`residual-norm`, `rfn`)."""


BackboneBuilder = Callable[[int, StageNorm | None], nn.Module]
"""From the number of classes and the stage norm (None leaves the network as published) makes a network.

Shape of the network: [B, 1, F, T] without unit -> [B, n_classes] logits; F and T are 80, or of features of one's own.
"""

PAPERS_SHAPE = (LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)


BACKBONES: dict[str, BackboneBuilder] = {
    "resnet50": torchvision_classifier.builder("resnet50"),
    "cnn": cnn.Cnn,
    "strided": strided.Strided,
}
"""The paper's, and two small ones for CPUs. Any other classifier of torchvision is found by its name."""


def build_backbone(
    name: str, n_classes: int, stage_norm: StageNorm | None = None, shape: tuple[int, int] = PAPERS_SHAPE
) -> nn.Module:
    """Return an untrained network for `n_classes`, with one input channel. `shape`: mel bands and frames of a segment.

    Raises:
        SettingsError: no such network, or it does not take segments of this size.
    """
    if name in BACKBONES or name in torchvision_classifier.names():
        network = BACKBONES.get(name, torchvision_classifier.builder(name))(n_classes, stage_norm)
        _check_takes(name, network, shape)
        return network
    guessed = guess(name, (*BACKBONES, *torchvision_classifier.names()))
    raise SettingsError(
        f"unknown backbone {name!r}",
        f"{guessed}known backbones: {', '.join(BACKBONES)}, and the classifiers of torchvision.models",
    )


def _check_takes(name: str, network: nn.Module, shape: tuple[int, int]) -> None:
    was_training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(1, 1, *shape))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise SettingsError(
            f"backbone {name!r} does not take segments of {shape[0]} x {shape[1]}: {error}",
            "use resnet50, cnn or another one",
        ) from error
    network.train(was_training)
    if not isinstance(logits, torch.Tensor):
        raise SettingsError(f"backbone {name!r} is not a plain classifier", "use resnet50, cnn or another one")
