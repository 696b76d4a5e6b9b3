"""Synthesised sound events of ten classes, for demonstrations and tests that must not wait for recordings.

Each class imitates one mechanism of real sounds (modes of a bell or a bar, a string's delay line, a drum's
falling pitch, a bubble in water), with pitch, decay, colour and level drawn anew per clip, so that a classifier
has something to learn and something to generalise over. What they are not: recordings. There is no room, no
microphone, no background but the noise that is asked for, one source at a time, and the classes are further
apart than real ones; figures reached on them say that the machinery works, not how well a method does on real
sounds.
"""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from umc_cli.audio.files import write_samples
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.errors import SettingsError, did_you_mean

Waveform = NDArray[np.float32]

PEAK_RANGE_DBFS = (-30.0, -3.0)
"""Peak level of a clip, uniform: near and far, soft and hard strokes of one recording session."""

_FADE_SECONDS = 0.02
_LONGEST_LEAD_SECONDS = 0.06


def bell(random: np.random.Generator) -> Waveform:
    """Return a struck bell: the inharmonic partials of a church bell (hum 0.5, prime 1, tierce 1.2, ...).

    Shape: [2-3 s of samples] in [-1, 1]. Each partial is a slightly split pair, which gives the warble.
    """
    time = _time(random.uniform(2.0, 2.9))
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.66, 3.01, 4.17, 5.43])
    loudness = np.array([0.4, 0.7, 0.8, 0.25, 1.0, 0.3, 0.3, 0.45, 0.3, 0.2])
    frequency_hz = random.uniform(320, 750) * ratios * random.normal(1, 0.004, len(ratios))
    decay_seconds = random.uniform(0.6, 1.2) / ratios**0.7
    split = frequency_hz + random.uniform(0.3, 2.0, len(ratios))
    amplitude = loudness * random.uniform(0.5, 1.5, len(ratios))
    tone = _damped_modes(time, frequency_hz, amplitude, decay_seconds, random)
    return _finish(tone + 0.6 * _damped_modes(time, split, amplitude, decay_seconds, random), random)


def struck_bar(random: np.random.Generator) -> Waveform:
    """Return a struck bar (glockenspiel, xylophone): the bending modes 1, 2.76, 5.40, 8.93 of a free bar.

    Shape: [0.9-1.6 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(0.9, 1.5))
    ratios = np.array([1.0, 2.756, 5.404, 8.933])
    amplitude = np.array([1.0, 0.45, 0.25, 0.12]) * random.uniform(0.5, 1.5, 4)
    frequency_hz = random.uniform(500, 1150) * ratios
    tone = _damped_modes(time, frequency_hz, amplitude, random.uniform(0.08, 0.35) / ratios**0.8, random)
    return _finish(tone + 0.1 * _click(time, 0.002, random), random)


def plucked_string(random: np.random.Generator) -> Waveform:
    """Return a plucked string after Karplus and Strong (1983): noise in a delay line that averages.

    Shape: [1.4-2.3 s of samples] in [-1, 1]. Pitches are those of a guitar; there is no body resonance.
    """
    n_samples = len(_time(random.uniform(1.4, 2.2)))
    period = round(SAMPLE_RATE_HZ / random.uniform(90, 400))
    seconds_to_minus_60_db = random.uniform(1.0, 2.5)
    loss = 10 ** (-3 * period / (SAMPLE_RATE_HZ * seconds_to_minus_60_db))
    pluck = np.zeros(n_samples)
    # A softer finger or pick leaves less treble in the pluck.
    pluck[:period] = scipy.signal.lfilter([1.0], [1.0, -random.uniform(0.0, 0.8)], random.uniform(-1, 1, period))
    pluck[:period] -= pluck[:period].mean()
    loop = np.zeros(period + 2)
    loop[0], loop[period], loop[period + 1] = 1.0, -0.5 * loss, -0.5 * loss
    return _finish(scipy.signal.lfilter([1.0], loop, pluck), random)


def kick_drum(random: np.random.Generator) -> Waveform:
    """Return a bass drum: a sine that falls from about 200 to 50 Hz, and the click of the beater.

    Shape: [0.8-1.0 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(0.8, 0.95))
    resting_hz, drop_hz = random.uniform(42, 65), random.uniform(80, 180)
    frequency_hz = resting_hz + drop_hz * np.exp(-time / random.uniform(0.015, 0.04))
    tone = _glide(frequency_hz) * np.exp(-time / random.uniform(0.08, 0.2))
    return _finish(tone + random.uniform(0.1, 0.4) * _click(time, 0.003, random), random)


