"""A name that is not known is refused with a guess, wherever names are looked up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import SOURCE, Run, write_audio
from umc_cli.errors import InputError, SettingsError, closest, did_you_mean, guess
from umc_cli.response.curve_files import read_curve_file
from umc_cli.simulation.sound_events import synthesize

OF_SOURCE = ("--source", SOURCE)


def test_a_guess_is_made_only_where_one_is_near() -> None:
    assert closest("Pixl3", ["pixel3", "iphone14"]) == "pixel3"
    assert closest("nobody", ["pixel3", "iphone14"]) is None
    assert guess("pixl3", ["pixel3"]) == "did you mean 'pixel3'? "
    assert guess("nobody", ["pixel3"]) == ""
    assert did_you_mean("pixl3", ["pixel3", "a"], "devices") == "did you mean 'pixel3'? known devices: pixel3, a"
    assert did_you_mean("x", [], "devices") == "known devices: none"


@pytest.mark.parametrize(
    ("arguments", "wrong", "meant"),
    [
        (("convert", "--source", "xperia1w"), "no recordings of 'xperia1w'", SOURCE),
        (("convert", *OF_SOURCE, "--targets", "pixl3"), "unknown device 'pixl3'", "pixel3"),
        (("convert", *OF_SOURCE, "--converter", "quantle"), "unknown converter 'quantle'", "quantile"),
        (("convert", *OF_SOURCE, "--engine", "opnvino"), "unknown engine 'opnvino'", "openvino"),
        (("convert", *OF_SOURCE, "--precision", "fp23"), "--precision is 'fp23'", "fp32"),
        (("convert", *OF_SOURCE, "--compute-device", "cudda"), "unknown compute device 'cudda'", "cuda"),
        (("convert", *OF_SOURCE, "--label", "A"), "has label 'A'", "a"),
        (("convert", *OF_SOURCE, "--split", "trainsec"), "has split 'trainsec'", "train"),
        (("train", "--preset", "papre"), "unknown preset 'papre'", "paper"),
        (("train", "--devices", f"xperia1w,{SOURCE}"), "no recordings of 'xperia1w'", SOURCE),
        (("train", "--pretrain", "simulated", "--preset", "smok"), "unknown preset 'smok'", "smoke"),
        (("train-sec", *OF_SOURCE, "--preset", "smok"), "unknown preset 'smok'", "smoke"),
        (("train-sec", *OF_SOURCE, "--method", "mixupp"), "unknown method 'mixupp'", "mixup"),
        (("train-sec", *OF_SOURCE, "--backbone", "resnet05"), "unknown backbone 'resnet05'", "resnet50"),
        (("train-sec", "--source", "xperia1w"), "no recordings of 'xperia1w'", SOURCE),
        (("synth-fr", "--method", "piecwise"), "unknown method 'piecwise'", "piecewise"),
        (("eval", "conversion", *OF_SOURCE, "--converters", "quantle"), "unknown converter 'quantle'", "quantile"),
        (("eval", "conversion", "--split", "train", "--source", "xperia1w"), "no recordings of 'xperia1w'", SOURCE),
        (("eval", "--split", "val-sek"), "--split is 'val-sek'", "val"),
        (("measure-ir", "--make-stimulus", "swep", "s.wav"), "unknown stimulus 'swep'", "sweep"),
        (("measure-ir", "r.wav", "--device", "d", "--stimulus", "swep"), "no stimulus 'swep'", "sweep"),
        (("devices", "show", "pixl3"), "pixl3", "pixel3"),
    ],
)
def test_an_unknown_name_is_refused_with_a_guess(
    umc: Callable[..., Run], workspace: Path, arguments: tuple[str, ...], wrong: str, meant: str
) -> None:
    write_audio(workspace / "r.wav")
    run = umc(*arguments)
    said = " ".join(run.stderr.split())
    assert run.exit_code == 2, said
    assert wrong in said
    assert f"did you mean '{meant}'?" in said
    assert "Traceback" not in said
    assert run.stdout == ""


def test_a_split_in_a_manifest_is_guessed(convert: Callable[..., Run], workspace: Path) -> None:
    row = f"{SOURCE}/a/good0.wav,{SOURCE},a,"
    (workspace / "data/manifest.csv").write_text(f"path,device,label,split\n{row}trainsec\n")
    run = convert()
    assert run.exit_code == 2
    assert "unknown split 'trainsec'" in run.stderr
    assert "did you mean 'train'?" in run.stderr


def test_microphones_and_sound_events_are_guessed(tmp_path: Path) -> None:
    path = tmp_path / "p.xml"
    path.write_text('<a><microphone device_id="bottom" frequencies="100 1000 9000" responses="-1 0 2"/></a>')
    with pytest.raises(InputError, match="did you mean 'bottom'"):
        read_curve_file(path, "botom")
    with pytest.raises(SettingsError, match="did you mean 'whistle'"):
        synthesize("wistle", 0)
