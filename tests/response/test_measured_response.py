"""What is made of repeats: calibrations, trusted bands, the reference level."""

import numpy as np
import pytest

from umc_cli.response.frequency_response import Curve, band_centres_hz
from umc_cli.response.impulse_response import Take
from umc_cli.response.measured_response import measure_response, shape_db, trusted_bands, trusted_range_hz, without

RATE_HZ = 48_000
HERTZ = np.geomspace(10, 24_000, 400)


def take_of(*heights: float, noise_db: float = -100.0) -> Take:
    """Repeats of a flat response of these heights, 10 ms behind the start of 200 ms."""
    repeats = np.zeros((len(heights), RATE_HZ // 5))
    repeats[:, RATE_HZ // 100] = heights
    noise = Curve(HERTZ, np.full(len(HERTZ), noise_db))
    return Take(RATE_HZ, repeats, (0.0,) * len(heights), (), np.zeros(1), noise, (0.0, RATE_HZ / 2))


def test_calibrations_are_taken_out_exactly() -> None:
    random = np.random.default_rng(0)
    true_db, microphone_db, loudspeaker_db = random.normal(0, 6, (3, len(HERTZ)))
    # The calibrations have points of their own, between which they are linear over log frequency.
    coarse = np.unique([*range(0, len(HERTZ), 7), len(HERTZ) - 1])
    measured_db = true_db + sum(
        np.interp(np.log(HERTZ), np.log(HERTZ[coarse]), levels_db[coarse])
        for levels_db in (microphone_db, loudspeaker_db)
    )
    calibrations = [Curve(HERTZ[coarse], levels_db[coarse]) for levels_db in (microphone_db, loudspeaker_db)]
    np.testing.assert_allclose(without(Curve(HERTZ, measured_db), calibrations).response_db, true_db, atol=1e-12)


def test_a_tilted_calibration_of_a_flat_measurement_is_the_opposite_tilt() -> None:
    tilt = Curve(HERTZ, 3 * np.log2(HERTZ / 1000))
    measured = measure_response([take_of(0.5)], [tilt], 200)
    hertz = np.maximum(measured.curve.frequency_hz, HERTZ[0])  # constant beyond the calibration's end
    np.testing.assert_allclose(measured.curve.response_db, 20 * np.log10(0.5) - 3 * np.log2(hertz / 1000), atol=1e-6)
    np.testing.assert_allclose(measured.frequency_response_db, shape_db(Curve(HERTZ, -tilt.response_db)), atol=0.02)


def test_spread_and_disagreement_are_those_of_the_levels() -> None:
    heights = (0.4, 0.5, 0.625)
    measured = measure_response([take_of(*heights)], [], 200)
    levels_db = 20 * np.log10(heights)
    assert measured.spread_db is not None
    np.testing.assert_allclose(measured.spread_db, levels_db.std(ddof=1), atol=0.01)
    assert measured.disagreement_db == pytest.approx(levels_db[2] - levels_db[0], abs=0.01)


def test_noise_of_n_repeats_is_averaged_over_all_takes() -> None:
    one, three = (measure_response(takes, [], 200) for takes in ([take_of(0.5)], [take_of(0.5), take_of(0.5, 0.5)]))
    np.testing.assert_allclose(one.snr_db, 100 + 20 * np.log10(0.5), atol=0.01)
    np.testing.assert_allclose(three.snr_db - one.snr_db, 10 * np.log10(3), atol=0.01)


def test_trusted_bands_end_at_the_first_bad_one_on_either_side_of_1_khz() -> None:
    snr_db = np.full(128, 30.0)
    snr_db[[3, 90]] = 9.9
    trusted = trusted_bands(snr_db, [(0.0, 24_000.0)])
    np.testing.assert_array_equal(np.flatnonzero(trusted), np.arange(4, 90))
    assert trusted_range_hz(trusted) == (band_centres_hz()[4].round(1), band_centres_hz()[89].round(1))
    covered = trusted_bands(None, [(0.0, 5_000.0), (200.0, 24_000.0)])
    centres = band_centres_hz()[covered]
    assert (centres.min() >= 200, centres.max() <= 5_000) == (True, True)


def test_a_notch_at_1_khz_does_not_lift_the_other_bands() -> None:
    notch_db = -30.0 * np.exp(-0.5 * (np.log2(HERTZ / 1000) / 0.02) ** 2)
    away = np.abs(np.log2(band_centres_hz() / 1000)) > 1
    np.testing.assert_allclose(shape_db(Curve(HERTZ, notch_db))[away], 0, atol=1.5)