def snare_drum(random: np.random.Generator) -> Waveform:
    """Return a snare drum: two modes of the skin under the rattle of the wires (noise above 1 kHz).

    Shape: [0.8-1.0 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(0.8, 0.95))
    skin_hz = random.uniform(160, 240) * np.array([1.0, 1.6])
    skin = _damped_modes(time, skin_hz, [1.0, 0.6], [random.uniform(0.04, 0.09), 0.04], random)
    wires = _coloured_noise(len(time), (random.uniform(900, 1800), 9500), random)
    return _finish(skin + random.uniform(0.6, 1.4) * wires * np.exp(-time / random.uniform(0.05, 0.14)), random)


def noise_burst(random: np.random.Generator) -> Waveform:
    """Return a burst of broadband noise (steam, spray, cloth): three octaves or more, swelling and fading.

    Shape: [0.9-2.2 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(0.9, 2.1))
    low_hz = random.uniform(150, 900)
    noise = _coloured_noise(len(time), (low_hz, min(low_hz * 2 ** random.uniform(3, 5), 10_000)), random)
    swell = time[-1] * random.uniform(0.1, 0.6)
    envelope = np.minimum(time / swell, 1) * np.minimum((time[-1] - time) / (time[-1] - swell), 1) ** 0.7
    return _finish(noise * envelope, random)


def sweep(random: np.random.Generator) -> Waveform:
    """Return a tone with two overtones that rises by two to four octaves (siren, slide whistle).

    Shape: [1.0-2.3 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(1.0, 2.2))
    octaves = random.uniform(2.0, 4.0)
    frequency_hz = random.uniform(180, 450) * 2 ** (octaves * time / time[-1])
    overtones = random.uniform(0.02, 0.3, 2)
    # A partial above half the sample rate would fold back and fall.
    partials = [
        level * _glide(n * frequency_hz) * (n * frequency_hz < 0.45 * SAMPLE_RATE_HZ)
        for n, level in enumerate((1.0, *overtones), start=1)
    ]
    return _finish(np.sum(partials, axis=0) * _arch(time) ** 0.3, random)


def whistle(random: np.random.Generator) -> Waveform:
    """Return a person's whistle: a nearly pure tone of 0.9-2.2 kHz with vibrato, and a little breath.

    Shape: [0.9-1.9 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(0.9, 1.8))
    tone_hz = random.uniform(900, 2200)
    vibrato = random.uniform(0.005, 0.02) * np.sin(2 * np.pi * random.uniform(4, 7) * time + random.uniform(0, 6))
    scoop = random.uniform(-0.12, 0.12) * np.exp(-time / 0.08)
    tone = _glide(tone_hz * (1 + vibrato + scoop))
    breath = _coloured_noise(len(time), (0.7 * tone_hz, min(4 * tone_hz, 9000)), random)
    envelope = _arch(time) ** random.uniform(0.3, 0.7)
    return _finish((tone + random.uniform(0.003, 0.015) * breath) * envelope, random)


