"""What a SEC method that alters training data or the network is, and what it is given.

Randomness: an augmentation draws everything from the generator that it is called with (on the CPU, wherever the data
are), so equal generators give equal results, whatever else runs and on however many workers. No input is changed in
place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, SAMPLE_RATE_HZ
from umc_cli.config import Settings

MethodKind = Literal["waveform", "spectrogram", "network part"]

Probability = Annotated[float, Field(ge=0, le=1)]
"""Share of the samples that an augmentation alters, each decided on its own; the others stay as they are."""


class WaveformAugmentation(Protocol):
    """Alters segments before their spectrogram is made."""

    def __call__(self, waveforms: Tensor, random: torch.Generator) -> Tensor:
        """Return altered segments. Shape: [B, n] -> [B, n] float32, full scale 1, not clipped."""
        ...


class SpectrogramAugmentation(Protocol):
    """Alters spectrograms and, where it must, their targets."""

    def __call__(self, log_mel: Tensor, targets: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return altered spectrograms and targets.

        Shape: log_mel [B, bands, frames] in dB re full scale, before normalisation; targets [B, C], soft
        (floating point, one probability per class) -> the same.
        """
        ...


@runtime_checkable
class RandomNetworkPart(Protocol):
    """A network part that draws random numbers while it trains."""

    random: torch.Generator | None
    """On the CPU; the trainer sets it. None: torch's global generator."""


def set_random(network: nn.Module, random: torch.Generator | None) -> None:
    """Let all parts of `network` that draw random numbers draw them from `random`."""
    for part in network.modules():
        if isinstance(part, RandomNetworkPart):
            part.random = random


@dataclass(frozen=True)
class AugmentationMaterial:
    """What methods may know of the training data and of devices."""

    responses_db: NDArray[np.float64]
    """[n, 128] frequency responses of known devices over mel bands, dB; n may be 0."""
    mean_db: float
    """Mean of the training segments' log-mel levels, dB re full scale."""
    std_db: float
    """Standard deviation of the same, dB."""
    source_response_db: NDArray[np.float64] | None = None
    """[128] response of the device that recorded the training segments, dB, where it is known."""
    sample_rate_hz: int = SAMPLE_RATE_HZ
    """Of the waveforms."""
    shape: tuple[int, int] = (LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)
    """Mel bands and frames of the spectrograms."""


@dataclass(frozen=True)
class AugmentationSpec:
    """A method as the dict of methods lists it; exactly one of the three `build_*` is set."""

    summary: str
    """One line for people who choose."""
    settings: type[Settings]
    build_waveform: Callable[[Any, AugmentationMaterial], WaveformAugmentation] | None = None
    """From its settings and the material."""
    build_spectrogram: Callable[[Any, AugmentationMaterial], SpectrogramAugmentation] | None = None
    build_network_part: Callable[[Any, AugmentationMaterial], nn.Module] | None = None
    """Returns a module for feature maps: for the network's input and, where its paper says so, after its stages.

    Shape: [B, C, F, T] -> [B, C, F, T], any C, F and T.
    """
    after_stages: bool = False
    """The network part acts after every stage of the network too, not only at its input."""

    def __post_init__(self) -> None:
        builders = (self.build_waveform, self.build_spectrogram, self.build_network_part)
        if sum(build is not None for build in builders) != 1:
            raise ValueError("set exactly one of build_waveform, build_spectrogram and build_network_part")

    @property
    def kind(self) -> MethodKind:
        """What the method works on."""
        if self.build_waveform:
            return "waveform"
        return "spectrogram" if self.build_spectrogram else "network part"
