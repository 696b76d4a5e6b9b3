"""Impulse trains with known faults: what is found, what is left out, and what the rest gives."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.response.measurements import DRIFT_PPM, LATENCY_S, microphone, recorded, rms, true_shape_db
from umc_cli.errors import InputError
from umc_cli.response.alignment import lag_samples, moved_earlier
from umc_cli.response.impulse_train import take_impulses
from umc_cli.response.measured_response import measure_response
from umc_cli.response.stimulus import ImpulseTrain

RATE_HZ = 48_000
TRAIN = ImpulseTrain(sample_rate_hz=RATE_HZ, repeats=5, lead_in_s=1.0)


def at(seconds: float) -> int:
    return round(seconds * RATE_HZ)


@pytest.mark.parametrize("known", [True, False], ids=["with sidecar", "by onsets"])
def test_five_drifting_noisy_late_impulses_give_the_response(known: bool) -> None:
    response = microphone()
    take = take_impulses(recorded(TRAIN, response), RATE_HZ, TRAIN if known else None, 200)
    assert len(take.repeats) == 5
    assert not take.rejected
    measured = measure_response([take], [], 200)
    assert measured.trusted.sum() > 100
    error_db = measured.frequency_response_db - true_shape_db(response, RATE_HZ)
    assert rms(error_db[measured.trusted]) < 0.5
    if known:
        assert take.drift_ppm == pytest.approx(DRIFT_PPM, abs=1)
    delay = np.argmax(np.abs(response)) / RATE_HZ
    assert take.arrivals_s[0] == pytest.approx(1.0 + LATENCY_S + delay, abs=0.0005)


def test_more_repeats_give_more_signal_to_noise() -> None:
    recording = recorded(TRAIN.model_copy(update={"repeats": 16}), microphone(), noise_dbfs=-60)
    many = take_impulses(recording, RATE_HZ, TRAIN.model_copy(update={"repeats": 16}), 200)
    few = take_impulses(recording[: at(2.5)], RATE_HZ, TRAIN.model_copy(update={"repeats": 1}), 200)
    gained_db = measure_response([many], [], 200).snr_db - measure_response([few], [], 200).snr_db
    loud = measure_response([few], [], 200).snr_db > 10
    assert np.median(gained_db[loud]) == pytest.approx(10 * np.log10(16), abs=1)


def test_signal_to_noise_is_that_of_white_noise_in_the_window() -> None:
    # A unit impulse has |X|^2 = 1 in every bin, noise of variance s^2 in n samples n s^2.
    noise_dbfs = -60.0
    recording = 10 ** (noise_dbfs / 20) * np.random.default_rng(0).standard_normal(at(3))
    recording[at(2)] += 0.5
    take = take_impulses(recording, RATE_HZ, None, 200)
    weights = np.square(np.concatenate([np.ones(at(0.2))])).sum()
    expected_db = 20 * np.log10(0.5) - noise_dbfs - 10 * np.log10(weights)
    assert np.median(measure_response([take], [], 200).snr_db) == pytest.approx(expected_db, abs=1)


def spoil(recording: np.ndarray, fault: str, arrival: int) -> np.ndarray:
    spoilt = recording.copy()
    window = slice(arrival - at(0.002), arrival + at(0.1))
    match fault:
        case "clipped":
            spoilt[window] = np.clip(4 * spoilt[window], -1, 1)
        case "late":
            piece = spoilt[arrival - at(0.01) : arrival + at(0.3)].copy()
            spoilt[arrival - at(0.01) : arrival + at(0.3)] = spoilt[: len(piece)]
            spoilt[arrival + at(0.02) : arrival + at(0.02) + len(piece)] = piece
        case "double":
            spoilt[arrival + at(0.05) :][: at(0.03)] += 0.7 * spoilt[arrival - at(0.001) :][: at(0.03)]
        case "noisy":
            spoilt[arrival - at(0.08) : arrival - at(0.03)] += 0.01 * np.random.default_rng(1).standard_normal(at(0.05))
    return spoilt


@pytest.mark.parametrize("known", [True, False], ids=["with sidecar", "by onsets"])
@pytest.mark.parametrize("fault", ["clipped", "late", "double", "noisy"])
def test_a_spoilt_impulse_is_left_out_and_named(fault: str, known: bool) -> None:
    response = microphone()
    clean = recorded(TRAIN, response)
    arrival = at(1.0 + LATENCY_S + 2.0) + int(np.argmax(np.abs(response)))
    take = take_impulses(spoil(clean, fault, arrival), RATE_HZ, TRAIN if known else None, 200)
    assert [entry.reason.split()[0].strip(":") for entry in take.rejected] == [fault]
    assert take.rejected[0].time_s == pytest.approx(arrival / RATE_HZ, abs=0.05)
    assert len(take.repeats) == 4
    measured = measure_response([take], [], 200)
    error_db = measured.frequency_response_db - true_shape_db(response, RATE_HZ)
    assert rms(error_db[measured.trusted]) < 0.5


def test_an_impulse_cut_off_by_the_end_is_left_out() -> None:
    recording = recorded(TRAIN, microphone())[: at(1.0 + LATENCY_S + 4.1)]
    take = take_impulses(recording, RATE_HZ, TRAIN, 200)
    assert [entry.reason for entry in take.rejected] == ["cut off by the start or end of the recording"]


@pytest.mark.parametrize("train", [TRAIN, None], ids=["with sidecar", "by onsets"])
def test_noise_holds_no_impulse(train: ImpulseTrain | None) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal(at(6))
    with pytest.raises(InputError, match="no impulse"):
        take_impulses(noise, RATE_HZ, train, 200)


def test_a_wrong_rate_in_the_header_is_recognised() -> None:
    train = TRAIN.model_copy(update={"repeats": 10})
    with pytest.raises(InputError, match="impulses at the distances") as failure:
        take_impulses(recorded(train, microphone()), 44_100, train, 200)
    assert "made at 48000 Hz although its header says 44100" in failure.value.hint


def test_impulses_that_all_clip_are_refused() -> None:
    recording = np.clip(4 * recorded(TRAIN, microphone()), -1, 1)
    with pytest.raises(InputError, match=r"none that can be used .*clipped"):
        take_impulses(recording, RATE_HZ, TRAIN, 200)


@pytest.mark.parametrize("lag", [-7.3, 0.0, 0.25, 12.5])
def test_a_lag_is_found_and_undone_to_a_hundredth_of_a_sample(lag: float) -> None:
    pulse = np.pad(microphone(), (100, 200))
    later = moved_earlier(pulse, -lag)
    assert lag_samples(later, pulse, 40) == pytest.approx(lag, abs=0.01)
    np.testing.assert_allclose(moved_earlier(later, lag), pulse, atol=5e-3 * np.abs(pulse).max())


@pytest.mark.realdata
@pytest.mark.parametrize("row", range(0, 54, 9))
def test_a_train_through_a_real_microphone_gives_its_response(realdata: Path, row: int) -> None:
    folder = realdata / "impulse_responses"
    names = [each["filename"] for each in csv.DictReader((folder / "metadata.csv").open(encoding="utf-8"))]
    response, rate_hz = soundfile.read(folder / "wav" / names[row])
    train = ImpulseTrain(sample_rate_hz=rate_hz, repeats=5, lead_in_s=1.0)
    take = take_impulses(recorded(train, response, noise_dbfs=-90), rate_hz, train, 200)
    measured = measure_response([take], [], 200)
    error_db = measured.frequency_response_db - true_shape_db(response, rate_hz)
    assert len(take.repeats) == 5
    assert measured.trusted.sum() > 64
    assert rms(error_db[measured.trusted]) < 0.5
