"""A waveform of the source is given the levels that a converter decided on.

Every bin of the source's spectrum keeps its phase and is scaled; where the source has nothing to scale, noise is added.
Bands and windows overlap, so the result is measured and corrected a few times.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from umc_cli.audio.log_mel import level_db, mel_power
from umc_cli.audio.log_mel_settings import FLOOR_DB, LOG_MEL_SETTINGS
from umc_cli.conversion.waveforms.spectrum import bands_to_bins, power, spectrum, waveform, white_mel_power

_ROUNDS = 4
_MOST_CORRECTION_DB = 24.0
_FILTER_ALONE_DB = 0.01
"""Nearer to the difference of the responses, a band is filtered and not corrected."""
_SCALED_AT_MOST_DB = 6.0
"""Beyond the difference of the responses; what is missing up to the target's noise floor is noise."""
_SCALED_AT_ALL_DB = 20.0
"""Beyond the difference of the responses, whatever the level."""
_STEADY_FRAMES = 40
"""As many as from one segment to the next, so that a segment's own pattern is averaged away."""
_STEADY_DB = 0.25
"""Standard deviation of a level over so many frames below which its gain does not move either."""


@dataclass(frozen=True)
class KnownTarget:
    """What is known of a source and a target beside what the converter says."""

    response_db: Tensor
    """[513]: difference of the responses and levels at the bins, target minus source; zeros where it is not known."""
    band_response_db: Tensor
    """[80]: the same, as the converters see it."""
    floor: Tensor | None
    """[80]: power of the target's noise floor, if it is known."""


@dataclass(frozen=True)
class Source:
    """A part of a recording: one frame a row."""

    spectra: Tensor
    """[n, 513] complex64."""
    power: Tensor
    """[n, 513]."""
    levels_db: Tensor
    """[n, 80], never below -100."""
    noise: Tensor
    """[n, 513] complex64: the spectra of white noise of power 1."""
    reachable: Tensor
    """[80]: whether the recording's sample rate reaches the band."""


@dataclass(frozen=True)
class Followed:
    """What came of it."""

    samples: Tensor
    """[256 (n - 1) + 1024]"""
    edge_gain: Tensor
    """[n]: factor of the source at the edge of its band."""
    edge_noise: Tensor
    """[n]: factor of the noise there."""


def source_of(samples: Tensor, noise: Tensor, reachable: Tensor) -> Source:
    """Return what a converter needs to know of a recording, and the noise of the same length."""
    spectra = spectrum(samples)
    bins = power(spectra)
    return Source(spectra, bins, level_db(mel_power(bins)), spectrum(noise), reachable)


def follow(source: Source, wanted_db: Tensor, known: KnownTarget, edge_bin: int) -> Followed:
    """Return the waveform with these levels. Shape: [n, 80] dB. `edge_bin`: what goes on beyond the band.

    A band that only the difference of the responses changes is filtered with it: what it holds keeps its shape.
    """
    response = torch.pow(10, known.response_db / 20)
    equal_db = (source.levels_db + known.band_response_db).clamp_min(FLOOR_DB)
    filtered_db = level_db(mel_power(source.power * response.square()))
    filtered_db = torch.where(source.levels_db > FLOOR_DB, filtered_db, equal_db)
    beyond_db = wanted_db - equal_db
    beyond_db = _steady(beyond_db, source.levels_db) * source.reachable
    wanted_db = filtered_db + beyond_db
    scaled, noise = _shared(wanted_db, filtered_db, known.floor)
    gain = response * _factor(10 * scaled.log10() @ bands_to_bins())
    noise_gain = ((noise / white_mel_power()) @ bands_to_bins()).sqrt_()
    spectra = gain * source.spectra + noise_gain * source.noise
    edge = torch.ones(len(gain))
    if bool((is_more := beyond_db.abs() > _FILTER_ALONE_DB).any()):
        spectra, correction_db = _corrected(spectra, wanted_db, is_more & (wanted_db > FLOOR_DB))
        edge = _factor(correction_db @ bands_to_bins()[:, edge_bin])
    return Followed(waveform(spectra), gain[:, edge_bin] * edge, noise_gain[:, edge_bin] * edge)


def _corrected(spectra: Tensor, wanted_db: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Return spectra whose waveform comes near the wanted levels, and what was corrected in the bands, in dB.

    Each round goes on from the spectra that the waveform has (Griffin and Lim, IEEE TASSP 32(2), 1984): phases may
    move. With phases kept, neighbouring frames of a narrow band cannot get levels of their own.
    """
    correction_db = torch.zeros_like(wanted_db)
    for _ in range(_ROUNDS):
        spectra = spectrum(waveform(spectra))
        missing_db = (wanted_db - level_db(mel_power(power(spectra)))) * where
        corrected_db = (correction_db + missing_db).clamp_(-_MOST_CORRECTION_DB, _MOST_CORRECTION_DB)
        spectra = spectra * _factor((corrected_db - correction_db) @ bands_to_bins())
        correction_db = corrected_db
    return spectra, correction_db


def _factor(gain_db: Tensor) -> Tensor:
    """Return a gain in dB as a factor of the amplitude."""
    return torch.exp(gain_db * (math.log(10) / 20))


def _shared(wanted_db: Tensor, filtered_db: Tensor, floor: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return how much the filtered source's power is scaled, and the power of the noise. Shape: [n, 80] each."""
    wanted, filtered = (torch.pow(10, levels / 10) for levels in (wanted_db, filtered_db))
    noise = torch.zeros_like(wanted)
    if floor is not None:
        noise = (wanted - filtered * 10 ** (_SCALED_AT_MOST_DB / 10)).clamp_min_(0).minimum(floor)
    needed = ((wanted - noise) / filtered).clamp_min_(LOG_MEL_SETTINGS.power_floor)
    scaled = needed.clamp_max(10 ** (_SCALED_AT_ALL_DB / 10))
    return scaled, noise + (needed - scaled) * filtered


def _steady(gain_db: Tensor, levels_db: Tensor) -> Tensor:
    """Return gains that stand still where the source's level does. Shape: [n, 80] both."""
    mean_db = _moving_mean(gain_db)
    levels_db = levels_db - levels_db.mean(dim=0)  # small numbers, so that their squares keep what differs
    variance = (_moving_mean(levels_db.square()) - _moving_mean(levels_db).square()).clamp_min_(0)
    return torch.lerp(mean_db, gain_db, variance / (variance + _STEADY_DB**2))


def _moving_mean(values: Tensor) -> Tensor:
    """Return the mean over `_STEADY_FRAMES` frames around each; at the ends over those that are there."""
    padded = functional.pad(values.T[None], (_STEADY_FRAMES // 2, _STEADY_FRAMES // 2 - 1), mode="constant")
    ones = functional.pad(torch.ones(1, 1, len(values)), (_STEADY_FRAMES // 2, _STEADY_FRAMES // 2 - 1))
    return (functional.avg_pool1d(padded, _STEADY_FRAMES, 1) / functional.avg_pool1d(ones, _STEADY_FRAMES, 1))[0].T
