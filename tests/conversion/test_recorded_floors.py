"""Noise floors from recordings: of noise of a known level, of sound without pauses, of none."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conversion.devices import device
from tests.samples import RATE_HZ, SOURCE, TARGET, Run, noise, write_audio
from umc_cli.audio.manifest import Clip
from umc_cli.conversion.chosen.recorded_floors import add_recorded_floors
from umc_cli.response.frequency_response import white_noise_floor_db

FLOOR_DBFS = -66.0


def clips(folder: Path, level_dbfs: float, split: str = "train-mc", n: int = 6) -> list[Clip]:
    """Return clips of 3 s: noise of a level, and a louder second in the middle."""
    made = []
    for index in range(n):
        samples = noise(3.0, index) * 10 ** ((level_dbfs + 20) / 20)
        samples[RATE_HZ : 2 * RATE_HZ] += noise(1.0, 99 + index)
        path = write_audio(folder / f"{index}.wav", samples, subtype="FLOAT")
        made.append(Clip(str(path), "phone", "a", split, path.stem))
    return made


def test_the_floor_of_noise_between_sounds_is_that_of_the_noise(tmp_path: Path) -> None:
    bare = device("phone")
    floors = add_recorded_floors({"phone": bare}, clips(tmp_path, FLOOR_DBFS), "phone")
    record = floors.devices["phone"]
    error_db = np.array(record.noise_floor_db) - white_noise_floor_db(FLOOR_DBFS)
    assert np.abs(error_db[8:-8]).max() < 5
    assert abs(np.median(error_db)) < 4.5
    assert floors.origins == {"phone": "quietest 2 % of 24 segments of 6 of its recordings for training"}
    assert record.note.endswith(
        "The noise floor is the quietest 2 % of 24 segments of 6 of its recordings for training."
    )
    assert bare.noise_floor_db is None


def test_a_record_with_a_floor_stays_as_it_is(tmp_path: Path) -> None:
    measured = device("phone", noise_floor_db=-80.0)
    floors = add_recorded_floors({"phone": measured}, clips(tmp_path, FLOOR_DBFS), "phone")
    assert floors.devices["phone"] is measured
    assert not floors.origins
    assert not floors.unknown


@pytest.mark.parametrize(
    ("level_dbfs", "split", "n", "why"),
    [
        (-20.0, "train-mc", 6, "its recordings hold no quiet moments"),
        (FLOOR_DBFS, "train-mc", 2, "6.* s of sound are too few"),
        (FLOOR_DBFS, "val-sec", 6, "no recordings in split train or train-converter"),
    ],
)
def test_recordings_that_do_not_tell_leave_the_floor_unknown(
    tmp_path: Path, level_dbfs: float, split: str, n: int, why: str
) -> None:
    floors = add_recorded_floors({"phone": device("phone")}, clips(tmp_path, level_dbfs, split, n), "phone")
    assert floors.devices["phone"].noise_floor_db is None
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(floors.unknown["phone"])


@pytest.fixture
def phone(workspace: Path) -> Path:
    """The workspace with a phone that has recordings with quiet moments, and a curve."""
    for index, clip in enumerate(clips(workspace / "clips", FLOOR_DBFS, n=12)):
        target = workspace / f"data/phone/{'ab'[index % 2]}/{clip.path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        clip.path.rename(target)
    (workspace / "curve.csv").write_text("100,-3\n1000,0\n10000,4\n")
    return workspace


def test_a_curve_alone_is_enough_for_the_best_converter(umc: Callable[..., Run], phone: Path) -> None:
    assert umc("measure-ir", "curve.csv", "--device", "phone").exit_code == 0
    run = umc("convert", "--source", "phone", "--targets", TARGET, "--json")
    assert run.exit_code == 0
    assert run.json["converter"] == "refiner", run.stderr
    assert run.json["recorded_floors"]["phone"].endswith("of its recordings for training")
    assert "quietest 2 % of" in (phone / "converted/run.json").read_text()
    again = umc("convert", "--source", "phone", "--targets", TARGET, "--json")
    assert (again.json["n_shards_written"], again.json["n_shards_kept"]) == (0, 1)
    eq = umc("convert", "--source", "phone", "--targets", TARGET, "--converter", "eq", "--output", "eq", "--json")
    assert eq.json["recorded_floors"] == {}
    assert "noise_floor" not in (phone / "eq/run.json").read_text()


def test_eq_that_nobody_asked_for_is_warned_of_with_the_remedy(umc: Callable[..., Run], phone: Path) -> None:
    assert umc("measure-ir", "curve.csv", "--device", "loud").exit_code == 0
    for index in range(4):
        write_audio(phone / f"data/loud/a/{index}.wav", noise(seed=index))
    run = umc("convert", "--source", "loud", "--targets", TARGET)
    assert run.exit_code == 0
    assert "eq is all that the records allow, as no noise floor is known of loud" in run.stderr
    assert "umc measure-ir TAKE.wav --device loud --stimulus sweep.json --overwrite" in run.stderr
    asked = umc("convert", "--source", "loud", "--targets", TARGET, "--converter", "eq", "--overwrite")
    assert "all that the records allow" not in asked.stderr


def test_invented_devices_need_no_record_of_the_source(umc: Callable[..., Run], phone: Path) -> None:
    run = umc("convert", "--source", "phone", "--targets", "synth:3", "--json")
    assert run.exit_code == 0
    assert (run.json["converter"], len(run.json["targets"])) == ("refiner", 3)
    assert not (phone / "devices").exists()
    mixed = umc("convert", "--source", "phone", "--targets", f"synth:3,{TARGET}")
    assert mixed.exit_code == 2
    assert "next to 'synth:3', no real target can be named" in mixed.stderr


def test_one_phone_alone_is_told_what_to_measure(umc: Callable[..., Run], phone: Path) -> None:
    shutil.rmtree(phone / "data" / SOURCE)
    run = umc("convert", "--source", "phone", "--targets", "all")
    assert run.exit_code == 2
    lines = run.stderr.splitlines()
    assert lines[0] == "Error: there is no record of phone: what its microphone does to sound is not known"
    assert len(lines) <= 7


def test_a_hint_knows_the_floors_that_recordings_tell(umc: Callable[..., Run], phone: Path) -> None:
    assert umc("measure-ir", "curve.csv", "--device", "phone").exit_code == 0
    run = umc("convert", "--source", "phone", "--targets", TARGET, "--converter", "quantile")
    assert run.exit_code == 2
    assert "these would work: refiner, eq_noise, eq (--converter refiner)" in run.stderr
