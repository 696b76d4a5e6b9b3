"""The only place where mel settings exist.

The paper (section 4.1) gives window, hop and bands; scale, norm, power and floor are librosa's defaults.
"""

from umc_cli.config import Settings

SAMPLE_RATE_HZ = 22_050
HOP_SAMPLES = 256
N_FRAMES = 80
SEGMENT_SAMPLES = N_FRAMES * HOP_SAMPLES
"""20,480 samples = 929 ms: the paper's 930-ms segments, in whole frames."""


class LogMelSettings(Settings):
    """How a spectrogram was made; stored in every shard and checkpoint."""

    sample_rate_hz: int = SAMPLE_RATE_HZ
    n_fft: int = 1024
    hop_samples: int = HOP_SAMPLES
    n_mels: int = 80
    n_frames: int = N_FRAMES
    f_min_hz: float = 0.0
    f_max_hz: float = SAMPLE_RATE_HZ / 2
    mel_scale: str = "slaney"
    mel_norm: str = "slaney"
    power: float = 2.0
    centered: bool = True
    pad_mode: str = "constant"
    power_floor: float = 1e-10
    """Lowest power before the logarithm: -100 dB."""


LOG_MEL_SETTINGS = LogMelSettings()
FLOOR_DB = -100.0
"""10 log10 of `power_floor`: no log-mel value lies below."""
