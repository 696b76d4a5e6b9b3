"""An option that is typed and would do nothing is refused; what umc.toml says is for other calls, too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import SOURCE, TARGET, Run, write_audio

Umc = Callable[..., Run]

_CONVERT = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq")
_SEC = ("train-sec", "--source", SOURCE, "--preset", "smoke", "--method")
_MEASURE = ("measure-ir", "--device", "d")

REFUSED = {
    (*_CONVERT, "--bit-depth", "16"): "no audio files are written",
    (*_CONVERT, "--write", "flac", "--dtype", "float32"): "no shards are written",
    (*_CONVERT, "--write", "flac", "--compression", "gzip"): "no shards are written",
    (*_CONVERT, "--engine", "openvino"): "eq computes no network",
    (*_CONVERT, "--precision", "bf16"): "eq computes no network",
    ("eval", "conversion", "--source", SOURCE, "--no-probe", "--seeds", "5"): "no classifiers are trained",
    ("eval", "conversion", "--source", SOURCE, "--converters", "eq,quantile", "--engine", "openvino"): (
        "eq and quantile compute no network"
    ),
    ("eval", "layers", "--source", SOURCE, "--overwrite"): "no picture is drawn",
    ("eval", "--overwrite"): "no report is written",
    ("eval", "--picture", "p.png"): "no report is written",
    ("eval", "--bootstrap", "0", "--seed", "5"): "nothing is drawn",
    ("eval", "--predictions", "p.csv", "--hop", "4096"): "predictions are scored alone",
    ("eval", "--predictions", "p.csv", "--compute-device", "cpu"): "predictions are scored alone",
    (*_MEASURE, "--make-stimulus", "sweep", "s.wav"): "--device has no effect with --make-stimulus",
    ("measure-ir", "--make-stimulus", "sweep", "s.wav", "--calibration", "c.csv"): "no effect with --make-stimulus",
    (*_MEASURE, "c.csv", "--window", "50"): "the file is a curve",
    (*_MEASURE, "c.csv", "--stimulus", "sweep"): "the file is a curve",
    (*_MEASURE, "c.csv", "--channel", "2"): "the file is a curve",
    (*_MEASURE, "c.csv", "--microphone", "bottom"): "no file is an Android XML file",
    (*_MEASURE, "r.sofa", "--stimulus", "sweep"): "the file is an impulse response",
    (*_MEASURE, "--blind", "--reference-device", TARGET, "--channel", "1"): "--blind measures without a stimulus",
    ("synth-fr", "--coverage", "--n", "5"): "--coverage draws --coverage-drawn differences",
    ("synth-fr", "--coverage", "--method", "pca"): "--coverage measures every method",
    ("synth-fr", "--coverage-drawn", "50"): "it belongs to --coverage",
    ("synth-fr", "--coverage-seeds", "2"): "it belongs to --coverage",
    ("synth-fr", "--method", "piecewise", "--learn-from", "library"): "piecewise learns nothing",
    ("synth-fr", "--overwrite"): "nothing is written",
    ("simulate", "data", "--source", SOURCE): "the clips of data are played",
    ("train", "--pair", "a:b", "--devices", "a,b,c"): "--pair names the devices",
    ("train", "--pair", "a:b", "--condition", "shape_and_level"): "have no condition",
    ("train", "--pair", "a:b", "--film-encoder", "paper"): "have no condition",
    (*_SEC, "none", "--converted-share", "0.7"): "method none converts nothing",
    (*_SEC, "mixup", "--converter", "refiner"): "method mixup converts nothing",
    (*_SEC, "ideal", "--checkpoint", "c.safetensors"): "method ideal converts nothing",
    (*_SEC, "quantile", "--unified", "paper"): "method quantile is not a unified one",
    (*_SEC, "unified-real", "--invented", "5"): "method unified-real invents no devices",
    (*_SEC, "unified-synth", "--targets", "synth:9", "--invented", "5"): "--targets names the invented devices",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_an_option_without_effect_is_refused(umc: Umc, workspace: Path, words: tuple[str, ...]) -> None:
    (workspace / "c.csv").write_text("20,0\n20000,0\n")
    run = umc(*words)
    assert (run.exit_code, run.stdout) == (2, "")
    said = " ".join(run.stderr.split())
    assert "no effect" in said
    assert REFUSED[words] in said


def test_what_umc_toml_says_is_for_other_calls_too(umc: Umc, workspace: Path) -> None:
    (workspace / "umc.toml").write_text('[convert]\nbit_depth = "16"\nprecision = "bf16"\n')
    assert umc(*_CONVERT).exit_code == 0


def test_a_default_that_is_spelled_out_is_no_wish(umc: Umc) -> None:
    assert umc(*_CONVERT, "--bit-depth", "24", "--engine", "auto").exit_code == 0
    assert umc(*_CONVERT, "--engine", "torch", "--precision", "fp32").exit_code == 0, "so they are computed anyway"


def test_an_engine_that_auto_does_not_need_is_told(umc: Umc, workspace: Path) -> None:
    for index in range(10):
        write_audio(workspace / f"data/other/a/{index}.wav")
        write_audio(workspace / f"data/{SOURCE}/a/more{index}.wav")
    run = umc("convert", "--source", SOURCE, "--targets", "other", "--precision", "bf16", "--json")
    assert (run.exit_code, run.json["converter"]) == (0, "quantile")
    assert "--precision bf16 has no effect: quantile computes no network" in run.json["warnings"]
    assert not umc("convert", "--source", SOURCE, "--targets", "other", "--precision", "fp32", "--json").json[
        "warnings"
    ]
