"""A recording device whose every property is known: what it makes of a sound can be computed.

    sound -> microphone (minimum-phase filter, sensitivity) -> + its own noise -> high-pass -> noise suppression
          -> gain control in bands -> gain control -> gate -> soft clipping -> low-pass -> lower rate
          -> converter's full scale -> codec

Every stage but the first two may be missing. The device's noise is stationary, and what it does is what
`phone_processing` does: figures reached on such devices say how well a converter undoes these mechanisms, not how well
it does on a phone. Where a device stands, and what else sounds there, is for `scene`.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray
from pydantic import Field

from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import FLOOR_DB, LOG_MEL_SETTINGS, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.mel_scale import at_mel_bands
from umc_cli.config import Settings
from umc_cli.response.device import N_BANDS, Bands, Device
from umc_cli.response.frequency_response import REFERENCE_HZ, Curve, band_centres_hz, band_response_db
from umc_cli.response.minimum_phase import minimum_phase_filter
from umc_cli.simulation.phone_processing import (
    CODEC_RATES_HZ,
    Codec,
    GainControl,
    MultiBandGainControl,
    NoiseGate,
    NoiseSuppression,
    band_limited,
    coded,
    controlled,
    controlled_in_bands,
    gated,
    noise_suppressed,
)

Waveform = NDArray[np.float32]

FULL_SCALE_SENSITIVITY_DBFS = -26.0
"""Sensitivity of a device that leaves the level of the sounds as it is: a common one of digital microphones."""

_TAPS = 1023
_QUIETEST_DB = -60.0
"""Deeper than this a response is not simulated."""
_SILENT_SEGMENTS = 8


class SimulatedDeviceSettings(Settings):
    """All that decides what a simulated device records; None switches a stage off."""

    id: str
    microphone_db: Bands
    """Response of the microphone over 128 mel bands, in dB; any reference."""
    sensitivity_db: float
    """Gain at 1 kHz on the recordings that are played to it."""
    noise_level_dbfs: float
    """RMS of the device's own noise."""
    noise_slope_db_per_octave: float
    """Colour of the noise: 0 white, -3 pink."""
    high_pass_hz: Annotated[float, Field(gt=0, lt=SAMPLE_RATE_HZ / 2)] | None = None
    """Corner of a second-order filter."""
    noise_suppression: NoiseSuppression | None = None
    gain_control_in_bands: MultiBandGainControl | None = None
    gain_control: GainControl | None = None
    noise_gate: NoiseGate | None = None
    clip_at: Annotated[float, Field(gt=0)] | None = None
    """Amplitude that soft clipping (tanh) never exceeds; full scale is 1."""
    low_pass_hz: Annotated[float, Field(gt=0, lt=SAMPLE_RATE_HZ / 2)] | None = None
    rate_hz: Annotated[float, Field(ge=4_000, le=SAMPLE_RATE_HZ)] | None = None
    """Sample rate of its files, where that is lower than ours."""
    codec_quality: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of Vorbis: 0 the lowest bit rate."""
    codec: Codec | None = None
    """Another codec, in the place of Vorbis."""


@dataclass(frozen=True)
class SimulatedDevice:
    """A device ready to record."""

    settings: SimulatedDeviceSettings
    microphone: NDArray[np.float64]
    """[taps] impulse response, with its sensitivity."""
    noise_filter: NDArray[np.float64]
    """[taps] impulse response that colours white noise of RMS 1."""
    low_pass: NDArray[np.float64] | None
    """Second-order sections."""
    high_pass: NDArray[np.float64] | None
    """Second-order sections."""
    record: Device
    """What a measurement of the device in quiet, below its gain control's threshold, would have found."""

    def record_sound(self, sound: Waveform, random: np.random.Generator) -> Waveform:
        """Return what the device records of `sound`, sample by sample in step with it.

        Shape: [n] -> [n], full scale 1. `random` draws the device's noise.
        """
        noise = random.standard_normal(len(sound) + _TAPS - 1, dtype=np.float32)
        recorded = _filtered(sound, self.microphone) + scipy.signal.oaconvolve(noise, self.noise_filter, "valid")
        settings = self.settings
        if self.high_pass is not None:
            recorded = scipy.signal.sosfilt(self.high_pass, recorded)
        if settings.noise_suppression:
            recorded = noise_suppressed(recorded, settings.noise_suppression)
        if settings.gain_control_in_bands:
            recorded = controlled_in_bands(recorded, settings.gain_control_in_bands)
        if settings.gain_control:
            recorded = controlled(recorded, settings.gain_control)
        if settings.noise_gate:
            recorded = gated(recorded, settings.noise_gate)
        if settings.clip_at:
            recorded = settings.clip_at * np.tanh(recorded / settings.clip_at)
        if self.low_pass is not None:
            recorded = scipy.signal.sosfilt(self.low_pass, recorded)
        if settings.rate_hz:
            recorded = band_limited(recorded, settings.rate_hz)
        digital: Waveform = recorded.clip(-1, 1).astype(np.float32)
        codec = settings.codec
        if settings.codec_quality is not None:
            codec = Codec(name="vorbis", quality=settings.codec_quality)
        return digital if codec is None else coded(digital.astype(np.float64), codec).astype(np.float32)


