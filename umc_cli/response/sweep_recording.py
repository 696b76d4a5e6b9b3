"""Sweeps in a recording: which one was played, where each begins, and the impulse responses they give."""

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from umc_cli.errors import InputError, SettingsError
from umc_cli.response.alignment import lag_samples
from umc_cli.response.deconvolution import (
    MOST_DRIFT_PPM,
    Sweep,
    deconvolve,
    find_sweeps,
    inverse_spectrum,
    without_drift,
)
from umc_cli.response.frequency_response import Curve
from umc_cli.response.impulse_response import (
    BEFORE_S,
    FULL_SCALE,
    Rejected,
    Take,
    drift_ppm,
    late_repeats,
    noise_in_window,
    quiet_part,
    rate_hint,
    window,
    without_offset,
)
from umc_cli.response.stimulus import SineSweep, sweep_samples

_MARGIN_S = 0.1
"""Cut out on both sides of a window while the drift is taken out."""
_MOST_LAG_S = 0.001
_FIT_RANGE = (4.0, 0.5)
"""Times the lowest and the highest frequency of a played file: where its rate of rise is read off."""
_MOST_MISFIT = 0.02


def sweep_of_stimulus(stimulus: SineSweep, rate_hz: int) -> Sweep:
    """Return the sweep that a sidecar describes, at the rate of the recording (soxr, VHQ)."""
    samples = sweep_samples(stimulus)
    if rate_hz != stimulus.sample_rate_hz:
        samples = soxr.resample(samples, stimulus.sample_rate_hz, rate_hz, quality="VHQ")
    return Sweep(np.asarray(samples, np.float64), rate_hz, stimulus.start_hz, stimulus.stop_hz)


def sweep_of_played_file(samples: NDArray[np.float64], file_rate_hz: int, rate_hz: int) -> Sweep:
    """Return the sweep of a played file of which nothing is known; silence around it is left out.

    Where the sweep begins and ends follows from its group delay, which rises with the logarithm of the frequency.

    Raises:
        SettingsError: the file is silent, or its sound is no exponential sweep.
    """
    sounding = np.flatnonzero(np.abs(samples) > 1e-5 * np.abs(samples).max(initial=0))
    if not len(sounding):
        raise SettingsError("the played file is silent", "name the file with the sweep")
    sweep = samples[sounding[0] : sounding[-1] + 1]
    n_points = scipy.fft.next_fast_len(2 * len(sweep), real=True)
    spectrum = scipy.fft.rfft(sweep, n_points)
    delay_s = np.real(scipy.fft.rfft(sweep * np.arange(len(sweep)), n_points) * np.conj(spectrum))
    delay_s /= np.maximum(np.square(np.abs(spectrum)), 1e-20) * file_rate_hz
    frequency_hz = scipy.fft.rfftfreq(n_points, 1 / file_rate_hz)
    fitted = (frequency_hz > 25 * _FIT_RANGE[0]) & (frequency_hz < file_rate_hz / 2 * _FIT_RANGE[1])
    # Every octave counts alike.
    slope, offset = np.polyfit(np.log(frequency_hz[fitted]), delay_s[fitted], 1, w=1 / np.sqrt(frequency_hz[fitted]))
    misfit_s = np.abs(delay_s[fitted] - offset - slope * np.log(frequency_hz[fitted]))
    duration_s = len(sweep) / file_rate_hz
    if slope <= 0 or np.median(misfit_s) > _MOST_MISFIT * duration_s:
        raise SettingsError("the played file contains no exponential sine sweep", "make one with --make-stimulus sweep")
    start_hz, stop_hz = float(np.exp(-offset / slope)), float(np.exp((duration_s - offset) / slope))
    if rate_hz != file_rate_hz:
        sweep = soxr.resample(sweep, file_rate_hz, rate_hz, quality="VHQ")
    return Sweep(np.asarray(sweep, np.float64), rate_hz, max(1.0, start_hz), min(stop_hz, file_rate_hz / 2))


