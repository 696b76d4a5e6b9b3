"""What phones do to a recording after the microphone: each stage a function on samples at 22,050 Hz.

Simple forms of what makers do not publish: they have the effect, not the sound, of any phone.
"""

import io
from typing import Annotated, Literal

import numpy as np
import scipy.ndimage
import scipy.signal
import soundfile
import soxr
from numpy.typing import NDArray
from pydantic import Field

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.config import Settings

Samples = NDArray[np.float64]

_BLOCK_SAMPLES = 64
"""Gain control and gate hear and act every 2.9 ms."""
_STFT_SAMPLES, _STFT_HOP = 512, 256
_NOISE_PERCENTILE = 15
_SMOOTHED_FRAMES = 3

CODEC_RATES_HZ = {"gsm": 8_000, "g721": 8_000, "opus": 16_000, "vorbis": SAMPLE_RATE_HZ}
"""At which rate each codec works here."""
_CODEC_FORMATS = {
    "gsm": ("WAV", "GSM610"),
    "g721": ("AU", "G721_32"),
    "opus": ("OGG", "OPUS"),
    "vorbis": ("OGG", "VORBIS"),
}
_VARIABLE = ("opus", "vorbis")


class GainControl(Settings):
    """A compressor: above the threshold the level rises by 1 / ratio dB per dB. Quiet sounds are left alone."""

    threshold_dbfs: Annotated[float, Field(le=0)]
    ratio: Annotated[float, Field(gt=1)]
    attack_s: Annotated[float, Field(gt=0)]
    release_s: Annotated[float, Field(gt=0)]


class MultiBandGainControl(Settings):
    """A compressor for each of three bands."""

    edges_hz: tuple[float, float]
    bands: tuple[GainControl, GainControl, GainControl]


class NoiseGate(Settings):
    """What lies below the threshold is lowered."""

    threshold_dbfs: Annotated[float, Field(le=0)]
    range_db: Annotated[float, Field(gt=0)]
    """By how much the gate lowers when it is closed."""
    attack_s: Annotated[float, Field(gt=0)]
    release_s: Annotated[float, Field(gt=0)]


class NoiseSuppression(Settings):
    """Spectral subtraction: what is steady is lowered, frequency by frequency."""

    oversubtraction: Annotated[float, Field(gt=0)]
    """How many times the noise's power is taken off."""
    most_db: Annotated[float, Field(gt=0)]
    """Largest reduction of a frequency."""


