"""Sweeps with known truth, a second implementation, and real recordings."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pyfar
import pytest
import scipy.signal
import soundfile
import soxr

from tests.response.measurements import DRIFT_PPM, microphone, recorded, rms, true_shape_db
from umc_cli.errors import InputError, SettingsError
from umc_cli.response.curve_files import read_curve_file
from umc_cli.response.deconvolution import deconvolve, without_drift
from umc_cli.response.frequency_response import band_centres_hz, band_level_db, impulse_response_curve
from umc_cli.response.impulse_response import BEFORE_S
from umc_cli.response.measured_response import measure_response
from umc_cli.response.stimulus import SineSweep, stimulus_samples, sweep_samples
from umc_cli.response.sweep_recording import sweep_of_played_file, sweep_of_stimulus, take_sweeps

RATE_HZ = 48_000
SWEEP = SineSweep(sample_rate_hz=RATE_HZ, repeats=5, lead_in_s=1.0, duration_s=2.0, spacing_s=3.0)


def test_five_drifting_noisy_late_sweeps_give_the_response() -> None:
    response = microphone()
    take = take_sweeps(recorded(SWEEP, response), sweep_of_stimulus(SWEEP, RATE_HZ), SWEEP.spacing_s, 200)
    assert len(take.repeats) == 5
    assert take.drift_ppm == pytest.approx(DRIFT_PPM, abs=1)
    measured = measure_response([take], [], 200)
    assert measured.trusted.sum() > 120
    assert rms((measured.frequency_response_db - true_shape_db(response, RATE_HZ))[measured.trusted]) < 0.1
    assert measured.spread_db is not None
    assert measured.spread_db[measured.trusted].max() < 0.2


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100])
def test_a_recording_at_another_rate_than_the_stimulus_gives_the_same(rate_hz: int) -> None:
    response = microphone()
    recording = soxr.resample(recorded(SWEEP, response), RATE_HZ, rate_hz, quality="VHQ")
    take = take_sweeps(recording, sweep_of_stimulus(SWEEP, rate_hz), SWEEP.spacing_s, 200)
    measured = measure_response([take], [], 200)
    error_db = (measured.frequency_response_db - true_shape_db(response, RATE_HZ))[measured.trusted]
    assert rms(error_db) < 0.1
    assert np.abs(error_db[2:]).max() < 0.3
    assert band_centres_hz()[measured.trusted].max() > 0.9 * min(rate_hz / 2, 11_025)


def test_harmonics_of_a_soft_clipped_sweep_do_not_leak_into_the_linear_response() -> None:
    response = microphone()
    sweep = sweep_of_stimulus(SWEEP, RATE_HZ)
    clipped = recorded(SWEEP, response, clip_at=0.3, noise_dbfs=-100)
    responses = deconvolve(clipped, sweep)
    take = take_sweeps(clipped, sweep, SWEEP.spacing_s, 200)
    # tanh is odd: the third harmonic stands L ln 3 before the linear response, far above what lies elsewhere.
    growth_s = SWEEP.duration_s / np.log(SWEEP.stop_hz / SWEEP.start_hz)
    third = round((take.arrivals_s[0] - growth_s * np.log(3)) * RATE_HZ)
    linear = round(take.arrivals_s[0] * RATE_HZ)
    harmonic_db = 20 * np.log10(np.abs(responses[third - 480 : third + 480]).max() / np.abs(responses[linear]))
    assert harmonic_db > -35
    measured = measure_response([take], [], 200)
    high = measured.trusted
    assert rms((measured.frequency_response_db - true_shape_db(response, RATE_HZ))[high]) < 0.2


def test_deconvolution_agrees_with_pyfar() -> None:
    response, one = microphone(), sweep_samples(SWEEP)
    played = np.concatenate([one, np.zeros(RATE_HZ)])
    heard = scipy.signal.oaconvolve(played, response)[: len(played)]
    ours = deconvolve(heard, sweep_of_stimulus(SWEEP, RATE_HZ))
    signals = (pyfar.Signal(heard, RATE_HZ), pyfar.Signal(played, RATE_HZ))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its successor has other names, the same formula
        theirs = pyfar.dsp.deconvolve(*signals, frequency_range=(SWEEP.start_hz, SWEEP.stop_hz)).time[0]
    n = round(0.2 * RATE_HZ)
    levels = [band_level_db(impulse_response_curve(np.roll(each, n)[: 2 * n], RATE_HZ)) for each in (ours, theirs)]
    np.testing.assert_allclose(levels[0], levels[1], atol=0.1)


@pytest.mark.parametrize("ppm", [-100.0, 100.0])
def test_a_drift_of_100_ppm_is_taken_out(ppm: float) -> None:
    recording = recorded(SWEEP, np.array([1.0]), drift_ppm=ppm, noise_dbfs=-100)
    sweep = sweep_of_stimulus(SWEEP, RATE_HZ)
    take = take_sweeps(recording, sweep, SWEEP.spacing_s, 200)
    assert take.drift_ppm == pytest.approx(ppm, abs=1)
    # A flat device gives one sharp peak again, which the drift had smeared.
    smeared = without_drift(take.repeats[0], sweep, -ppm)
    assert np.abs(take.repeats[0]).max() > 1.25 * np.abs(smeared).max()
    assert np.argmax(np.abs(take.repeats[0])) == round(BEFORE_S * RATE_HZ)


def test_taking_out_a_drift_leaves_the_magnitude_alone() -> None:
    sweep = sweep_of_stimulus(SWEEP, RATE_HZ)
    pulse = np.pad(microphone(), (2000, 7000))
    before, after = (
        band_level_db(impulse_response_curve(each, RATE_HZ)) for each in (pulse, without_drift(pulse, sweep, 100))
    )
    np.testing.assert_allclose(before, after, atol=0.05)


def test_a_played_file_says_itself_which_sweep_it_is() -> None:
    played = stimulus_samples(SWEEP.model_copy(update={"repeats": 1, "lead_in_s": 1.0}))[round(1.2 * RATE_HZ) :]
    sweep = sweep_of_played_file(played, RATE_HZ, RATE_HZ)
    assert sweep.start_hz == pytest.approx(10, rel=0.1)
    assert sweep.stop_hz == pytest.approx(20_000, rel=0.05)
    take = take_sweeps(recorded(SWEEP, microphone()), sweep, None, 200)
    assert len(take.repeats) == 5
    measured = measure_response([take], [], 200)
    assert rms((measured.frequency_response_db - true_shape_db(microphone(), RATE_HZ))[measured.trusted]) < 0.2


@pytest.mark.parametrize("kind", ["noise", "linear sweep", "silence"])
def test_other_sounds_are_no_played_sweep(kind: str) -> None:
    seconds = np.arange(2 * RATE_HZ) / RATE_HZ
    samples = {
        "noise": np.random.default_rng(0).standard_normal(len(seconds)),
        "linear sweep": scipy.signal.chirp(seconds, 20, 2, 20_000),
        "silence": np.zeros(len(seconds)),
    }[kind]
    with pytest.raises(SettingsError, match="played file"):
        sweep_of_played_file(samples, RATE_HZ, RATE_HZ)


def test_a_recording_that_ends_within_the_sweep_is_refused() -> None:
    recording = recorded(SWEEP, microphone())[: round(2.8 * RATE_HZ)]
    with pytest.raises(InputError, match="cut off: the recording ends before it"):
        take_sweeps(recording, sweep_of_stimulus(SWEEP, RATE_HZ), SWEEP.spacing_s, 200)


def test_a_recording_that_begins_within_a_sweep_uses_the_others() -> None:
    recording = recorded(SWEEP, microphone())[round(1.9 * RATE_HZ) :]
    take = take_sweeps(recording, sweep_of_stimulus(SWEEP, RATE_HZ), SWEEP.spacing_s, 200)
    assert len(take.repeats) == 4
    assert [entry.reason for entry in take.rejected] in ([], ["cut off: the recording begins after it"])


def test_a_clipped_sweep_is_left_out() -> None:
    recording = recorded(SWEEP, microphone())
    start = round(4.5 * RATE_HZ)
    recording[start : start + 2 * RATE_HZ] = np.clip(5 * recording[start : start + 2 * RATE_HZ], -1, 1)
    take = take_sweeps(recording, sweep_of_stimulus(SWEEP, RATE_HZ), SWEEP.spacing_s, 200)
    assert [entry.reason for entry in take.rejected] == ["clipped"]
    assert len(take.repeats) == 4


def test_noise_holds_no_sweep() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(6 * RATE_HZ)
    with pytest.raises(InputError, match="does not contain the sweep"):
        take_sweeps(noise, sweep_of_stimulus(SWEEP, RATE_HZ), SWEEP.spacing_s, 200)


def test_a_wrong_rate_in_the_header_is_recognised() -> None:
    recording = recorded(SWEEP, microphone())
    with pytest.raises(InputError, match=r"1\.0885 times") as failure:
        take_sweeps(recording, sweep_of_stimulus(SWEEP, 44_100), SWEEP.spacing_s, 200)
    assert "made at 48000 Hz although its header says 44100" in failure.value.hint


def impulcifer(realdata: Path, rate_hz: int = RATE_HZ):
    folder = realdata / "sweeps" / "impulcifer"
    played, played_rate_hz = soundfile.read(folder / "sweep-6.15s-48000Hz-32bit-2.93Hz-24000Hz.wav")
    return folder, sweep_of_played_file(played, played_rate_hz, rate_hz)


@pytest.mark.realdata
def test_real_sweep_is_recognised(realdata: Path) -> None:
    sweep = impulcifer(realdata)[1]
    assert sweep.start_hz == pytest.approx(2.93, rel=0.02)
    assert sweep.stop_hz == pytest.approx(24_000, rel=0.01)


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "channel"), [("FC", 0), ("FC", 1), ("room-FC-left", 0), ("room-FC-right", 0)])
def test_real_single_speaker_recording_has_its_direct_sound_at_2_51_s(realdata: Path, name: str, channel: int) -> None:
    folder, sweep = impulcifer(realdata)
    recording = soundfile.read(folder / f"{name}.wav", always_2d=True)[0][:, channel]
    take = take_sweeps(recording, sweep, None, 200)
    assert take.arrivals_s == (pytest.approx(2.51, abs=0.005),)
    responses = deconvolve(recording, sweep)
    peak = np.abs(responses[round(2.5 * RATE_HZ) : round(2.52 * RATE_HZ)]).max()
    assert 20 * np.log10(peak / rms(responses[round(4.0 * RATE_HZ) : round(4.5 * RATE_HZ)])) > 80


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["room-BL,SL-left", "room-FL,FR-left", "room-FL,FR-right", "room-SR,BR-right"])
def test_real_two_speaker_recording_holds_two_sweeps(realdata: Path, name: str) -> None:
    folder, sweep = impulcifer(realdata)
    take = take_sweeps(soundfile.read(folder / f"{name}.wav")[0], sweep, None, 200)
    assert take.arrivals_s == (pytest.approx(2.51, abs=0.005), pytest.approx(10.66, abs=0.005))


@pytest.mark.realdata
def test_real_calibration_is_taken_out(realdata: Path) -> None:
    folder, sweep = impulcifer(realdata)
    calibration = read_curve_file(folder / "room-mic-calibration.txt").curve
    assert len(calibration.frequency_hz) > 500
    take = take_sweeps(soundfile.read(folder / "room-FC-left.wav")[0], sweep, None, 200)
    raw, corrected = (measure_response([take], out, 200) for out in ([], [calibration]))
    removed_db = raw.curve.response_db - corrected.curve.response_db
    expected_db = np.interp(np.log(raw.curve.frequency_hz), np.log(calibration.frequency_hz), calibration.response_db)
    np.testing.assert_allclose(removed_db, expected_db, atol=1e-9)


@pytest.mark.realdata
@pytest.mark.parametrize("row", range(4, 54, 16))
def test_sweeps_through_a_real_microphone_give_its_response(realdata: Path, row: int) -> None:
    folder = realdata / "impulse_responses"
    names = [each["filename"] for each in csv.DictReader((folder / "metadata.csv").open(encoding="utf-8"))]
    response, rate_hz = soundfile.read(folder / "wav" / names[row])
    stimulus = SWEEP.model_copy(update={"sample_rate_hz": rate_hz})
    recording = recorded(stimulus, response)
    take = take_sweeps(recording, sweep_of_stimulus(stimulus, rate_hz), stimulus.spacing_s, 200)
    measured = measure_response([take], [], 200)
    assert len(take.repeats) == 5
    assert measured.trusted.sum() > 100
    assert rms((measured.frequency_response_db - true_shape_db(response, rate_hz))[measured.trusted]) < 0.5
