"""`room-reverb`: convolution with synthetic room impulse responses.

A direct sound, and 2.5 ms after it a tail of Gaussian noise that decays exponentially, by 60 dB in RT60 (Polack's
model: J.-D. Polack, "La transmission de l'energie sonore dans les salles", 1988; Moorer, "About this reverberation
business", Computer Music Journal 3(2), 1979). One of the rivals in the paper's predecessor [11]; neither gives its
rooms. pyroomacoustics' image sources were tried and left: a room takes up to 2 s where this takes 1 ms, and its decay
missed the RT60 asked for by half.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.config import Range, Settings
from umc_cli.sec.augmentations.batch_convolution import convolve_each
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_chosen, draw_uniform

_TAIL_STARTS_S = 0.0025
"""What comes within 2.5 ms counts as direct sound (Zahorik, JASA 111(4), 2002)."""
_SHORTEST_S = 0.01
"""A decay faster than this leaves no tail after 2.5 ms."""


def _long_enough(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] < _SHORTEST_S:
        raise ValueError(f"must not be below {_SHORTEST_S} s")
    return limits


class RoomReverbSettings(Settings):
    """Settings of `room-reverb`."""

    probability: Probability = 0.5
    rt60_s: Annotated[Range, AfterValidator(_long_enough)] = (0.2, 0.8)
    """Time in which the tail decays by 60 dB, in seconds: from a furnished room to a large classroom."""
    direct_to_reverberant_db: Range = (0.0, 12.0)
    """Energy of the direct sound over energy of the tail, dB: a phone within a few steps of the source."""


@dataclass(frozen=True)
class RoomReverb:
    """Draws a room for every segment."""

    settings: RoomReverbSettings
    sample_rate_hz: int = SAMPLE_RATE_HZ

    def __call__(self, waveforms: Tensor, random: torch.Generator) -> Tensor:
        """See `WaveformAugmentation`. The direct sound keeps its place; a steady sound keeps its level on average."""
        chosen = draw_chosen(len(waveforms), self.settings.probability, random)
        rooms = self._draw_impulse_responses(len(chosen), waveforms.shape[1], random).to(waveforms)
        reverberant = waveforms.clone()
        reverberant[chosen] = convolve_each(waveforms[chosen], rooms)
        return reverberant

    def _draw_impulse_responses(self, n: int, n_samples: int, random: torch.Generator) -> Tensor:
        """Shape: [n, taps], of energy 1. What would come after the end of the segment is left out."""
        rt60_s = draw_uniform(n, self.settings.rt60_s, random)[:, None]
        ratio_db = draw_uniform(n, self.settings.direct_to_reverberant_db, random)[:, None]
        tail_starts = round(_TAIL_STARTS_S * self.sample_rate_hz)
        n_taps = min(tail_starts + round(self.settings.rt60_s[1] * self.sample_rate_hz), n_samples)
        seconds = torch.arange(n_taps - tail_starts) / self.sample_rate_hz
        tail = torch.randn(n, len(seconds), generator=random)
        tail *= torch.pow(10, -3 * seconds / rt60_s)
        tail /= tail.norm(dim=1, keepdim=True)
        tail_energy = 1 / (1 + torch.pow(10, ratio_db / 10))
        impulse_responses = torch.zeros(n, n_taps)
        impulse_responses[:, :1] = (1 - tail_energy).sqrt()
        impulse_responses[:, tail_starts:] = tail * tail_energy.sqrt()
        return impulse_responses


def _build(settings: RoomReverbSettings, material: AugmentationMaterial) -> RoomReverb:
    return RoomReverb(settings, material.sample_rate_hz)


SPEC = AugmentationSpec(
    summary="synthetic rooms: a direct sound and a decaying tail of noise",
    settings=RoomReverbSettings,
    build_waveform=_build,
)
