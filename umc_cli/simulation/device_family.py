"""A wide family of simulated devices, drawn at random around measured responses.

Ranges are wider than those of any one maker's phones, so that what learns from the family learns the mechanisms.
"""

import numpy as np
from numpy.typing import NDArray

from umc_cli.response.device import N_BANDS
from umc_cli.simulation.simulated_device import GainControl, SimulatedDevice, SimulatedDeviceSettings, build_device

_SENSITIVITY_DB = (-18.0, 6.0)
_NOISE_LEVEL_DBFS = (-78.0, -52.0)
_NOISE_SLOPE_DB = (-4.0, 1.0)

_GAIN_CONTROL_SHARE = 0.55
_THRESHOLD_DBFS = (-45.0, -15.0)
_RATIO = (1.5, 10.0)
_ATTACK_S = (0.002, 0.05)
_RELEASE_S = (0.05, 1.0)

_CLIPPING_SHARE = 0.5
_CLIP_AT = (0.1, 1.0)
_LOW_PASS_SHARE = 0.3
_LOW_PASS_HZ = (3_800.0, 10_500.0)
_CODEC_SHARE = 0.15
_CODEC_QUALITY = (0.0, 0.4)

_RIPPLE_KNOTS = 12
_RIPPLE_DB = 3.0
_TILT_DB = 6.0


def draw_device(device_id: str, responses_db: NDArray[np.float64], random: np.random.Generator) -> SimulatedDevice:
    """Draw a device: a measured response, or a mixture of two, bent a little, and all other properties at random.

    `responses_db`: [n, 128] measured responses in dB.
    """
    return build_device(
        SimulatedDeviceSettings(
            id=device_id,
            microphone_db=tuple(_draw_response(responses_db, random)),
            sensitivity_db=random.uniform(*_SENSITIVITY_DB),
            noise_level_dbfs=random.uniform(*_NOISE_LEVEL_DBFS),
            noise_slope_db_per_octave=random.uniform(*_NOISE_SLOPE_DB),
            gain_control=_draw_gain_control(random) if random.random() < _GAIN_CONTROL_SHARE else None,
            clip_at=_log_uniform(*_CLIP_AT, random) if random.random() < _CLIPPING_SHARE else None,
            low_pass_hz=_log_uniform(*_LOW_PASS_HZ, random) if random.random() < _LOW_PASS_SHARE else None,
            codec_quality=random.uniform(*_CODEC_QUALITY) if random.random() < _CODEC_SHARE else None,
        )
    )


def _draw_response(responses_db: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    first, second = responses_db[random.integers(len(responses_db), size=2)]
    share = random.choice([0.0, random.random()])
    knots = np.linspace(0, N_BANDS - 1, _RIPPLE_KNOTS)
    ripple = np.interp(np.arange(N_BANDS), knots, random.normal(0, random.uniform(0, _RIPPLE_DB), _RIPPLE_KNOTS))
    tilt = np.linspace(-0.5, 0.5, N_BANDS) * random.uniform(-_TILT_DB, _TILT_DB)
    mixed: NDArray[np.float64] = (1 - share) * first + share * second + ripple + tilt
    return mixed


def _draw_gain_control(random: np.random.Generator) -> GainControl:
    return GainControl(
        threshold_dbfs=random.uniform(*_THRESHOLD_DBFS),
        ratio=_log_uniform(*_RATIO, random),
        attack_s=_log_uniform(*_ATTACK_S, random),
        release_s=_log_uniform(*_RELEASE_S, random),
    )


def _log_uniform(low: float, high: float, random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))
