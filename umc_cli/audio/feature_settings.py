"""What a classifier sees of a sound, where that is not the paper's spectrogram: features of one's own.

Conversion happens at 22,050 Hz and 80 bands all the same; the waveform follows it, and features are computed from that.
"""

from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError, model_validator

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS, N_FRAMES, SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.mel_scale import evenly_spaced_hz
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import Option, Settings
from umc_cli.wrong_settings import first_fault

_LONGEST_S = 60.0
_HIGHEST_RATE_HZ = 192_000
_PANEL = "Features"


class SecFeatures(Settings):
    """Log-mel features of one's own. Window (Hann), mel scale (Slaney), power and floor are the paper's spectrogram's.

    The defaults are the paper's.
    """

    sample_rate_hz: Annotated[int, Field(ge=4000, le=_HIGHEST_RATE_HZ)] = SAMPLE_RATE_HZ
    n_fft: Annotated[int, Field(ge=32, le=1 << 15)] = LOG_MEL_SETTINGS.n_fft
    hop_samples: Annotated[int, Field(ge=1)] = LOG_MEL_SETTINGS.hop_samples
    """At `sample_rate_hz`."""
    n_mels: Annotated[int, Field(ge=1, le=512)] = LOG_MEL_SETTINGS.n_mels
    f_min_hz: Annotated[float, Field(ge=0, allow_inf_nan=False)] = LOG_MEL_SETTINGS.f_min_hz
    f_max_hz: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    """None means half of the sample rate."""
    seconds: Annotated[float, Field(gt=0, le=_LONGEST_S)] = SEGMENT_SAMPLES / SAMPLE_RATE_HZ
    """Length of a segment."""

    @property
    def highest_hz(self) -> float:
        """Return the upper edge of the highest band."""
        return self.sample_rate_hz / 2 if self.f_max_hz is None else self.f_max_hz

    @property
    def n_samples(self) -> int:
        """Return the length of a segment at `sample_rate_hz`."""
        return round(self.seconds * self.sample_rate_hz)

    @property
    def read_rate_hz(self) -> int:
        """Return the rate at which segments are read, altered and converted: never below that of conversion."""
        return max(self.sample_rate_hz, SAMPLE_RATE_HZ)

    @property
    def shape(self) -> tuple[int, int]:
        """Return mel bands and frames. The last frame of a centred transform is dropped, as in the paper's."""
        return self.n_mels, -(-self.n_samples // self.hop_samples)

    @model_validator(mode="after")
    def _check(self) -> "SecFeatures":
        half_hz = self.sample_rate_hz / 2
        if self.highest_hz > half_hz:
            raise ValueError(f"mel bands up to {self.highest_hz:g} Hz lie above half of the rate, {half_hz:g} Hz")
        if self.f_min_hz >= self.highest_hz:
            raise ValueError(f"mel bands from {self.f_min_hz:g} to {self.highest_hz:g} Hz are none")
        if self.hop_samples > self.n_fft:
            raise ValueError(f"a hop of {self.hop_samples} samples skips some: a frame has {self.n_fft} (n_fft)")
        if self.n_samples < self.n_fft:
            raise ValueError(
                f"a segment of {self.seconds:g} s ({self.n_samples} samples) is shorter than a frame of {self.n_fft}"
            )
        n_empty = self._count_empty_bands()
        if n_empty:
            raise ValueError(
                f"{n_empty} of {self.n_mels} mel bands hold no bin of a transform of {self.n_fft}: "
                "take fewer bands, or a longer transform"
            )
        return self

    def _count_empty_bands(self) -> int:
        edges = evenly_spaced_hz(self.n_mels + 2, self.f_min_hz, self.highest_hz) / self.sample_rate_hz * self.n_fft
        return int(np.count_nonzero(np.floor(edges[:-2]) + 1 >= edges[2:]))


_GIVEN = Field(exclude_if=lambda value: value is None)
"""What is not given stands in no dump, so that runs of earlier versions go on."""
_OPTIONS = {
    "feature_rate": "sample_rate_hz",
    "feature_fft": "n_fft",
    "feature_hop": "hop_samples",
    "feature_mels": "n_mels",
    "feature_f_min": "f_min_hz",
    "feature_f_max": "f_max_hz",
    "feature_seconds": "seconds",
}
"""By option: the setting of `SecFeatures`."""


class FeatureOptions(Settings):
    """The options that make features of one's own; what is not given is as in the paper's spectrogram."""

    feature_rate: Annotated[int | None, _GIVEN, Option(_PANEL, default=str(SAMPLE_RATE_HZ))] = None
    """Sample rate that features are computed at, in Hz. Each of these options makes features of your own; samples are
    then converted as waveforms."""
    feature_fft: Annotated[int | None, _GIVEN, Option(_PANEL, default=str(LOG_MEL_SETTINGS.n_fft))] = None
    """Samples in a frame (n_fft; Hann window)."""
    feature_hop: Annotated[int | None, _GIVEN, Option(_PANEL, default=str(LOG_MEL_SETTINGS.hop_samples))] = None
    """Samples from one frame to the next."""
    feature_mels: Annotated[int | None, _GIVEN, Option(_PANEL, default=str(LOG_MEL_SETTINGS.n_mels))] = None
    """Mel bands."""
    feature_f_min: Annotated[float | None, _GIVEN, Option(_PANEL, default="0")] = None
    """Lower edge of the lowest mel band, in Hz."""
    feature_f_max: Annotated[float | None, _GIVEN, Option(_PANEL, default="half the rate")] = None
    """Upper edge of the highest mel band, in Hz."""
    feature_seconds: Annotated[float | None, _GIVEN, Option(_PANEL, default=f"{N_FRAMES} frames, 0.929")] = None
    """Length of a segment, in seconds. Unless --hop says otherwise, the next one begins where it ends."""

    @property
    def features(self) -> SecFeatures | None:
        """Return the features of one's own; None means the paper's, whether they were spelled out or not."""
        given = {name: getattr(self, option) for option, name in _OPTIONS.items()}
        features = SecFeatures(**{name: value for name, value in given.items() if value is not None})
        is_papers = features.model_copy(update={"f_max_hz": features.highest_hz}) == _PAPERS
        return None if is_papers else features

    @model_validator(mode="after")
    def _check_features(self) -> "FeatureOptions":
        try:
            _ = self.features
        except ValidationError as error:
            fault = first_fault(error)
            for option, name in _OPTIONS.items():
                fault = fault.replace(f"{name}:", f"--{option.replace('_', '-')}", 1)
            raise ValueError(fault) from None
        return self


_PAPERS = SecFeatures(f_max_hz=LOG_MEL_SETTINGS.f_max_hz)


class FeatureSegmentSettings(SegmentSettings):
    """Which segments a recording gives, and what features are computed from them; None means the paper's."""

    features: Annotated[SecFeatures | None, _GIVEN] = None

    @property
    def read_rate_hz(self) -> int:
        """Return the sample rate at which segments are read."""
        return self.features.read_rate_hz if self.features else SAMPLE_RATE_HZ

    @property
    def segment_samples(self) -> int:
        """Return the length of a segment at `read_rate_hz`."""
        return round(self.features.seconds * self.read_rate_hz) if self.features else SEGMENT_SAMPLES

    @property
    def hop_samples(self) -> int:
        """Return the samples from one segment to the next, at `read_rate_hz`."""
        if self.hop == SEGMENT_SAMPLES:  # no overlap
            return self.segment_samples
        return round(self.hop * self.read_rate_hz / SAMPLE_RATE_HZ)


def features_of(settings: SegmentSettings) -> SecFeatures | None:
    """Return the features that segments are for; None means the paper's."""
    return settings.features if isinstance(settings, FeatureSegmentSettings) else None


def segment_shape(settings: SegmentSettings) -> tuple[int, int]:
    """Return mel bands and frames of a segment's features."""
    features = features_of(settings)
    return features.shape if features else (LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)