def build_device(settings: SimulatedDeviceSettings) -> SimulatedDevice:
    """Make the filters of a device and measure its record: response, sensitivity, noise floor."""
    microphone = minimum_phase(np.array(settings.microphone_db))
    microphone *= 10 ** ((settings.sensitivity_db - _gain_db(microphone, REFERENCE_HZ)) / 20)
    low_pass = None
    if settings.low_pass_hz:
        low_pass = scipy.signal.butter(4, settings.low_pass_hz, fs=SAMPLE_RATE_HZ, output="sos")
    high_pass = None
    if settings.high_pass_hz:
        high_pass = scipy.signal.butter(2, settings.high_pass_hz, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
    octaves = np.log2(band_centres_hz() / REFERENCE_HZ)
    noise_filter = minimum_phase(settings.noise_slope_db_per_octave * octaves)
    noise_filter *= 10 ** (settings.noise_level_dbfs / 20) / np.sqrt(np.sum(noise_filter**2))

    frequency_hz, microphone_response = scipy.signal.freqz(microphone, worN=4096, fs=SAMPLE_RATE_HZ)
    response = np.abs(microphone_response)
    for sections in (low_pass, high_pass):
        if sections is not None:
            response = response * np.abs(scipy.signal.sosfreqz(sections, worN=4096, fs=SAMPLE_RATE_HZ)[1])
    rates_hz = [settings.rate_hz, CODEC_RATES_HZ[settings.codec.name] if settings.codec else None]
    response = np.where(frequency_hz < min(rate or SAMPLE_RATE_HZ for rate in rates_hz) / 2, response, 0)
    response_db = 20 * np.log10(np.maximum(response[1:], 10 ** (_QUIETEST_DB / 20)))
    curve = Curve(frequency_hz[1:], response_db)
    level_db = float(np.interp(REFERENCE_HZ, frequency_hz[1:], response_db))
    unmeasured = Device(
        id=settings.id,
        name=f"Simulated device {settings.id}",
        method="simulated",
        sample_rate_hz=SAMPLE_RATE_HZ,
        sensitivity_dbfs=round(FULL_SCALE_SENSITIVITY_DBFS + level_db, 2),
        trusted_range_hz=(0.0, LOG_MEL_SETTINGS.f_max_hz),
        band_centres_hz=tuple(band_centres_hz().round(1)),
        frequency_response_db=tuple(band_response_db(curve).round(2)),
    )
    device = SimulatedDevice(settings, microphone, noise_filter, low_pass, high_pass, unmeasured)
    record = unmeasured.model_copy(update={"noise_floor_db": _measured_floor(device)})
    return SimulatedDevice(settings, microphone, noise_filter, low_pass, high_pass, record)


def _measured_floor(device: SimulatedDevice) -> tuple[float, ...]:
    """Return the level of the mean power of recorded silence, [128] in dB re full scale."""
    silence = np.zeros(_SILENT_SEGMENTS * SEGMENT_SAMPLES, np.float32)
    recorded = device.record_sound(silence, np.random.default_rng(0)).reshape(_SILENT_SEGMENTS, SEGMENT_SAMPLES)
    power = torch.pow(10, log_mel(torch.from_numpy(recorded)) / 10).mean(dim=(0, 2)).numpy()
    floor_db = np.maximum(10 * np.log10(power), FLOOR_DB)
    return tuple(at_mel_bands(floor_db, N_BANDS).round(2))


def minimum_phase(bands_db: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the minimum-phase FIR filter with this response over 128 mel bands. Shape: [128] dB -> [1023].

    0 dB at 1 kHz. Bands may be off by 0.8 dB; what the device then does is measured, and stands in its record.
    """
    relative_db = np.maximum(bands_db - np.interp(REFERENCE_HZ, band_centres_hz(), bands_db), _QUIETEST_DB)
    frequency_hz = np.concatenate([[0.0], band_centres_hz(), [SAMPLE_RATE_HZ / 2]])
    gain = 10 ** (np.concatenate([relative_db[:1], relative_db, relative_db[-1:]]) / 20)
    return minimum_phase_filter(frequency_hz, gain, _TAPS)


def _gain_db(impulse_response: NDArray[np.float64], frequency_hz: float) -> float:
    response = scipy.signal.freqz(impulse_response, worN=[frequency_hz], fs=SAMPLE_RATE_HZ)[1]
    return float(20 * np.log10(np.abs(response[0])))


def _filtered(sound: Waveform, impulse_response: NDArray[np.float64]) -> NDArray[np.float64]:
    filtered: NDArray[np.float64] = scipy.signal.oaconvolve(sound, impulse_response)[: len(sound)]
    return filtered