class Codec(Settings):
    """A lossy codec, there and back."""

    name: Literal["gsm", "g721", "opus", "vorbis"]
    quality: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0 the lowest bit rate; `gsm` and `g721` have one only."""


def controlled(recorded: Samples, control: GainControl) -> Samples:
    """Return the recording with its level controlled. Shape: [n]."""
    over_db = np.maximum(_block_levels_dbfs(recorded) - control.threshold_dbfs, 0)
    return recorded * _gain(over_db * (1 - 1 / control.ratio), len(recorded), control.attack_s, control.release_s)


def controlled_in_bands(recorded: Samples, control: MultiBandGainControl) -> Samples:
    """Return the recording with the level of three bands controlled apart; without control they add up to it."""
    rest, bands = recorded, []
    for edge_hz in control.edges_hz:
        # There and back: without a phase of its own, what is left over holds little of the band.
        low = scipy.signal.sosfiltfilt(scipy.signal.butter(2, edge_hz, fs=SAMPLE_RATE_HZ, output="sos"), rest)
        bands.append(low)
        rest = rest - low
    parts = [controlled(band, one) for band, one in zip([*bands, rest], control.bands, strict=True)]
    return np.asarray(sum(parts))


def gated(recorded: Samples, gate: NoiseGate) -> Samples:
    """Return the recording with its quiet stretches lowered. The gate opens as fast as it closes slowly."""
    is_quiet = _block_levels_dbfs(recorded) < gate.threshold_dbfs
    # The reduction rises as the gate closes: that is the gate's release, and its fall the attack.
    return recorded * _gain(np.where(is_quiet, gate.range_db, 0.0), len(recorded), gate.release_s, gate.attack_s)


def noise_suppressed(recorded: Samples, suppression: NoiseSuppression) -> Samples:
    """Return the recording with what is steady in it lowered. Shape: [n].

    The noise is the 15th percentile over time of each frequency's power, as if the phone had listened for a while.
    """
    if len(recorded) < _STFT_SAMPLES:
        return recorded
    stft = scipy.signal.stft(recorded, nperseg=_STFT_SAMPLES, noverlap=_STFT_SAMPLES - _STFT_HOP)[2]
    power = scipy.ndimage.uniform_filter1d(np.abs(stft) ** 2, _SMOOTHED_FRAMES, axis=1, mode="nearest") + 1e-20
    noise = np.percentile(power, _NOISE_PERCENTILE, axis=1, keepdims=True)
    least = 10 ** (-suppression.most_db / 10)
    gain = np.sqrt(np.maximum(1 - suppression.oversubtraction * noise / power, least))
    cleaned = scipy.signal.istft(stft * gain, nperseg=_STFT_SAMPLES, noverlap=_STFT_SAMPLES - _STFT_HOP)[1]
    return np.asarray(cleaned[: len(recorded)])


def band_limited(recorded: Samples, rate_hz: float) -> Samples:
    """Return the recording as it comes back from a file of a lower rate: nothing above half of that. Shape: [n]."""
    resampled = soxr.resample(recorded, SAMPLE_RATE_HZ, rate_hz, quality="HQ")
    return _of_length(soxr.resample(resampled, rate_hz, SAMPLE_RATE_HZ, quality="HQ"), len(recorded))


def coded(recorded: Samples, codec: Codec) -> Samples:
    """Return the recording encoded and decoded, in step with what it was. Shape: [n]."""
    rate_hz = CODEC_RATES_HZ[codec.name]
    format_name, subtype = _CODEC_FORMATS[codec.name]
    resampled = (
        soxr.resample(recorded, SAMPLE_RATE_HZ, rate_hz, quality="HQ") if rate_hz != SAMPLE_RATE_HZ else recorded
    )
    level = {"compression_level": 1 - codec.quality} if codec.name in _VARIABLE else {}
    with io.BytesIO() as file:
        soundfile.write(file, resampled.clip(-1, 1), rate_hz, format=format_name, subtype=subtype, **level)
        file.seek(0)
        back = soundfile.read(file, dtype="float64")[0]
    if rate_hz != SAMPLE_RATE_HZ:
        back = soxr.resample(back, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return _of_length(back, len(recorded))


def _of_length(samples: Samples, n: int) -> Samples:
    return np.pad(samples[:n], (0, max(0, n - len(samples))))


def _block_levels_dbfs(recorded: Samples) -> Samples:
    """Return the level of every block. Shape: [n] -> [blocks], dB re full scale."""
    n_blocks = -(-len(recorded) // _BLOCK_SAMPLES)
    padded = np.zeros(n_blocks * _BLOCK_SAMPLES)
    padded[: len(recorded)] = recorded
    power = np.square(padded.reshape(n_blocks, _BLOCK_SAMPLES)).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)))


def _gain(wanted_db: Samples, n_samples: int, rise_s: float, fall_s: float) -> Samples:
    """Return the gain for every sample, [n]: a reduction in dB that follows what each block wants, with two times."""
    block_s = _BLOCK_SAMPLES / SAMPLE_RATE_HZ
    rise, fall = (float(1 - np.exp(-block_s / time)) for time in (rise_s, fall_s))
    reduction_db = np.empty(len(wanted_db))
    now = 0.0
    for index, wanted in enumerate(wanted_db.tolist()):
        now += (rise if wanted > now else fall) * (wanted - now)
        reduction_db[index] = now
    centres = (np.arange(len(wanted_db)) + 0.5) * _BLOCK_SAMPLES
    gain: Samples = 10 ** (-np.interp(np.arange(n_samples), centres, reduction_db) / 20)
    return gain