def knock(random: np.random.Generator) -> Waveform:
    """Return two to four knocks on wood: short dull modes below 1.2 kHz and the click of the knuckle.

    Shape: [1.0-1.4 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(1.0, 1.3))
    frequency_hz = np.sort(random.uniform(110, 1200, 6))
    amplitude = random.uniform(0.3, 1.0, 6) * (200 / frequency_hz) ** 0.4
    decay_seconds = random.uniform(0.012, 0.03, 6)
    n_knocks = int(random.integers(2, 5))
    onsets = np.arange(n_knocks) * random.uniform(0.16, 0.25) + random.uniform(0, 0.02, n_knocks)
    sound = np.zeros(len(time))
    for onset_seconds, force in zip(onsets, random.uniform(0.5, 1.0, n_knocks), strict=True):
        start = round(onset_seconds * SAMPLE_RATE_HZ)
        rest = time[: len(time) - start]
        stroke = _damped_modes(rest, frequency_hz, amplitude, decay_seconds, random)
        sound[start:] += force * (stroke + 0.3 * _click(rest, 0.0015, random))
    return _finish(sound, random)


def water_drip(random: np.random.Generator) -> Waveform:
    """Return drops of water: each a bubble, a damped sine that rises in pitch (van den Doel 2005).

    Shape: [1.0-2.0 s of samples] in [-1, 1].
    """
    time = _time(random.uniform(1.0, 1.9))
    sound = np.zeros(len(time))
    for onset_seconds in np.cumsum(random.uniform(0.08, 0.4, int(random.integers(2, 6)))):
        start = round(onset_seconds * SAMPLE_RATE_HZ)
        rest = time[: max(len(time) - start, 0)]
        decay = random.uniform(40, 90)
        frequency_hz = random.uniform(900, 2600) * (1 + random.uniform(0.1, 0.25) * decay * rest)
        bubble = _glide(np.minimum(frequency_hz, 9000)) * np.exp(-decay * rest) * -np.expm1(-rest / 0.001)
        sound[start:] += random.uniform(0.4, 1.0) * bubble
    return _finish(sound, random)


SOUND_EVENTS: dict[str, Callable[[np.random.Generator], Waveform]] = {
    "bell": bell,
    "kick_drum": kick_drum,
    "knock": knock,
    "noise_burst": noise_burst,
    "plucked_string": plucked_string,
    "snare_drum": snare_drum,
    "struck_bar": struck_bar,
    "sweep": sweep,
    "water_drip": water_drip,
    "whistle": whistle,
}
"""The ten classes, by label; each function makes one clip of 0.8-3 s, mono, 22,050 Hz, without noise."""


def synthesize(label: str, seed: int) -> Waveform:
    """Return one synthesised clip of a class; the same `label` and `seed` (0 or more) give the same samples.

    Shape: [n] float32 in [-1, 1], mono, 22,050 Hz, 0.8-3 s, peak between -30 and -3 dBFS.

    Raises:
        SettingsError: there is no such class.
    """
    if label not in SOUND_EVENTS:
        raise SettingsError(f"unknown sound event {label!r}", did_you_mean(label, SOUND_EVENTS, "sound events"))
    return SOUND_EVENTS[label](_generator(label, seed))


def write_sound_events(folder: Path, clips_per_class: int, noise_level_dbfs: float | None, seed: int) -> list[Path]:
    """Write a small synthesised data set, `<folder>/<label>/<label>-00.flac` and on: FLAC, 16 bit, 22,050 Hz.

    `noise_level_dbfs` is the RMS in dB re full scale of the white noise that stands for the recording device's
    own; None adds none. The clips of two seeds differ, so two calls make a training and a test set.
    Returns the paths in the order of label and number.

    Raises:
        SettingsError: `clips_per_class` is less than 1, or the noise level is above 0 dBFS.
        EnvironmentFault: the folder cannot be written.
    """
    if clips_per_class < 1:
        raise SettingsError(f"{clips_per_class} clips per class make no data set", "ask for at least 1")
    if noise_level_dbfs is not None and not noise_level_dbfs <= 0:
        raise SettingsError(f"a noise level of {noise_level_dbfs} dBFS is above full scale", "use 0 or less")
    paths = []
    for label in SOUND_EVENTS:
        for index in range(clips_per_class):
            # A hash of both, so that the clips of seed 0 do not come again, shifted by one, under seed 1.
            clip_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
            waveform = synthesize(label, clip_seed)
            if noise_level_dbfs is not None:
                noise = _generator(f"{label} noise", clip_seed).standard_normal(len(waveform), dtype=np.float32)
                waveform = np.clip(waveform + np.float32(10 ** (noise_level_dbfs / 20)) * noise, -1, 1)
            path = folder / label / f"{label}-{index:02d}.flac"
            write_samples(path, waveform, SAMPLE_RATE_HZ, "FLAC", "PCM_16")
            paths.append(path)
    return paths


def _generator(purpose: str, seed: int) -> np.random.Generator:
    # Classes with the same seed must not share their draws; Python's own hash() differs from run to run.
    return np.random.default_rng([zlib.crc32(purpose.encode()), seed])


def _time(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _glide(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a sine whose frequency follows `frequency_hz`, one value a sample."""
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ)


def _arch(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half a sine wave: 0 at both ends, 1 in the middle."""
    # The sine of a rounded pi can be a hair below zero, where a fractional power is NaN.
    return np.asarray(np.maximum(np.sin(np.pi * time / time[-1]), 0))


def _damped_modes(
    time: NDArray[np.float64],
    frequency_hz: ArrayLike,
    amplitude: ArrayLike,
    decay_seconds: ArrayLike,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the sum of sines that decay exponentially; `decay_seconds` is the time to 1/e."""
    modes = np.broadcast_arrays(frequency_hz, amplitude, decay_seconds)
    frequencies, amplitudes, decays = (np.asarray(values, dtype=float)[:, None] for values in modes)
    phase = random.uniform(0, 2 * np.pi, frequencies.shape)
    audible = frequencies < 0.45 * SAMPLE_RATE_HZ
    oscillation = np.sin(2 * np.pi * frequencies * time + phase) * np.exp(-time / decays)
    return np.asarray((audible * amplitudes * oscillation).sum(axis=0))


def _click(time: NDArray[np.float64], decay_seconds: float, random: np.random.Generator) -> NDArray[np.float64]:
    return random.standard_normal(len(time)) * np.exp(-time / decay_seconds)


def _coloured_noise(n_samples: int, band_hz: tuple[float, float], random: np.random.Generator) -> NDArray[np.float64]:
    """Return noise of unit RMS between two frequencies, with skirts of 12 dB an octave."""
    sections = scipy.signal.butter(2, band_hz, "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    noise = scipy.signal.sosfilt(sections, random.standard_normal(n_samples))
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _finish(sound: NDArray[np.float64], random: np.random.Generator) -> Waveform:
    """Fade the end out, set the peak level, put a little silence before the onset."""
    n_fade = round(_FADE_SECONDS * SAMPLE_RATE_HZ)
    sound[-n_fade:] *= np.linspace(1, 0, n_fade)
    peak = 10 ** (random.uniform(*PEAK_RANGE_DBFS) / 20)
    lead = np.zeros(round(random.uniform(0, _LONGEST_LEAD_SECONDS) * SAMPLE_RATE_HZ))
    return np.concatenate([lead, sound * (peak / np.abs(sound).max())]).astype(np.float32)
