"""`pitch-shift`: higher or lower by a few semitones, with the same duration.

One of the rivals in the paper's predecessor [11]; neither gives its range. The default spans the shifts of Salamon and
Bello, "Deep Convolutional Neural Networks and Data Augmentation for Environmental Sound Classification", IEEE SPL
24(3), 2017 (-3.5 to 3.5 semitones). Signalsmith Stretch does it (python-stretch), which keeps clicks sharp and levels
within 2 dB. torchaudio's phase vocoder was tried and left: shifting up, it lost up to 13 dB of a steady tone.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import python_stretch
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator
from torch import Tensor

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.config import Range, Settings
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_chosen, draw_uniform

_FADE_OUT_SAMPLES = 2048
"""Silence behind a segment: what the algorithm fades out at the end is this, not the segment."""


def _within_an_octave(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] < -12 or limits[1] > 12:
        raise ValueError("must lie within an octave: -12 to 12")
    return limits


class PitchShiftSettings(Settings):
    """Settings of `pitch-shift`."""

    probability: Probability = 0.5
    semitones: Annotated[Range, AfterValidator(_within_an_octave)] = (-3.5, 3.5)
    """Drawn per sample: 12 is an octave up."""


@dataclass(frozen=True)
class PitchShift:
    """Shifts each segment by an interval of its own."""

    settings: PitchShiftSettings
    sample_rate_hz: int = SAMPLE_RATE_HZ

    def __call__(self, waveforms: Tensor, random: torch.Generator) -> Tensor:
        """See `WaveformAugmentation`. Works on the CPU, 4 ms a segment."""
        chosen = draw_chosen(len(waveforms), self.settings.probability, random)
        semitones = draw_uniform(len(chosen), self.settings.semitones, random)
        shifted = waveforms.clone()
        if len(chosen):
            rows = shift_pitch(waveforms[chosen].cpu().numpy(), semitones.tolist(), self.sample_rate_hz)
            shifted[chosen] = torch.from_numpy(rows).to(waveforms)
        return shifted


def shift_pitch(
    waveforms: NDArray[np.float32], semitones: list[float], sample_rate_hz: int = SAMPLE_RATE_HZ
) -> NDArray[np.float32]:
    """Return waveforms whose frequencies are 2^(semitones / 12) times as high, within 10 cents.

    Shape: [B, n] and B numbers -> [B, n]. A waveform's result does not depend on the others.
    """
    stretch = python_stretch.Signalsmith.Stretch()
    stretch.preset(1, sample_rate_hz)
    padded = np.pad(waveforms, ((0, 0), (0, _FADE_OUT_SAMPLES)))
    shifted = np.empty_like(waveforms)
    for row, (waveform, interval) in enumerate(zip(padded, semitones, strict=True)):
        stretch.reset()
        stretch.setTransposeSemitones(interval)
        shifted[row] = np.asarray(stretch.process(waveform[None]))[0, : waveforms.shape[1]]
    return shifted


def _build(settings: PitchShiftSettings, material: AugmentationMaterial) -> PitchShift:
    return PitchShift(settings, material.sample_rate_hz)


SPEC = AugmentationSpec(
    summary="higher or lower by up to 3.5 semitones, with the same duration",
    settings=PitchShiftSettings,
    build_waveform=_build,
)
