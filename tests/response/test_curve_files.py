"""Curves in every format: what is read, and what is refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.response.measurements import microphone
from tests.samples import write_audio
from umc_cli.errors import InputError, SettingsError
from umc_cli.response.curve_files import CURVE_READERS, read_curve_file
from umc_cli.response.device import DeviceRegistry
from umc_cli.response.frequency_response import band_response_db
from umc_cli.response.impulse_response_files import read_impulse_response

HERTZ, DECIBELS = [20.0, 1000.0, 20_000.0], [-3.5, 0.0, 4.25]
XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<audio_platform_info><microphone_characteristics>
 <microphone device_id="builtin_mic_1" frequencies="20 1000 20000" responses="-3.5 0.0 4.25"
  sensitivity="-37.0" min_spl="28.5" />
 <microphone device_id="builtin_mic_2" frequencies="20 1000" responses="1 2" />
</microphone_characteristics></audio_platform_info>"""
MICROPHONE = '<a><microphone device_id="m" frequencies="{}" responses="{}" sensitivity="nan" /></a>'
TWICE = """<root><microphone device_id="m1" frequencies="100 1000 9000" responses="-1 0 0"/>
<microphone device_id="m2" address="back" frequencies="100 1000 9000" responses="-9 0 9"/>
<microphone device_id="m2" address="bottom" frequencies="100 1000 9000" responses="-1 0 1"/></root>"""
FILES = {
    "ours.csv": "frequency_hz,response_db\n20,-3.5\n1000,0\n20000,4.25\n",
    "other.csv": "Freq(Hz);SPL(dB);Phase(degrees)\n20;-3.5;0\n1000;0;10\n20000;4.25;20\n",
    "speaker.frd": "* a comment\n20 -3.5 180\n1000 0.0 90\n20000 4.25 0\n",
    "mic.cal": '"Sens Factor =-.8643dB, SERNO: 7047870"\n20\t-3.5\n1000\t0\n20000\t4.25\n',
    "rew.txt": "* Measurement data measured by REW V5.31\n* Freq(Hz) SPL(dB) Phase(degrees)\n"
    "20.0, -3.5, 10\n1000.0, 0.0, 0\n20000, 4.25, 0\n",
    "quoted.txt": '"Frequency (Hz)","Level (dB)"\n"20","-3.5"\n"1000","0"\n"20000","4.25"\n',
    "omnimic.omm": "* mic gain: 20\n* serial 12\n20 -3.5\n1000 0\n20000 4.25\n",
    "dayton.mic": "Freq  Gain\n20 -3.5\n1000 0\n20000 4.25\n",
    "with_dc.txt": "0 -80\n20 -3.5\n1000 0\n20000 4.25\n",
    "phone.xml": XML,
}  # fmt: skip


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="latin-1")
    return path


@pytest.mark.parametrize("name", FILES)
def test_all_formats_give_the_same_curve(tmp_path: Path, name: str) -> None:
    found = read_curve_file(write(tmp_path, name, FILES[name]), "builtin_mic_1" if name == "phone.xml" else None)
    np.testing.assert_array_equal(found.curve.frequency_hz, HERTZ)
    np.testing.assert_array_equal(found.curve.response_db, DECIBELS)
    if name == "phone.xml":
        assert (found.sensitivity_dbfs, found.least_spl_db) == (-37.0, 28.5)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("name", ["ours.csv", "other.csv", "rew.txt", "quoted.txt"])
def test_windows_encodings_are_read(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_text(FILES[name], encoding=encoding)
    np.testing.assert_array_equal(read_curve_file(tmp_path / name).curve.response_db, DECIBELS)


def test_whole_numbers_in_three_columns_are_a_curve_with_a_phase(tmp_path: Path) -> None:
    found = read_curve_file(write(tmp_path, "a.csv", "100,85,170\n1000,90,10\n9000,87,-90\n"))
    np.testing.assert_array_equal(found.curve.response_db, [85, 90, 87])


def test_microphones_of_one_id_are_both_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.xml", TWICE)
    with pytest.raises(InputError, match=r"2 microphones 'm2': address back, .*-9 0 9.*; address bottom, .*-1 0 1"):
        read_curve_file(path, "m2")
    np.testing.assert_array_equal(read_curve_file(path, "m1").curve.response_db, [-1, 0, 0])


def test_every_suffix_is_tried() -> None:
    assert {Path(name).suffix for name in FILES} | {".json"} == set(CURVE_READERS)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "20 1\n1000 -2\n500 3\n", "line 3: 500 Hz is not above 1000 Hz"),
        ("a.txt", "20 1\n1000 -2\n1000 3\n", "line 3: 1000 Hz repeats 1000 Hz"),
        ("a.csv", "frequency_hz,response_db\n1000,0\n500,-1\n", "do not rise"),
        ("a.frd", "20 0.7\n1000 1.0\n20000 1.6\n", "between 0.7 and 1.6, like linear gains"),
        ("a.csv", "frequency_hz,response_db\n20,0.7\n1000,1\n9000,0.9\n", "like linear gains"),
        ("a.txt", "Freq Linear magnitude\n20 0.7\n1000 2.5\n", "line 1 says that its values are linear"),
        ("a.cal", "20 -1e9\n1000 0\n", "not a level in dB"),
        ("a.txt", "20 nan\n1000 0\n", "line 1 is not two numbers"),
        ("a.txt", "20\n1000 0\n", "line 1 is not two numbers"),
        ("a.txt", "nothing here\n", "fewer than two points"),
        ("a.wmf", "20 0\n", "is not a curve"),
        ("a.xml", "<a", "is not XML"),
        ("a.xml", "<a/>", "holds no microphone"),
        ("a.xml", XML, "holds 2 microphones"),
        ("a.xml", MICROPHONE.format("100 1000 9000", "nan 0 1"), "a value that is not finite"),
        ("a.xml", MICROPHONE.format("100 x 1000", "1 0 y"), "is not a list of numbers: 'x'"),
        ("a.xml", MICROPHONE.format("100 1000 9000", "0 1"), "3 frequencies, 2 responses"),
        ("a.xml", MICROPHONE.format("100 1000 9000", "0.5 1.0 1.2"), "like linear gains"),
        ("a.txt", "20,5;-3,1\n1000,2;0,5\n", "line 1 writes decimals with a comma"),
        ("a.txt", "20\t-3,1\n1000\t0,5\n", "line 1 writes decimals with a comma"),
        ("a.csv", "Hz,dB\n100,0,-3,5\n1000,0,0,0\n9000,5,4,25\n", "line 2 writes decimals with a comma"),
        ("a.csv", "100,0,-3,5\n1000,0,0\n9000,0,4,25\n", "line 1 writes decimals with a comma"),
        ("a.csv", "100,0,-3\n1000,0,0\n9000,0,4\n", "line 1 writes decimals with a comma"),
        ("a.csv", "100,25,-3,5\n100,75,0,5\n", "line 1 writes decimals with a comma"),
        ("a.csv", '"100,5","-3,5"\n"1000,0","0,0"\n', "line 1 writes decimals with a comma"),
        ("a.csv", "frequency_hz,response_db\n100,0,-3,5\n1000,0,0,0\n", "line 2 has more fields"),
        ("a.xml", TWICE, "holds 3 microphones"),
    ],
)
def test_what_is_no_curve_in_decibels_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as failure:
        read_curve_file(write(tmp_path, name, text))
    assert failure.value.hint


