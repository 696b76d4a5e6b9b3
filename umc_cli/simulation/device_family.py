"""Families of simulated devices, drawn at random around measured responses.

The near family holds what a device record can say and little else. The wide one adds what phones and other recorders
do besides: more noise and less, high-pass, noise suppression, gates, gain control in bands, low rates, speech codecs.
Ranges are wider than those of any one maker's phones, so that what learns from a family learns the mechanisms.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from umc_cli.response.device import N_BANDS
from umc_cli.simulation.phone_processing import (
    Codec,
    GainControl,
    MultiBandGainControl,
    NoiseGate,
    NoiseSuppression,
)
from umc_cli.simulation.simulated_device import SimulatedDevice, SimulatedDeviceSettings, build_device

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

_WIDE_SENSITIVITY_DB = (-24.0, 8.0)
_WIDE_NOISE_LEVEL_DBFS = (-96.0, -46.0)
_HIGH_PASS_SHARE = 0.4
_HIGH_PASS_HZ = (40.0, 400.0)
_SUPPRESSION_SHARE = 0.25
_OVERSUBTRACTION = (1.0, 4.0)
_SUPPRESSION_DB = (4.0, 20.0)
_IN_BANDS_SHARE = 0.15
_LOW_EDGE_HZ, _HIGH_EDGE_HZ = (200.0, 800.0), (1_500.0, 5_000.0)
_GATE_SHARE = 0.12
_GATE_DBFS = (-65.0, -40.0)
_GATE_RANGE_DB = (4.0, 25.0)
_GATE_ATTACK_S, _GATE_RELEASE_S = (0.001, 0.01), (0.03, 0.3)
_WIDE_GAIN_CONTROL_SHARE, _WIDE_CLIPPING_SHARE, _WIDE_LOW_PASS_SHARE = 0.45, 0.3, 0.25
_RATE_SHARE = 0.2
_RATES_HZ = (8_000.0, 16_000.0, 16_000.0, 16_000.0)
_WIDE_CODEC_SHARE = 0.2
_CODECS: tuple[Literal["gsm", "g721", "opus", "vorbis"], ...] = ("gsm", "g721", "opus", "opus", "vorbis", "vorbis")
_ALIKE_SHARE = 0.5
_OWN_SHARE = (0.15, 0.8)
_STAGES = (
    *("high_pass_hz", "noise_suppression", "gain_control_in_bands", "gain_control", "noise_gate"),
    *("clip_at", "low_pass_hz", "rate_hz", "codec"),
)
_PEAKS = 3
_PEAK_DB = (-14.0, 14.0)
_PEAK_BANDS = (1.5, 12.0)
"""Half width of a resonance, in bands of a response."""


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


def draw_wide_devices(
    name: str, responses_db: NDArray[np.float64], n_devices: int, random: np.random.Generator
) -> list[SimulatedDevice]:
    """Draw devices of the wide family, see `draw_device`: in half of the calls alike, as phones of one time are.

    Alike means that response, level and noise lie between an own draw and a common one, and that what else the devices
    do is as often the common one's as their own.
    """
    common = _draw_wide_settings(name, responses_db, random)
    own_share = random.uniform(*_OWN_SHARE) if random.random() < _ALIKE_SHARE else 1.0
    devices = []
    for index in range(n_devices):
        own = _draw_wide_settings(f"{name}-{index}", responses_db, random)
        devices.append(build_device(_between(common, own, own_share, random)))
    return devices


def _draw_wide_settings(
    device_id: str, responses_db: NDArray[np.float64], random: np.random.Generator
) -> SimulatedDeviceSettings:
    return SimulatedDeviceSettings(
        id=device_id,
        microphone_db=tuple(_draw_response(responses_db, random) + _draw_peaks(random)),
        sensitivity_db=random.uniform(*_WIDE_SENSITIVITY_DB),
        noise_level_dbfs=random.uniform(*_WIDE_NOISE_LEVEL_DBFS),
        noise_slope_db_per_octave=random.uniform(*_NOISE_SLOPE_DB),
        high_pass_hz=_drawn(_HIGH_PASS_SHARE, _HIGH_PASS_HZ, random),
        noise_suppression=_draw_suppression(random) if random.random() < _SUPPRESSION_SHARE else None,
        gain_control_in_bands=_draw_control_in_bands(random) if random.random() < _IN_BANDS_SHARE else None,
        gain_control=_draw_gain_control(random) if random.random() < _WIDE_GAIN_CONTROL_SHARE else None,
        noise_gate=_draw_gate(random) if random.random() < _GATE_SHARE else None,
        clip_at=_drawn(_WIDE_CLIPPING_SHARE, _CLIP_AT, random),
        low_pass_hz=_drawn(_WIDE_LOW_PASS_SHARE, _LOW_PASS_HZ, random),
        rate_hz=float(random.choice(_RATES_HZ)) if random.random() < _RATE_SHARE else None,
        codec=_draw_codec(random) if random.random() < _WIDE_CODEC_SHARE else None,
    )


def _between(
    common: SimulatedDeviceSettings, own: SimulatedDeviceSettings, own_share: float, random: np.random.Generator
) -> SimulatedDeviceSettings:
    mixed = own_share * np.array(own.microphone_db) + (1 - own_share) * np.array(common.microphone_db)
    levels = {
        name: own_share * getattr(own, name) + (1 - own_share) * getattr(common, name)
        for name in ("sensitivity_db", "noise_level_dbfs", "noise_slope_db_per_octave")
    }
    stages = {name: getattr(own if random.random() < own_share else common, name) for name in _STAGES}
    return own.model_copy(update={"microphone_db": tuple(mixed), **levels, **stages})


def _draw_peaks(random: np.random.Generator) -> NDArray[np.float64]:
    """Return resonances and holes of ports and cases, [128] in dB."""
    bands = np.arange(N_BANDS)
    peaks = np.zeros(N_BANDS)
    for _ in range(int(random.integers(_PEAKS + 1))):
        width = _log_uniform(*_PEAK_BANDS, random)
        peaks += random.uniform(*_PEAK_DB) / (1 + ((bands - random.uniform(0, N_BANDS)) / width) ** 2)
    return peaks


def _draw_suppression(random: np.random.Generator) -> NoiseSuppression:
    return NoiseSuppression(oversubtraction=random.uniform(*_OVERSUBTRACTION), most_db=random.uniform(*_SUPPRESSION_DB))


def _draw_control_in_bands(random: np.random.Generator) -> MultiBandGainControl:
    edges_hz = (_log_uniform(*_LOW_EDGE_HZ, random), _log_uniform(*_HIGH_EDGE_HZ, random))
    low, middle, high = (_draw_gain_control(random) for _ in range(3))
    return MultiBandGainControl(edges_hz=edges_hz, bands=(low, middle, high))


def _draw_gate(random: np.random.Generator) -> NoiseGate:
    return NoiseGate(
        threshold_dbfs=random.uniform(*_GATE_DBFS),
        range_db=random.uniform(*_GATE_RANGE_DB),
        attack_s=_log_uniform(*_GATE_ATTACK_S, random),
        release_s=_log_uniform(*_GATE_RELEASE_S, random),
    )


def _draw_codec(random: np.random.Generator) -> Codec:
    return Codec(name=_CODECS[int(random.integers(len(_CODECS)))], quality=random.uniform(*_CODEC_QUALITY))


def _drawn(share: float, limits: tuple[float, float], random: np.random.Generator) -> float | None:
    return _log_uniform(*limits, random) if random.random() < share else None


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