def take_sweeps(recording: NDArray[np.float64], sweep: Sweep, spacing_s: float | None, window_ms: float) -> Take:
    """Return the linear impulse responses in a recording of sweeps.

    Shape: [n], full scale 1, at the rate of `sweep`. `spacing_s`: from one sweep to the next. Where it is not known,
    or there is one sweep, the clock drift stays in: it delays frequencies by fractions of a millisecond, and leaves
    their magnitude alone.

    Raises:
        InputError: no sweep is found, or none of those found can be used.
    """
    rate_hz = sweep.rate_hz
    steady = without_offset(recording)
    responses = deconvolve(steady, sweep)
    starts = find_sweeps(responses, len(recording), sweep)
    if not starts:
        raise InputError(
            "does not contain the sweep",
            "play it louder or closer, record all of it, and check that --stimulus names what was played",
        )
    reasons = _reasons(recording, starts, sweep, spacing_s)
    rejected = tuple(Rejected(start / rate_hz, why) for start, why in zip(starts, reasons, strict=True) if why)
    kept = [start for start, why in zip(starts, reasons, strict=True) if not why]
    if not kept:
        problems = "; ".join(sorted({entry.reason for entry in rejected}))
        raise InputError(
            f"contains no sweep that can be used ({problems})",
            "record the stimulus from its first to its last second; lower the level if it clips",
        )
    weights = window(rate_hz, window_ms)
    before, margin = round(BEFORE_S * rate_hz), round(_MARGIN_S * rate_hz)
    n = len(responses)
    wide = np.stack(
        [responses[np.arange(start - before - margin, start - before + len(weights) + margin) % n] for start in kept]
    )
    lags = np.array([lag_samples(row, wide[0], _MOST_LAG_S * rate_hz) for row in wide])
    arrivals_s = tuple(float(start + lag) / rate_hz for start, lag in zip(kept, lags, strict=True))
    drift = drift_ppm(arrivals_s, spacing_s) if spacing_s else None
    if drift is not None and abs(drift) > MOST_DRIFT_PPM:
        raise InputError(
            f"contains sweeps whose distance is {1 + drift * 1e-6:.4f} times that of the played ones",
            rate_hint(1 + drift * 1e-6, rate_hz) or "check that --stimulus names what was played",
        )
    repeats = []
    for row in wide:
        straight = without_drift(row, sweep, drift) if drift else row
        near = slice(margin, margin + 2 * before)
        peak = margin + int(np.argmax(np.abs(straight[near])))
        repeats.append(straight[peak - before : peak - before + len(weights)] * weights)
    silence = quiet_part(steady, rate_hz, min(_first_sound_s(steady, rate_hz), max(0.0, arrivals_s[0])))
    return Take(
        sample_rate_hz=rate_hz,
        repeats=np.stack(repeats),
        arrivals_s=arrivals_s,
        rejected=rejected,
        silence=silence,
        noise=_deconvolved(noise_in_window(silence, rate_hz, weights), sweep),
        # A band reaches down to half its centre.
        covered_hz=(2 * sweep.usable_hz[0], sweep.usable_hz[1]),
        drift_ppm=drift,
    )


def _first_sound_s(recording: NDArray[np.float64], rate_hz: int) -> float:
    """Return when the marker or the first sweep comes: 1 ms of the loudest 20 dB, or the end of a quiet start."""
    frame = max(1, rate_hz // 1000)
    peaks = np.abs(recording[: len(recording) // frame * frame]).reshape(-1, frame).max(axis=1)
    return float(np.argmax(peaks >= peaks.max() * 0.1)) * frame / rate_hz


def _reasons(recording: NDArray[np.float64], starts: list[int], sweep: Sweep, spacing_s: float | None) -> list[str]:
    late = late_repeats([start / sweep.rate_hz for start in starts], spacing_s) if spacing_s else [False] * len(starts)
    reasons = []
    for start, is_late in zip(starts, late, strict=True):
        stop = start + len(sweep.samples)
        played = np.abs(recording[max(0, start) : stop])
        if start < 0:
            reasons.append("cut off: the recording begins after it")
        elif stop > len(recording):
            reasons.append("cut off: the recording ends before it")
        elif np.count_nonzero(played >= FULL_SCALE) > 1:
            reasons.append("clipped")
        elif is_late:
            reasons.append("late or early by more than 2 ms")
        else:
            reasons.append("")
    return reasons


def _deconvolved(noise: Curve, sweep: Sweep) -> Curve:
    """Return the level of noise behind the division by the sweep's spectrum."""
    n_points = scipy.fft.next_fast_len(2 * len(sweep.samples), real=True)
    gain_db = 20 * np.log10(np.abs(inverse_spectrum(sweep, n_points)) + 1e-20)
    at_hz = scipy.fft.rfftfreq(n_points, 1 / sweep.rate_hz)
    return Curve(noise.frequency_hz, noise.response_db + np.interp(noise.frequency_hz, at_hz, gain_db))
