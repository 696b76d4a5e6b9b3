import numpy as np
import pytest

from umc_cli.errors import InputError
from umc_cli.response.device import SourceFile
from umc_cli.response.frequency_response import band_centres_hz
from umc_cli.response.paired_record import completed, flat_reference, relative_record, what_is_missing
from umc_cli.response.paired_response import paired_response

BANDS = np.linspace(0, 1, 80)
SLOPE_DB = 12 * BANDS - 3
"""Device minus reference."""
FLOORS_DB = -80.0, -70.0
SOURCE = SourceFile(file="a.wav", sha256="0" * 64)


def segments(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Levels of two devices that heard the same, each with its own noise. Shape: [n, 80, 80] in dB, twice."""
    random = np.random.default_rng(0)
    sound_db = -45 + 12 * random.standard_normal((n, 1, 80)) + 5 * random.standard_normal((n, 80, 1))
    sound_db[:, :, :30] = -150  # pauses
    gains = np.zeros(80), SLOPE_DB
    noise = [10 ** (floor / 10) * random.exponential(size=(n, 80, 80)) for floor in FLOORS_DB]
    heard = [10 ** ((sound_db + gain[:, None]) / 10) + own for gain, own in zip(gains, noise, strict=True)]
    return tuple((10 * np.log10(one)).astype(np.float32) for one in heard)


def test_difference_and_floors_are_those_of_the_devices() -> None:
    found = paired_response(*segments())
    assert np.abs(found.difference_db - SLOPE_DB).max() < 0.3
    assert np.abs(found.reference_floor_db - FLOORS_DB[0]).max() < 5  # the 2nd percentile of smoothed noise
    assert np.abs(found.device_floor_db - FLOORS_DB[1]).max() < 5
    assert found.snr_db.min() > 10
    assert found.spread_db.max() < 1


def test_empty_bands_are_filled_in_and_not_trusted() -> None:
    reference, device = segments()
    device[:, 60:] = -100
    found = paired_response(reference, device)
    assert (found.snr_db[60:] == 0).all()
    assert np.allclose(found.difference_db[60:], found.difference_db[59])
    record = relative_record("b", flat_reference("a", SOURCE, found.reference_floor_db), found, [SOURCE], 12)
    assert record.trusted_range_hz[1] < 8000


def test_sounds_below_the_noise_are_refused() -> None:
    noise = -60 + np.random.default_rng(0).standard_normal((2, 10, 80, 80)).astype(np.float32)
    with pytest.raises(InputError, match="the sounds do not rise above the noise"):
        paired_response(*noise)


def test_a_record_relative_to_a_flat_reference_says_so() -> None:
    found = paired_response(*segments())
    reference = flat_reference("a", SOURCE, found.reference_floor_db)
    record = relative_record("b", reference, found, [SOURCE], 12)
    assert record.method == reference.method == "side by side"
    assert "flat reference" in record.note
    at_1_khz = np.interp(1000, band_centres_hz(), record.frequency_response_db)
    assert at_1_khz == pytest.approx(0, abs=0.1)
    gain_db = np.array(record.frequency_response_db) + record.sensitivity_dbfs - reference.sensitivity_dbfs
    assert gain_db[0] == pytest.approx(SLOPE_DB[0], abs=0.5)
    assert gain_db[-1] == pytest.approx(SLOPE_DB[-1], abs=0.5)


def test_a_reference_keeps_what_its_record_holds() -> None:
    whole = flat_reference("a", SOURCE, np.full(80, -70.0))
    bare = whole.model_copy(update={"noise_floor_db": None, "sensitivity_dbfs": -30.0, "note": "Swept."})
    assert what_is_missing(bare) == ["noise floor"]
    record = completed(bare, np.full(80, -75.0))
    assert record.sensitivity_dbfs == -30
    assert set(record.noise_floor_db) == {-75}
    assert record.note == "Swept. Added from recordings side by side: noise floor."
