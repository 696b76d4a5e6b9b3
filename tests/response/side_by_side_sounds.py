"""Sounds that two devices recorded at once, with known offset, clock and losses."""

import numpy as np
import scipy.signal

RATE_HZ = 22_050


def sounds(seconds: float, seed: int = 0) -> np.ndarray:
    """Coloured noise in bursts of 0.2 s, with pauses. Shape: [n]."""
    random = np.random.default_rng([seed, 1])
    n = round(seconds * RATE_HZ)
    coloured = scipy.signal.lfilter([1], [1, -0.9], random.standard_normal(n))
    bursts = np.repeat(random.random(n // 4410 + 1) ** 3, 4410)[:n]
    return 0.1 * coloured * bursts


def recorded(sound: np.ndarray, seed: int, gain_db: float = 0.0, noise_db: float = -75.0) -> np.ndarray:
    """As a device records it in a room: short reflections, gain, its own noise. Shape: [n] -> [n] float32."""
    random = np.random.default_rng([seed, 2])
    reflections = 0.03 * random.standard_normal(300) * np.exp(-np.arange(300) / 60)
    heard = scipy.signal.lfilter(np.r_[1, reflections], [1], sound)
    noise = 10 ** (noise_db / 20) * random.standard_normal(len(sound))
    return (10 ** (gain_db / 20) * heard + noise).astype(np.float32)
