"""`umc measure-ir` and `umc devices compare` from end to end: records, gates, refusals."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.response.measurements import microphone, recorded, rms, true_shape_db
from tests.response.test_blind_response import LABELS, simulated, sounds
from tests.samples import Run, write_audio
from umc_cli.config import Option, find_workspace
from umc_cli.response.device import read_device, write_device
from umc_cli.response.frequency_response import band_response_db, impulse_response_curve
from umc_cli.response.stimulus import (
    FORMAT,
    ImpulseTrain,
    SineSweep,
    read_stimulus,
    stimulus_samples,
    write_stimulus,
)
from umc_cli.settings.measure_ir import MakeStimulusSettings, MeasureIrSettings
from umc_cli.simulation.simulated_device import SimulatedDevice
from umc_cli.workflows.measure_ir import measure_ir
from umc_cli.workflows.measurement_record import MeasureIrReport

Umc = Callable[..., Run]
RATE_HZ = 48_000
CURVE = "frequency_hz,response_db\n20,-3.5\n1000,0\n20000,4.25\n"


@pytest.fixture
def take(umc: Umc, workspace: Path) -> Path:
    """A recording of three sweeps, with the stimulus `sweep.wav` beside it."""
    assert umc("measure-ir", "--make-stimulus", "sweep", "sweep.wav").exit_code == 0
    stimulus = read_stimulus(workspace / "sweep.json")
    return write_audio(workspace / "take.wav", recorded(stimulus, microphone()), RATE_HZ, subtype="PCM_24")


def test_options_of_a_stimulus_say_its_defaults() -> None:
    marks = {name: Option.of(field) for name, field in MakeStimulusSettings.model_fields.items()}
    impulse, sweep = ImpulseTrain(), SineSweep()
    assert {name: mark and mark.default for name, mark in marks.items()} == {
        "sample_rate_hz": str(impulse.sample_rate_hz),
        "level_dbfs": f"{impulse.level_dbfs:g} for impulses, {sweep.level_dbfs:g} for sweeps",
        "repeats": f"{impulse.repeats} impulses, {sweep.repeats} sweeps",
    }
    assert impulse.sample_rate_hz == sweep.sample_rate_hz


def test_settings_of_a_stimulus_may_stand_in_umc_toml(umc: Umc, workspace: Path) -> None:
    (workspace / "umc.toml").write_text("[make-stimulus]\nrepeats = 2\nsample_rate_hz = 32000\n")
    assert umc("measure-ir", "--make-stimulus", "sweep", "short.wav", "--repeats", 1).exit_code == 0
    stimulus = read_stimulus(workspace / "short.json")
    assert (stimulus.repeats, stimulus.sample_rate_hz) == (1, 32_000)
    assert isinstance(stimulus, SineSweep)
    assert stimulus.stop_hz == 16_000


@pytest.mark.parametrize("kind", ["impulse", "sweep"])
def test_a_stimulus_and_its_sidecar_say_the_same(umc: Umc, workspace: Path, kind: str) -> None:
    run = umc(
        "measure-ir", "--make-stimulus", kind, "out.wav", "--rate", 44100, "--level", -12, "--repeats", 2, "--json"
    )
    assert run.exit_code == 0
    stimulus = read_stimulus(workspace / "out.json")
    assert run.json["stimulus"] == stimulus.model_dump(mode="json")
    assert (stimulus.sample_rate_hz, stimulus.level_dbfs, stimulus.repeats) == (44_100, -12, 2)
    import soundfile

    samples, rate_hz = soundfile.read(workspace / "out.wav")
    assert rate_hz == 44_100
    np.testing.assert_allclose(samples, stimulus_samples(stimulus), atol=2**-23)
    assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(-12, abs=0.01)
    silent = round(stimulus.lead_in_s * rate_hz)
    assert not samples[:silent].any()
    assert samples[silent] != 0  # the marker, or the first impulse
    again = umc("measure-ir", "--make-stimulus", kind, "out.wav")
    assert again.exit_code == 2
    assert "already exists" in again.stderr


def test_sweep_rises_exponentially() -> None:
    sweep = SineSweep(repeats=1)
    samples = stimulus_samples(sweep)
    growth_s = sweep.duration_s / np.log(sweep.stop_hz / sweep.start_hz)
    for frequency_hz in (100, 1000, 10_000):
        middle = round((sweep.first_s + growth_s * np.log(frequency_hz / sweep.start_hz)) * RATE_HZ)
        piece = samples[middle - 1200 : middle + 1200] * np.hanning(2400)
        loudest_hz = np.argmax(np.abs(np.fft.rfft(piece, 48_000)))
        assert loudest_hz == pytest.approx(frequency_hz, rel=0.03)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is not JSON"),
        ("{}", "is not a description of a stimulus"),
        ('{"format": "umc-stimulus", "format_version": 2}', "format version 2"),
        ('{"format": "umc-stimulus", "format_version": 1, "kind": "sweep", "spacing_s": 5}', "spacing_s"),
    ],
)
def test_a_broken_sidecar_is_refused(umc: Umc, take: Path, text: str, message: str) -> None:
    Path("bad.json").write_text(text)
    run = umc("measure-ir", take, "--device", "mine", "--stimulus", "bad.json")
    assert run.exit_code == 2
    assert message in run.stderr
    assert "Hint:" in run.stderr
    assert FORMAT.version == 1


def test_a_sweep_becomes_a_record_a_table_and_a_picture(umc: Umc, workspace: Path, take: Path) -> None:
    run = umc(
        "measure-ir",
        take,
        "--device",
        "mine",
        "--name",
        "My phone",
        "--stimulus",
        "sweep.json",
        "--figure",
        "a.png",
        "--json",
    )
    assert run.exit_code == 0
    assert set(run.json) == {*MeasureIrReport.__dataclass_fields__, "exit_code"}
    device = read_device(workspace / "devices" / "mine.json")
    assert run.json["device"] == device.model_dump(mode="json")
    assert (device.name, device.method, device.repeats, device.sample_rate_hz) == ("My phone", "sweep", 3, RATE_HZ)
    assert [source.file for source in device.sources] == ["take.wav", "sweep.json"]
    assert rms(np.array(device.frequency_response_db) - true_shape_db(microphone(), RATE_HZ)) < 0.1
    # White noise of -80 dBFS up to 24 kHz: 3.4 dB less below 11,025 Hz, where the resampler falls off.
    from umc_cli.response.frequency_response import white_noise_floor_db

    assert np.abs(np.array(device.noise_floor_db)[:-3] - white_noise_floor_db(-83.4)).max() < 1.5
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    shown = umc("measure-ir", take, "--device", "mine", "--stimulus", "sweep.json", "--overwrite", "--figure", "a.svg")
    assert "3 repeats; trusted from" in shown.stdout
    assert "<svg" in Path("a.svg").read_text()


def test_a_measurement_says_what_it_heard_how_good_it_is_and_what_to_do_next(
    umc: Umc, workspace: Path, take: Path
) -> None:
    made = umc("measure-ir", "--make-stimulus", "sweep", "again.wav")
    assert "umc measure-ir TAKE1.wav TAKE2.wav --device PHONE --stimulus again.json" in made.stderr
    run = umc("measure-ir", take, "--device", "mine", "--stimulus", "sweep.json")
    assert run.exit_code == 0
    assert "heard 3 sweeps in take.wav, the first at " in run.stderr
    assert "the measurement is good (signal to noise " in run.stderr
    assert "put its recordings into data/mine/<label>/\n  umc convert --source mine --targets all" in run.stderr
    own = umc("measure-ir", take, "--device", "xperia1v", "--stimulus", "sweep.json")
    assert "next:\n  umc convert --source xperia1v --targets all" in own.stderr  # it has recordings
    quiet = umc("measure-ir", take, "--device", "other", "--stimulus", "sweep.json", "--quiet")
    assert "next:" not in quiet.stderr


def test_the_measurement_of_a_curve_says_where_its_noise_floor_will_come_from(umc: Umc, workspace: Path) -> None:
    (workspace / "curve.csv").write_text(CURVE)
    run = umc("measure-ir", "curve.csv", "--device", "mine")
    assert "no noise floor: umc convert takes it from the device's recordings" in run.stderr
    assert "heard" not in run.stderr


def test_a_stimulus_of_which_the_sidecar_alone_is_left_is_enough(umc: Umc, workspace: Path, take: Path) -> None:
    (workspace / "sweep.wav").unlink()
    run = umc("measure-ir", take, "--device", "mine", "--stimulus", "sweep.wav")
    assert run.exit_code == 0, run.stderr
    sources = [source.file for source in read_device(workspace / "devices/mine.json").sources]
    assert sources == ["take.wav", "sweep.json"]


def test_a_known_device_is_not_overwritten(umc: Umc, workspace: Path, take: Path) -> None:
    arguments = ("measure-ir", take, "--device", "mine", "--stimulus", "sweep.json")
    assert umc(*arguments).exit_code == 0
    before = (workspace / "devices" / "mine.json").read_bytes()
    run = umc(*arguments, "--window", 5)
    assert run.exit_code == 2
    assert "--overwrite" in run.stderr
    assert (workspace / "devices" / "mine.json").read_bytes() == before
    assert umc(*arguments, "--window", 5, "--overwrite").exit_code == 0
    assert (workspace / "devices" / "mine.json").read_bytes() != before


def test_calibration_and_reference_are_taken_out(umc: Umc, workspace: Path, take: Path) -> None:
    Path("mic.csv").write_text(CURVE)
    Path("box.frd").write_text("20 6\n1000 0\n20000 -9\n")
    options = ("--device", "mine", "--stimulus", "sweep.json", "--overwrite", "--json")
    plain = umc("measure-ir", take, *options).json["device"]
    both = umc("measure-ir", take, *options, "--calibration", "mic.csv", "--reference", "box.frd").json["device"]
    removed_db = np.subtract(plain["frequency_response_db"], both["frequency_response_db"])
    centres = np.array(plain["band_centres_hz"])
    expected_db = sum(
        np.interp(np.log(centres), np.log([20, 1000, 20_000]), levels) for levels in ([-3.5, 0, 4.25], [6, 0, -9])
    )
    np.testing.assert_allclose((removed_db - expected_db)[2:], (removed_db - expected_db).mean(), atol=0.1)
    assert "mic.csv" in both["note"]
    assert "box.frd" in both["note"]


def test_a_device_measured_with_its_own_record_as_reference_is_flat(umc: Umc, workspace: Path, take: Path) -> None:
    options = ("--stimulus", "sweep.json", "--json")
    umc("measure-ir", take, "--device", "box", *options)
    flat = umc("measure-ir", take, "--device", "mine", "--reference", "devices/box.json", *options).json["device"]
    assert np.abs(flat["frequency_response_db"][2:-2]).max() < 0.7


def test_the_ten_steps_give_the_phone_without_loudspeaker_and_measurement_microphone(
    umc: Umc, workspace: Path, take: Path
) -> None:
    """docs/measuring-a-phone.md, steps 8 and 9: a loudspeaker recorded with a known microphone, then the phone."""
    stimulus = read_stimulus(workspace / "sweep.json")
    loudspeaker, phone, error = microphone(seed=1), microphone(seed=0), microphone(seed=2)
    for name, chain in (("speaker", np.convolve(loudspeaker, error)), ("phone", np.convolve(loudspeaker, phone))):
        write_audio(workspace / f"{name}.wav", recorded(stimulus, chain), RATE_HZ, subtype="PCM_24")
    curve = impulse_response_curve(error, RATE_HZ)
    rows = zip(curve.frequency_hz[9:20_000:10], curve.response_db[9:20_000:10], strict=True)
    (workspace / "mic.txt").write_text("".join(f"{hertz:.1f} {level_db:.3f}\n" for hertz, level_db in rows))
    options = ("--stimulus", "sweep.json", "--json")
    umc("measure-ir", "speaker.wav", "--device", "loudspeaker", *options, "--calibration", "mic.txt")
    run = umc("measure-ir", "phone.wav", "--device", "mine", *options, "--reference", "devices/loudspeaker.json")
    error_db = np.subtract(run.json["device"]["frequency_response_db"], true_shape_db(phone, RATE_HZ))
    assert rms(error_db[2:]) < 0.3


def test_an_impulse_response_and_a_curve_become_records(umc: Umc, workspace: Path) -> None:
    write_audio(workspace / "ir.wav", np.pad(microphone(), (0, 8000)), RATE_HZ, subtype="DOUBLE")
    assert umc("measure-ir", "ir.wav", "--device", "a", "--stimulus", "response").exit_code == 0
    found = read_device(workspace / "devices" / "a.json").frequency_response_db
    expected_db = band_response_db(impulse_response_curve(np.pad(microphone(), (0, 8000)), RATE_HZ))
    np.testing.assert_allclose(np.subtract(found, np.mean(found)), expected_db - expected_db.mean(), atol=0.02)
    (workspace / "curve.csv").write_text(CURVE)
    assert umc("measure-ir", "curve.csv", "--device", "b").exit_code == 0
    assert read_device(workspace / "devices" / "b.json").method == "imported curve"


def test_a_calibrator_gives_the_level(umc: Umc, workspace: Path, take: Path) -> None:
    seconds = np.arange(2 * RATE_HZ) / RATE_HZ
    tone = 10 ** (-26 / 20) * np.sqrt(2) * np.sin(2 * np.pi * 1000.3 * seconds)
    write_audio(workspace / "tone.wav", tone + 1e-4 * np.random.default_rng(0).standard_normal(len(tone)), RATE_HZ)
    options = ("--device", "mine", "--stimulus", "sweep.json", "--json")
    assert umc("measure-ir", take, *options, "--tone", "tone.wav").json["device"]["sensitivity_dbfs"] == pytest.approx(
        -26, abs=0.05
    )
    run = umc("measure-ir", take, *options, "--overwrite", "--tone", take)
    assert run.exit_code == 1
    assert "no steady tone" in run.stderr


def test_stereo_with_different_channels_is_refused_unless_one_is_chosen(umc: Umc, workspace: Path, take: Path) -> None:
    import soundfile

    left = soundfile.read(take)[0]
    same, other = np.stack([left, left], axis=1), np.stack([left, np.roll(left, 300)], axis=1)
    options = ("--stimulus", "sweep.json", "--json", "--overwrite", "--device", "mine")
    write_audio(workspace / "same.wav", same, RATE_HZ, subtype="PCM_24")
    write_audio(workspace / "other.wav", other, RATE_HZ, subtype="PCM_24")
    alone = umc("measure-ir", take, *options).json["device"]["frequency_response_db"]
    assert umc("measure-ir", "same.wav", *options).json["device"]["frequency_response_db"] == alone
    run = umc("measure-ir", "other.wav", *options)
    assert run.exit_code == 1
    assert "2 channels that differ" in run.stderr
    assert "--channel mix" in run.stderr
    for number in (1, 2):
        chosen = umc("measure-ir", "other.wav", *options, "--channel", number).json["device"]["frequency_response_db"]
        np.testing.assert_allclose(chosen, alone, atol=0.05)
    mixed = umc("measure-ir", "other.wav", *options, "--channel", "mix")  # a comb filter
    assert rms(np.subtract(mixed.json["device"]["frequency_response_db"], alone)) > 1
    assert umc("measure-ir", "other.wav", *options, "--channel", 3).exit_code == 1
    assert umc("measure-ir", "other.wav", *options, "--channel", "left").exit_code == 2


def test_the_channel_is_the_recording_s_not_the_played_file_s(umc: Umc, workspace: Path, take: Path) -> None:
    import soundfile

    left = soundfile.read(take)[0]
    write_audio(workspace / "other.wav", np.stack([np.roll(left, 300), left], axis=1), RATE_HZ, subtype="PCM_24")
    write_audio(workspace / "one sweep.wav", stimulus_samples(SineSweep(repeats=1))[round(2.6 * RATE_HZ) :], RATE_HZ)
    run = umc("measure-ir", "other.wav", "--device", "mine", "--stimulus", "one sweep.wav", "--channel", 2, "--json")
    assert run.exit_code == 0
    error_db = np.subtract(run.json["device"]["frequency_response_db"], true_shape_db(microphone(), RATE_HZ))
    assert rms(error_db) < 0.3


@pytest.mark.parametrize(
    ("played", "message"),
    [
        ("chirp", "there is no stimulus 'chirp'"),
        ("text.wav", "cannot be decoded"),
        ("two.wav", "2 channels that differ"),
    ],
)
def test_a_stimulus_that_cannot_be_read_is_named(
    umc: Umc, workspace: Path, take: Path, played: str, message: str
) -> None:
    (workspace / "text.wav").write_text("text")
    write_audio(workspace / "two.wav", np.random.default_rng(0).normal(0, 0.1, (9000, 2)))
    run = umc("measure-ir", take, "--device", "mine", "--stimulus", played)
    assert run.exit_code == 2
    assert message in run.stderr
    assert "take.wav" not in run.stderr
    assert "Hint:" in run.stderr
    assert not (workspace / "devices").exists()


def test_repeats_that_disagree_fail_the_gate(umc: Umc, workspace: Path) -> None:
    stimulus = SineSweep(repeats=1)
    for name, seed in (("one", 0), ("two", 5)):
        write_audio(workspace / f"{name}.wav", recorded(stimulus, microphone(seed=seed)), RATE_HZ)
    run = umc("measure-ir", "one.wav", "two.wav", "--device", "mine", "--stimulus", "sweep")
    assert run.exit_code == 1
    assert "two repeats differ by" in run.stderr
    assert "Hint:" in run.stderr
    assert "no record was written" in run.stdout
    assert not (workspace / "devices").exists()


def test_noise_over_most_bands_fails_the_gate(umc: Umc, workspace: Path, take: Path) -> None:
    stimulus = read_stimulus(workspace / "sweep.json")
    # The noise hides the device's upper half, that of low frequencies lies above it.
    dull = np.convolve(microphone(), np.exp(-np.arange(400) / 40))
    write_audio(workspace / "noisy.wav", 0.1 * recorded(stimulus, dull, noise_dbfs=-8), RATE_HZ)
    run = umc("measure-ir", "noisy.wav", "--device", "mine", "--stimulus", "sweep.json", "--json", "--figure", "a.png")
    assert run.exit_code == 1
    (gate,) = run.json["failed_gates"]
    assert gate["reason"].startswith("the signal-to-noise ratio is 10 dB or more only in 0-")
    assert "play louder or closer" in gate["hint"]
    assert (run.json["written"], run.json["exit_code"]) == (False, 1)
    assert (workspace / "a.png").exists()
    assert not (workspace / "devices").exists()


def test_a_curve_that_does_not_reach_1_khz_is_refused(umc: Umc, workspace: Path) -> None:
    (workspace / "high.frd").write_text("2000 -3\n4000 0\n9000 4\n")
    run = umc("measure-ir", "high.frd", "--device", "mine")
    assert run.exit_code == 1
    assert "cannot be trusted around 1 kHz" in run.stderr
    assert not (workspace / "devices").exists()


def test_clipping_of_most_repeats_fails_the_gate(umc: Umc, workspace: Path, take: Path) -> None:
    import soundfile

    samples = soundfile.read(take)[0]
    samples[: round(15.5 * RATE_HZ)] = np.clip(4 * samples[: round(15.5 * RATE_HZ)], -1, 1)
    write_audio(workspace / "clipped.wav", samples, RATE_HZ)
    run = umc("measure-ir", "clipped.wav", "--device", "mine", "--stimulus", "sweep.json")
    assert run.exit_code == 1
    assert "2 of 3 repeats are clipped" in run.stderr
    assert run.stderr.count(" s: clipped") == 2
    assert not (workspace / "devices").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: write_audio(path, np.zeros(96_000), RATE_HZ), "is silent"),
        (
            lambda path: write_audio(path, np.random.default_rng(0).normal(0, 0.1, 300_000), RATE_HZ),
            "does not contain the sweep",
        ),
        (lambda path: path.write_bytes(b"RIFF"), "cannot be decoded"),
        (lambda path: None, "does not exist"),
    ],
    ids=["silent", "noise", "broken", "missing"],
)
def test_what_holds_no_stimulus_is_refused_by_name(
    umc: Umc, workspace: Path, make: Callable[[Path], object], message: str
) -> None:
    make(workspace / "bad.wav")
    run = umc("measure-ir", "bad.wav", "--device", "mine", "--stimulus", "sweep")
    assert run.exit_code == 1
    assert message in run.stderr
    assert "bad.wav" in run.stderr
    assert "Hint:" in run.stderr
    assert not (workspace / "devices").exists()


def test_recordings_of_different_rates_are_not_averaged(umc: Umc, workspace: Path) -> None:
    for rate_hz in (44_100, 48_000):
        stimulus = SineSweep(repeats=1, sample_rate_hz=rate_hz)
        write_audio(workspace / f"{rate_hz}.wav", recorded(stimulus, microphone()), rate_hz)
    run = umc("measure-ir", "44100.wav", "48000.wav", "--device", "mine", "--stimulus", "sweep")
    assert run.exit_code == 1
    assert "different sample rates: 44100, 48000 Hz" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.wav",), "'device' is required: give --device"),
        (("--device", "mine"), "no file is named"),
        (("a.wav", "--device", "../x"), "is not a device id"),
        (("a.wav", "--device", "mine", "--rate", 48000), "--rate belongs to --make-stimulus"),
        (("a.wav", "--device", "mine", "--blind"), "are only used together"),
        (("a.wav", "--device", "mine", "--figure", "a.gif"), "cannot draw a figure"),
        (("--make-stimulus", "chirp", "a.wav"), "unknown stimulus 'chirp'"),
        (("--make-stimulus", "sweep", "a.mp3"), "give it the suffix .wav"),
        (("--make-stimulus", "sweep", "a.wav", "--level", 3), "level_dbfs"),
        (("a.csv", "b.wav", "--device", "mine"), "one curve at a time"),
        (("a.wav", "b.wav", "./a.wav", "--device", "mine"), "a.wav is named twice"),
    ],
)
def test_wrong_usage_is_named(umc: Umc, arguments: tuple[object, ...], message: str) -> None:
    run = umc("measure-ir", *arguments)
    assert run.exit_code == 2
    assert message in run.stderr


def test_settings_come_from_the_workspace_file(umc: Umc, workspace: Path, take: Path) -> None:
    (workspace / "umc.toml").write_text('[measure-ir]\nstimulus = "sweep.wav"\nwindow_ms = 50\n')
    run = umc("measure-ir", take, "--device", "mine", "--json")
    assert run.exit_code == 0
    assert "Window of 50 ms" in run.json["device"]["note"]


def test_devices_are_compared_with_the_first(umc: Umc, workspace: Path) -> None:
    run = umc("devices", "compare", "pixel3", "xperia1", "xperia1v", "--figure", "c.svg", "--json")
    assert run.exit_code == 0
    assert [entry["device"] for entry in run.json["compared"]] == ["xperia1", "xperia1v"]
    first, second = (device["frequency_response_db"] for device in run.json["devices"][:2])
    np.testing.assert_allclose(run.json["compared"][0]["fr_difference_db"], np.subtract(second, first), atol=0.01)
    assert run.json["compared"][0]["level_difference_db"] == 0
    drawn = umc("devices", "compare", "pixel3", "xperia1", "--figure", "fewer.svg")
    assert drawn.exit_code == 0
    # Each response and each difference is a dotted line, which is solid where it is trusted.
    lines = [Path(name).read_text().count("stroke-dasharray") for name in ("c.svg", "fewer.svg")]
    assert lines == [3 + 2, 2 + 1]
    shown = umc("devices", "compare", "pixel3", "xperia1")
    assert "xperia1 minus pixel3, dB" in shown.stdout
    assert umc("devices", "compare", "pixel3").exit_code == 2
    assert umc("devices", "compare", "pixel3", "pixel3").exit_code == 2
    assert umc("devices", "compare", "pixel3", "nobody").exit_code == 2


@pytest.fixture
def recorded_in_daily_life(workspace: Path) -> Callable[[int, int], tuple[SimulatedDevice, SimulatedDevice]]:
    """Return a function that lets `known`, which has a record, and `unknown` hear the sounds of two seeds."""

    def record(known_seed: int, unknown_seed: int) -> tuple[SimulatedDevice, SimulatedDevice]:
        devices = simulated("known", "xperia1v"), simulated("unknown", "pixel3")
        write_device(devices[0].record, workspace / "devices")
        for place, (device, seed) in enumerate(zip(devices, (known_seed, unknown_seed), strict=True)):
            for index, (label, sound) in enumerate(sounds(seed)):
                recording = device.record_sound(sound, np.random.default_rng([place, index]))
                write_audio(workspace / "data" / device.record.id / label / f"{seed}-{index}.wav", recording)
        return devices

    return record


BLIND = ("measure-ir", "--device", "unknown", "--blind", "--reference-device", "known")


def test_a_device_is_measured_blind_next_to_a_known_one(umc: Umc, workspace: Path, recorded_in_daily_life) -> None:
    known, unknown = recorded_in_daily_life(1, 2)
    run = umc(*BLIND, "--json")
    assert run.exit_code == 0
    found = read_device(workspace / "devices" / "unknown.json")
    assert (found.method, found.repeats) == ("blind", 36)
    error_db = np.subtract(found.frequency_response_db, unknown.record.frequency_response_db)
    assert np.std(error_db) < 0.5
    assert found.sensitivity_dbfs == pytest.approx(unknown.record.sensitivity_dbfs, abs=5)
    # Both floors are 2nd percentiles, up to 4 dB low; lowest bands are a bin wide.
    for floor_db, device in ((found.noise_floor_db, unknown), (run.json["reference_noise_floor_db"], known)):
        assert np.abs(np.subtract(floor_db, device.record.noise_floor_db))[20:].max() < 5
    assert found.sources[0].file == "36 recordings of unknown"
    assert run.json["paired_rms_db"] is None
    nobody = umc("measure-ir", "--device", "other", "--blind", "--reference-device", "known")
    assert nobody.exit_code == 2
    assert "no recordings of 'other'" in nobody.stderr


def test_a_blind_estimate_is_checked_where_recordings_are_parallel(umc: Umc, recorded_in_daily_life) -> None:
    recorded_in_daily_life(1, 1)
    run = umc(*BLIND, "--json")
    assert run.json["paired_rms_db"] < 0.5
    assert "the estimate from pairs" in umc(*BLIND, "--overwrite").stdout


def test_a_blind_estimate_that_pairs_contradict_is_warned_of(umc: Umc, workspace: Path, recorded_in_daily_life) -> None:
    """Under one label the known device holds the bright sounds, the other one the dull ones; they share the rest."""
    recorded_in_daily_life(1, 1)
    for device, labels in (("known", ("flat", "high")), ("unknown", ("flat", "low"))):
        folder = workspace / "data" / device
        (folder / "any").mkdir()
        for label in LABELS:
            for path in (folder / label).glob("*.wav"):
                if label in labels:
                    path.rename(folder / "any" / path.name)
                else:
                    path.unlink()
    run = umc(*BLIND, "--json")
    assert run.json["paired_rms_db"] > 3
    assert "12 recordings of the same sounds" in run.stderr


def test_recordings_that_a_blind_estimate_cannot_read_are_listed(
    umc: Umc, workspace: Path, recorded_in_daily_life
) -> None:
    recorded_in_daily_life(1, 2)
    (workspace / "data" / "unknown" / "low" / "broken.wav").write_bytes(b"RIFF")
    write_audio(workspace / "data" / "unknown" / "flat.wav")
    first = min((workspace / "data" / "unknown").rglob("*.wav"))
    sound, rate_hz = soundfile.read(first)
    write_audio(first, np.stack([sound, 0 * sound], axis=1), rate_hz)
    run = umc(*BLIND, "--json")
    assert f"the channels of {first} differ: channel 2 holds next to nothing" in " ".join(run.json["warnings"])
    assert (run.exit_code, run.json["exit_code"], run.json["written"]) == (1, 1, True)
    misplaced, failed = run.json["failed"]
    assert misplaced["path"].endswith("flat.wav")
    assert failed["path"].endswith("broken.wav")
    assert "cannot be decoded" in failed["reason"]
    shown = umc(*BLIND, "--overwrite")
    assert shown.exit_code == 1
    assert "broken.wav" in shown.stderr
    listed = umc(*BLIND, "--overwrite", *sorted((workspace / "data" / "unknown").rglob("*.wav")), "gone.wav")
    assert listed.exit_code == 1
    assert "gone.wav" in listed.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--stimulus", "sweep"), ("--window", 5), ("--calibration", "a.txt"), ("--tone", "a.wav")]
)
def test_a_blind_estimate_refuses_what_it_would_ignore(umc: Umc, option: str, value: object) -> None:
    run = umc(*BLIND, option, value)
    assert run.exit_code == 2
    assert f"{option} has no effect: --blind measures without a stimulus" in run.stderr


@pytest.mark.parametrize("stimulus", [SineSweep(repeats=8), ImpulseTrain(repeats=57)], ids=["sweeps", "impulses"])
def test_a_minute_is_measured_in_two_seconds(umc: Umc, workspace: Path, stimulus: SineSweep | ImpulseTrain) -> None:
    write_stimulus(stimulus, workspace / "played.wav")
    recording = recorded(stimulus, microphone())
    assert len(recording) > 57 * RATE_HZ
    write_audio(workspace / "take.wav", recording, RATE_HZ, subtype="PCM_24")
    settings = MeasureIrSettings(device="mine", stimulus="played.wav", overwrite=True)
    spent = []
    for _ in range(2):  # the first one loads libraries
        started = time.process_time()
        measure_ir(find_workspace(workspace), settings, [workspace / "take.wav"])
        spent.append(time.process_time() - started)
    assert min(spent) < 2


def lossy(take: Path, *losses_s: float) -> Path:
    """A recording that lacks a millisecond at each of the times."""
    import soundfile

    samples = soundfile.read(take)[0]
    lost = [np.arange(48) + round(at * RATE_HZ) for at in losses_s]
    return write_audio(take.with_name("lossy.wav"), np.delete(samples, np.concatenate(lost)), RATE_HZ, subtype="PCM_24")


def test_a_sweep_that_lost_a_millisecond_is_named_and_left_out(umc: Umc, workspace: Path, take: Path) -> None:
    run = umc("measure-ir", lossy(take, 5.5), "--device", "mine", "--stimulus", "sweep.json", "--json")
    assert run.exit_code == 0
    (entry,) = run.json["rejected"]
    assert entry["time_s"] == pytest.approx(2.5 + 0.037, abs=0.002)
    assert "its waveform differs from the other repeats" in entry["reason"]
    assert run.json["warnings"][0].startswith("1 of 3 repeats were left out: their waveforms differ")
    assert (run.json["device"]["repeats"], len(run.json["arrivals_s"][str(workspace / "lossy.wav")])) == (2, 2)
    error_db = np.subtract(run.json["device"]["frequency_response_db"], true_shape_db(microphone(), RATE_HZ))
    assert rms(error_db) < 0.2


def test_a_gate_gives_no_noise_floor_and_a_warning(umc: Umc, workspace: Path, take: Path) -> None:
    import soundfile

    samples = soundfile.read(take)[0]
    samples[: round(1.9 * RATE_HZ)] = 0
    write_audio(workspace / "gated.wav", samples, RATE_HZ, subtype="PCM_24")
    run = umc("measure-ir", "gated.wav", "--device", "mine", "--stimulus", "sweep.json", "--json")
    assert run.exit_code == 0
    device = run.json["device"]
    assert device["noise_floor_db"] is None
    assert "gated.wav contains zeros" in run.json["warnings"][0]
    assert "noise floor" not in device["note"]
    # The scatter of repeats holds their noise, and what the drifting clocks leave, 70 dB below them.
    whole = umc("measure-ir", take, "--device", "whole", "--stimulus", "sweep.json", "--json").json["device"]
    assert np.max(np.subtract(device["snr_db"], whole["snr_db"])) < 4
    assert np.min(device["snr_db"]) > 60


def test_a_gated_single_sweep_has_no_signal_to_noise(umc: Umc, workspace: Path) -> None:
    samples = recorded(SineSweep(repeats=1), microphone())
    samples[: round(1.9 * RATE_HZ)] = 0.001  # an offset beneath the gate
    write_audio(workspace / "gated.wav", samples, RATE_HZ, subtype="PCM_24")
    run = umc("measure-ir", "gated.wav", "--device", "mine", "--stimulus", "sweep", "--figure", "a.png", "--json")
    assert run.exit_code == 0
    assert (run.json["device"]["snr_db"], run.json["device"]["noise_floor_db"]) == (None, None)
    assert len(run.json["warnings"]) == 1


@pytest.mark.parametrize(("noise_dbfs", "has_floor"), [(-20, False), (-55, True)])
def test_the_noise_of_a_loud_room_is_not_the_device_s_floor(
    umc: Umc, workspace: Path, noise_dbfs: float, has_floor: bool
) -> None:
    write_audio(workspace / "a.wav", recorded(SineSweep(), microphone(), noise_dbfs), RATE_HZ, subtype="PCM_24")
    run = umc("measure-ir", "a.wav", "--device", "mine", "--stimulus", "sweep", "--json")
    assert run.exit_code == 0
    assert (run.json["device"]["noise_floor_db"] is not None) == has_floor
    assert any("the room, or gain control" in warning for warning in run.json["warnings"]) != has_floor


def test_a_sweep_without_stimulus_asks_for_it(umc: Umc, take: Path) -> None:
    for options in ((), ("--stimulus", "impulse")):
        run = umc("measure-ir", take, "--device", "mine", *options)
        assert run.exit_code == 2
        assert "take.wav contains a sine sweep" in run.stderr
        assert "loudspeaker" not in run.stderr


@pytest.mark.parametrize("stimulus", ["", ".", "/"])
def test_a_stimulus_that_names_no_file_is_refused(umc: Umc, workspace: Path, stimulus: str) -> None:
    run = umc("measure-ir", "take.wav", "--device", "mine", f"--stimulus={stimulus}")
    assert run.exit_code == 2
    assert "names no file" in run.stderr


def test_a_replaced_record_keeps_its_name(umc: Umc, workspace: Path) -> None:
    (workspace / "curve.csv").write_text(CURVE)
    arguments = ("measure-ir", "curve.csv", "--device", "mine")
    umc(*arguments, "--name", "My phone")
    path = workspace / "devices" / "mine.json"
    assert umc(*arguments, "--overwrite").exit_code == 0
    assert read_device(path).name == "My phone"
    assert umc(*arguments, "--overwrite", "--name", "Yours").exit_code == 0
    assert read_device(path).name == "Yours"
    path.write_text("{broken")
    assert umc(*arguments, "--overwrite").exit_code == 0
    assert read_device(path).name == "mine"


def test_a_flat_curve_is_nobody_s(umc: Umc, workspace: Path) -> None:
    (workspace / "flat.csv").write_text("20,0.1\n1000,-0.1\n20000,0.1\n")
    assert umc("measure-ir", "flat.csv", "--device", "flat", "--json").json["warnings"] == []


@pytest.mark.realdata
def test_a_maker_s_file_that_is_in_the_library_is_warned_of(umc: Umc, realdata: Path) -> None:
    path = realdata / "phone_responses" / "raw" / "sony_sm8550_xperia1v_5v.xml"
    options = ("--microphone", "builtin_mic_1", "--json")
    run = umc("measure-ir", path, "--device", "mine", *options)
    assert "equals xperia1v in the package's library" in run.json["warnings"][0]
    same = umc("measure-ir", path, "--device", "xperia1v", *options).json["warnings"]
    assert not any("equals" in warning for warning in same)


def test_after_the_first_measurement_the_library_is_still_there(umc: Umc, workspace: Path) -> None:
    """docs/measuring-a-phone.md, step 10, and a conversion to all."""
    (workspace / "curve.csv").write_text(CURVE)
    (workspace / "data" / "xperia1v").rename(workspace / "data" / "myphone")
    measured = umc("measure-ir", "curve.csv", "--device", "myphone", "--json")
    assert measured.json["warnings"] == []
    assert umc("devices", "compare", "myphone", "pixel3").exit_code == 0
    listed = umc("devices", "--json").json
    assert (listed["own"], listed["replaced"], len(listed["devices"])) == (["myphone"], [], 14)
    run = umc("convert", "--source", "myphone", "--json")
    assert run.exit_code == 0
    assert len(run.json["targets"]) == 13


def test_a_record_that_replaces_one_of_the_library_says_so(umc: Umc, workspace: Path) -> None:
    (workspace / "curve.csv").write_text(CURVE)
    run = umc("measure-ir", "curve.csv", "--device", "pixel3", "--name", "My Pixel")
    assert run.exit_code == 0
    assert "the package's library has a device 'pixel3' too" in run.stderr
    assert umc("devices", "show", "pixel3", "--json").json["name"] == "My Pixel"
    listed = umc("devices")
    assert "replaces the library's: pixel3" in listed.stderr
    assert umc("devices", "--json").json["replaced"] == ["pixel3"]
