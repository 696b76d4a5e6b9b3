"""`dir`: convolution with the impulse responses of known devices.

Device impulse response augmentation (Morocutti, Schmid, Koutini, Widmer: "Device-robust acoustic scene classification
via impulse response augmentation", EUSIPCO 2023), probability 0.4 as in the authors' code. They convolve with measured
impulse responses; a device record holds the magnitude over 128 mel bands, so the filter is the minimum-phase one with
that magnitude: the phase, which no log-mel spectrogram shows, is not the device's.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.config import Settings
from umc_cli.errors import SettingsError
from umc_cli.response.device import N_BANDS
from umc_cli.response.frequency_response import Curve, band_centres_hz, band_level_db
from umc_cli.response.minimum_phase import minimum_phase_filter
from umc_cli.sec.augmentations.batch_convolution import convolve_each
from umc_cli.sec.augmentations.contract import AugmentationMaterial, AugmentationSpec, Probability
from umc_cli.sec.augmentations.draws import draw_chosen, draw_integers

_TAPS = 2047
"""93 ms: the narrowest mel bands, 26 Hz a flank, are told apart."""
_SHARPENINGS = 2
"""Then the bands of the library's devices are off by less than 0.15 dB."""
_QUIETEST_DB = -60.0
"""Deeper than this below its loudest band a response is not simulated."""


class DirSettings(Settings):
    """Settings of `dir`."""

    probability: Probability = 0.4
    subtract_source: bool = False
    """Filter by target minus source, not by the target's response on top of the source's, as the paper does."""


@dataclass(frozen=True)
class DeviceResponse:
    """Lets segments pass through the filters of devices, all equally likely."""

    settings: DirSettings
    filters: Tensor
    """[n devices, taps] float32."""

    def __call__(self, waveforms: Tensor, random: torch.Generator) -> Tensor:
        """See `WaveformAugmentation`. The filters add no delay beyond their own phase."""
        chosen = draw_chosen(len(waveforms), self.settings.probability, random)
        devices = draw_integers(torch.full((len(chosen),), len(self.filters) - 1), random)
        filtered = waveforms.clone()
        filtered[chosen] = convolve_each(waveforms[chosen], self.filters[devices].to(waveforms))
        return filtered


def device_filter(response_db: NDArray[np.float64], sample_rate_hz: int = SAMPLE_RATE_HZ) -> NDArray[np.float64]:
    """Return the minimum-phase FIR filter with a response over 128 mel bands. Shape: [128] dB -> [2047 at 22,050 Hz].

    0 dB is gain 1. Between the band centres the response is linear in dB, beyond them constant.
    """
    wanted_db = np.maximum(response_db, response_db.max() + _QUIETEST_DB)
    # A band's level is the mean power across the band, so peaks and notches must be a little sharper at its centre.
    at_centres_db = wanted_db.copy()
    for _ in range(_SHARPENINGS):
        at_centres_db += wanted_db - band_level_db(Curve(band_centres_hz(), at_centres_db))
    taps = 2 * round(_TAPS * sample_rate_hz / SAMPLE_RATE_HZ / 2 - 0.5) + 1
    frequency_hz = np.linspace(0, sample_rate_hz / 2, taps + 2)
    gain = 10 ** (np.interp(frequency_hz, band_centres_hz(), at_centres_db) / 20)
    return minimum_phase_filter(frequency_hz, gain, taps)


def _build(settings: DirSettings, material: AugmentationMaterial) -> DeviceResponse:
    responses_db = np.asarray(material.responses_db, np.float64)
    if not responses_db.size:
        raise SettingsError(
            "dir needs the frequency response of at least one known device; there is none",
            "add device records (umc measure-ir, umc devices), or use filter-augment, which needs none",
        )
    if settings.subtract_source:
        if material.source_response_db is None:
            raise SettingsError(
                "dir cannot subtract the response of the source: it is unknown",
                "measure the source device (umc measure-ir), or set subtract_source to false",
            )
        responses_db = responses_db - material.source_response_db
    if responses_db.ndim != 2 or responses_db.shape[1] != N_BANDS or not np.isfinite(responses_db).all():
        raise SettingsError(
            f"dir takes finite responses of {N_BANDS} bands each; these have the shape {responses_db.shape}",
            "make the device records again, with this version of umc",
        )
    filters = np.array(
        [device_filter(response_db, material.sample_rate_hz) for response_db in responses_db], np.float32
    )
    return DeviceResponse(settings, torch.from_numpy(filters))


SPEC = AugmentationSpec(
    summary="filters of known devices' frequency responses",
    settings=DirSettings,
    build_waveform=_build,
)
