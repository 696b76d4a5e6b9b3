"""`dir`: a unit impulse comes out as the filter of a device, with the response in its record."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from umc_cli.errors import SettingsError
from umc_cli.response.frequency_response import band_level_db, impulse_response_curve
from umc_cli.response.synthesis.drawing import library_responses_db
from umc_cli.sec.augmentations.contract import AugmentationMaterial
from umc_cli.sec.augmentations.dir import SPEC, DirSettings, device_filter

LIBRARY_DB = library_responses_db()
MATERIAL = AugmentationMaterial(LIBRARY_DB, mean_db=-50.0, std_db=12.0)


def impulses_through(material: AugmentationMaterial, n: int = 60, **settings: float | bool) -> np.ndarray:
    """Responses over 128 bands, [n, 128] in dB, of what unit impulses become."""
    assert SPEC.build_waveform
    impulses = torch.zeros(n, 20_480)
    impulses[:, 0] = 1
    augment = SPEC.build_waveform(DirSettings(probability=1, **settings), material)
    filtered = augment(impulses, torch.Generator().manual_seed(0)).double().numpy()
    return np.array([band_level_db(impulse_response_curve(each, 22_050)) for each in filtered])


def test_impulses_come_out_with_a_devices_response_and_every_device_is_drawn() -> None:
    errors_db = np.abs(impulses_through(MATERIAL)[:, None] - LIBRARY_DB).max(axis=2)  # [60, devices]
    assert errors_db.min(axis=1).max() < 0.5
    assert set(errors_db.argmin(axis=1)) == set(range(len(LIBRARY_DB)))


def test_the_sources_response_is_subtracted_if_asked() -> None:
    known = replace(MATERIAL, responses_db=LIBRARY_DB[1:2], source_response_db=LIBRARY_DB[0])
    wanted_db = LIBRARY_DB[1] - LIBRARY_DB[0]
    assert np.abs(impulses_through(known, n=1, subtract_source=True) - wanted_db).max() < 0.5
    assert np.abs(impulses_through(known, n=1) - LIBRARY_DB[1]).max() < 0.5
    assert np.abs(wanted_db - LIBRARY_DB[1]).max() > 3


def test_a_level_in_the_response_is_a_gain() -> None:
    louder = replace(MATERIAL, responses_db=np.full((1, 128), 6.0))
    assert np.abs(impulses_through(louder, n=1) - 6.0).max() < 0.05


def test_a_flat_device_changes_nothing() -> None:
    assert SPEC.build_waveform
    augment = SPEC.build_waveform(DirSettings(probability=1), replace(MATERIAL, responses_db=np.zeros((1, 128))))
    noise = 0.1 * torch.randn(4, 20_480, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(augment(noise, torch.Generator()), noise, rtol=0, atol=1e-3)


def test_filter_is_minimum_phase() -> None:
    """No zero outside the unit circle: the phase is the Hilbert transform of the log magnitude (second way)."""
    spectrum = np.fft.fft(device_filter(LIBRARY_DB[0]), 1 << 16)
    cepstrum = np.fft.ifft(np.log(np.abs(spectrum))).real
    cepstrum[1 : 1 << 15] *= 2
    cepstrum[(1 << 15) + 1 :] = 0
    again = np.exp(np.fft.fft(cepstrum))
    np.testing.assert_allclose(again, spectrum, rtol=0, atol=1e-3 * np.abs(spectrum).max())


def test_a_dead_band_is_limited_to_60_db_below_the_loudest() -> None:
    dead = np.zeros(128)
    dead[100:] = -200
    level_db = band_level_db(impulse_response_curve(device_filter(dead), 22_050))
    assert np.abs(level_db[:98]).max() < 0.5
    assert level_db[104:].min() > -75
    assert level_db[104:].max() < -50


@pytest.mark.parametrize(
    ("material", "settings", "complaint"),
    [
        (
            replace(MATERIAL, responses_db=np.zeros((0, 128))),
            {},
            "one known device; there is none .add device",
        ),
        (MATERIAL, {"subtract_source": True}, "cannot subtract .* unknown .*measure the source"),
        (replace(MATERIAL, responses_db=np.zeros((3, 80))), {}, r"128 bands each; these have the shape \(3, 80\)"),
        (replace(MATERIAL, responses_db=np.full((1, 128), np.nan)), {}, "takes finite responses"),
    ],
)
def test_material_that_does_not_serve_is_refused(
    material: AugmentationMaterial, settings: dict[str, bool], complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint):
        impulses_through(material, **settings)
