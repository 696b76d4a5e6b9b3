import numpy as np
import pytest
import soxr

from tests.response.side_by_side_sounds import RATE_HZ, recorded, sounds
from umc_cli.errors import InputError
from umc_cli.response.side_by_side import Alignment, align
from umc_cli.response.window_lags import lag_of_clip

SECONDS = 25
SOUND = sounds(SECONDS)
REFERENCE = recorded(SOUND, seed=1)
DEVICE = recorded(SOUND, seed=2, gain_db=-12, noise_db=-65)


def spans(alignment: Alignment) -> list[tuple[float, float]]:
    return [(round(one.start / RATE_HZ, 1), round(one.stop / RATE_HZ, 1)) for one in alignment.stretches]


@pytest.mark.parametrize("polarity", [1, -1])
def test_a_device_that_was_started_later_is_found_whatever_its_level_and_polarity(polarity: int) -> None:
    found = align(REFERENCE, polarity * DEVICE[5 * RATE_HZ :])
    assert len(found.stretches) == 1
    assert found.stretches[0].lag == pytest.approx(-5 * RATE_HZ, abs=2)
    assert found.stretches[0].start / RATE_HZ == pytest.approx(5, abs=0.5)
    assert found.common_s > 18.5
    assert found.device_start(10 * RATE_HZ, 1000) == pytest.approx(5 * RATE_HZ, abs=2)
    assert found.device_start(2 * RATE_HZ, 1000) is None


def test_a_device_that_was_started_earlier_and_ran_longer() -> None:
    longer = np.concatenate([recorded(sounds(7, seed=5), 2), DEVICE, recorded(sounds(9, seed=6), 2)])
    found = align(REFERENCE, longer)
    assert found.stretches[0].lag == pytest.approx(7 * RATE_HZ, abs=2)
    assert found.common_s > SECONDS - 1
    assert found.lost_s == 0


@pytest.mark.parametrize("ppm", [-200, 40, 300])
def test_clocks_that_drift(ppm: float) -> None:
    drifting = soxr.resample(DEVICE, RATE_HZ, RATE_HZ * (1 + ppm * 1e-6), quality="HQ")
    found = align(REFERENCE, drifting)
    assert found.drift_ppm == pytest.approx(ppm, abs=5)
    assert len(found.stretches) == 1
    place = found.device_start(20 * RATE_HZ, 1000)
    assert place == pytest.approx(20 * RATE_HZ * (1 + ppm * 1e-6), abs=5)


@pytest.mark.parametrize("lost_s", [0.03, 0.7, 3.0])
def test_lost_samples_begin_a_new_stretch(lost_s: float) -> None:
    n = round(lost_s * RATE_HZ)
    found = align(REFERENCE, np.concatenate([DEVICE[: 12 * RATE_HZ], DEVICE[12 * RATE_HZ + n :]]))
    assert found.n_jumps == 1
    before, after = found.stretches
    assert before.lag == pytest.approx(0, abs=2)
    assert after.lag == pytest.approx(-n, abs=2)
    assert before.stop <= 12 * RATE_HZ + 8192  # a window that holds both sides may go to either
    assert after.start >= 12 * RATE_HZ + n - 8192


def test_inserted_samples_begin_a_new_stretch() -> None:
    found = align(REFERENCE, np.concatenate([DEVICE[: 12 * RATE_HZ], DEVICE[: RATE_HZ // 2], DEVICE[12 * RATE_HZ :]]))
    assert [round(one.lag / RATE_HZ, 2) for one in found.stretches] == [0, 0.5]


def test_what_was_filled_in_with_silence_is_cut_out() -> None:
    holed = DEVICE.copy()
    holed[12 * RATE_HZ : 12 * RATE_HZ + 3000] = 0
    REFERENCE_LOUD = REFERENCE.copy()
    REFERENCE_LOUD[12 * RATE_HZ : 12 * RATE_HZ + 3000] += recorded(0.2 * np.ones(3000), 7, noise_db=-10)
    found = align(REFERENCE_LOUD, holed)
    assert found.device_start(round(11.95 * RATE_HZ), 4096) is None
    assert found.lost_s == pytest.approx(3000 / RATE_HZ, abs=0.05)


def test_a_sound_that_one_device_alone_holds_is_cut_out() -> None:
    touched = DEVICE.copy()
    touched[10 * RATE_HZ : 13 * RATE_HZ] += 0.5 * np.random.default_rng(3).standard_normal(3 * RATE_HZ).astype("f4")
    assert spans(align(REFERENCE, touched))[0][1] == pytest.approx(10, abs=0.8)
    assert spans(align(REFERENCE, touched))[1][0] == pytest.approx(13, abs=0.8)


@pytest.mark.parametrize(
    "device",
    [
        recorded(sounds(SECONDS, seed=9), 2),
        recorded(np.zeros(SECONDS * RATE_HZ), 2, noise_db=-50),
        np.zeros(SECONDS * RATE_HZ, np.float32),
    ],
    ids=["other sounds", "noise", "silence"],
)
def test_recordings_of_other_sounds_are_refused(device: np.ndarray) -> None:
    with pytest.raises(InputError, match="do not contain the same sounds"):
        align(REFERENCE, device)


def test_too_little_in_common_is_refused() -> None:
    with pytest.raises(InputError, match=r"have only 2\.\d s in common; at least 8 s are needed"):
        align(REFERENCE, DEVICE[10 * RATE_HZ : 13 * RATE_HZ])


@pytest.mark.parametrize("lag", [-700, 0, 1500])
def test_the_lag_of_a_clip_of_a_second(lag: int) -> None:
    start = 3 * RATE_HZ
    clip = slice(start, start + RATE_HZ)
    assert lag_of_clip(REFERENCE[clip], DEVICE[start - lag : start - lag + RATE_HZ], RATE_HZ // 2) == pytest.approx(
        lag, abs=1
    )