def test_a_missing_curve_and_an_unknown_microphone_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read curve .*gone\.txt"):
        read_curve_file(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="no microphone 'builtin_mic_9'"):
        read_curve_file(write(tmp_path, "a.xml", XML), "builtin_mic_9")


def test_a_sensitivity_that_is_no_number_is_unknown(tmp_path: Path) -> None:
    found = read_curve_file(write(tmp_path, "a.xml", MICROPHONE.format("100 1000", "-1 0")))
    assert found.sensitivity_dbfs is None


def test_a_device_record_is_a_curve_over_the_bands_it_trusts() -> None:
    device, path = DeviceRegistry().get("pixel3"), DeviceRegistry().path("pixel3")
    assert path is not None
    curve = read_curve_file(path).curve
    centres = np.array(device.band_centres_hz)
    trusted = centres >= device.trusted_range_hz[0]
    np.testing.assert_array_equal(curve.frequency_hz, centres[trusted])
    np.testing.assert_array_equal(curve.response_db, np.array(device.frequency_response_db)[trusted])


def write_sofa(path: Path, responses: np.ndarray, rate_hz: float = 48_000.0) -> Path:
    with h5py.File(path, "w") as file:
        file["Data.IR"] = responses
        file["Data.SamplingRate"] = [rate_hz]
    return path


def test_sofa_and_wav_hold_the_same_impulse_response(tmp_path: Path) -> None:
    response = microphone()
    sofa = write_sofa(tmp_path / "mic.sofa", response[None, None])
    wav = write_audio(tmp_path / "mic.wav", np.pad(response, (0, 4000)), 48_000, subtype="DOUBLE")
    from_sofa, from_wav = (read_impulse_response(path, None, 50) for path in (sofa, wav))
    np.testing.assert_allclose(from_sofa[0], from_wav[0], atol=1e-12)
    assert from_sofa[1] == from_wav[1] == 48_000


def test_an_impulse_response_may_be_shorter_than_a_frame_of_a_spectrogram(tmp_path: Path) -> None:
    wav = write_audio(tmp_path / "mic.wav", microphone()[:256], 48_000, subtype="DOUBLE")
    np.testing.assert_array_equal(read_impulse_response(wav, None, None)[0], microphone()[:256])


@pytest.mark.parametrize(
    ("shape", "channel", "message"),
    [
        ((3, 1, 64), None, "holds 3 measurements"),
        ((1, 2, 64), None, "2 channels that differ"),
        ((1, 2, 64), "3", "no channel 3"),
        ((64,), None, "Data.IR is"),
    ],
)
def test_sofa_files_that_leave_a_choice_are_refused(
    tmp_path: Path, shape: tuple[int, ...], channel: str | None, message: str
) -> None:
    path = write_sofa(tmp_path / "mic.sofa", np.random.default_rng(0).standard_normal(shape))
    with pytest.raises(InputError, match=message):
        read_impulse_response(path, channel, None)
    if shape == (1, 2, 64):
        assert read_impulse_response(path, "2", None)[0].shape == (64,)
        with pytest.raises(SettingsError, match="is not a channel"):
            read_impulse_response(path, "left", None)


def test_what_is_no_sofa_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a SOFA file"):
        read_impulse_response(write(tmp_path, "mic.sofa", "text"), None, None)


@pytest.mark.realdata
def test_xml_of_a_maker_gives_the_record_of_the_library(realdata: Path) -> None:
    library = DeviceRegistry().get("xperia1v")
    path = realdata / "phone_responses" / "raw" / "sony_sm8550_xperia1v_5v.xml"
    found = read_curve_file(path, "builtin_mic_1")
    np.testing.assert_allclose(band_response_db(found.curve), library.frequency_response_db, atol=0.06)
    assert found.sensitivity_dbfs == library.sensitivity_dbfs
