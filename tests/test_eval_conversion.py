"""`umc eval conversion`, as a user gives it, on devices whose differences are known."""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from tests.conftest import run_here
from tests.conversion.devices import device
from tests.conversion.generators import write_small_checkpoint
from tests.samples import RATE_HZ, Run, noise, write_audio
from umc_cli.audio.manifest import find_recordings
from umc_cli.evaluation.conversion_measures import MEASURES
from umc_cli.response.device import Device, write_device
from umc_cli.response.frequency_response import band_centres_hz
from umc_cli.splits import OLD_SHARES, SplitRules


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give converters recordings of their own."""
    monkeypatch.setenv("UMC_SHARES", "train-converter=40,train=40,test=20")


Evaluate = Callable[..., Run]

N_RECORDINGS = 12
"""Of each label: 5 in train-converter, 5 in train, 2 in test."""
SECONDS = 3.0
"""Three whole segments."""
HIGH_PASS = np.array([1.0, -0.9])


def bright() -> Device:
    """Return the record of the device that filters with HIGH_PASS: its shape is 0 dB at 1 kHz, the rest is level."""
    _, response = scipy.signal.freqz(HIGH_PASS, worN=[*band_centres_hz(), 1000.0], fs=RATE_HZ)
    level_db = 20 * np.log10(np.abs(response))
    shape_db = (level_db[:-1] - level_db[-1]).tolist()
    return device("bright", shape_db, noise_floor_db=-95.0, sensitivity_dbfs=float(level_db[-1]) - 30)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `plain`, `quiet` (-10 dB) and `bright` recorded the same 24 sounds, `stranger` others."""
    root = tmp_path_factory.mktemp("recorded")
    for name, sensitivity_dbfs in (("plain", -30.0), ("quiet", -40.0)):
        write_device(device(name, noise_floor_db=-95.0, sensitivity_dbfs=sensitivity_dbfs), root / "devices")
    write_device(bright(), root / "devices")
    for label in ("hiss", "hum"):
        for index in range(N_RECORDINGS):
            sound, other = noise(SECONDS, seed=index), noise(SECONDS, seed=100 + index)
            if label == "hum":
                sound, other = (scipy.signal.lfilter([0.2], [1, -0.9], each) for each in (sound, other))
            name = f"{label}/{index}.wav"
            write_audio(root / f"data/plain/{name}", sound, subtype="FLOAT")
            write_audio(root / f"data/quiet/{name}", sound * 10 ** (-10 / 20), subtype="FLOAT")
            write_audio(root / f"data/bright/{name}", scipy.signal.lfilter(HIGH_PASS, 1, sound), subtype="FLOAT")
            write_audio(root / f"data/stranger/other {label}/{index}.wav", 0.5 * other, subtype="FLOAT")
    return root


@pytest.fixture
def evaluate(recorded: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Evaluate:
    """Return a function that runs `umc eval conversion` in the workspace."""
    from umc_cli.cli.app import main

    monkeypatch.chdir(recorded)
    return lambda *options: run_here(monkeypatch, capfd, main, ["eval", "conversion", *options])


def values(run: Run, converter: str, target: str) -> dict[str, float]:
    row = next(row for row in run.json["converters"] if row["converter"] == converter)
    return {name: measured["value"] for name, measured in row["targets"][target].items()}


def names(rows: Sequence[dict[str, object]]) -> list[object]:
    return [row["converter"] for row in rows]


def test_distances_of_devices_that_are_known(evaluate: Evaluate) -> None:
    # OpenVINO would take seconds to load the generator, there and back.
    options = ("--no-probe", "--json", "--engine", "torch")
    run = evaluate("--source", "plain", "--targets", "quiet,bright", *options)
    assert run.exit_code == 0, run.stderr
    assert run.json["n_segments"] == 12
    assert run.json["seeds"] == []
    assert set(run.json["definitions"]) == set(MEASURES)
    converters = names(run.json["converters"])
    assert converters[:2] == ["no_conversion", "level_only"]
    assert {"eq", "quantile"} <= set(converters)
    assert converters[-1] == "target_recordings"
    # 10 dB quieter: the level is all there is.
    unconverted = values(run, "no_conversion", "quiet")
    assert unconverted["log_spectral_distance_db"] == pytest.approx(10, abs=0.01)
    assert unconverted["level_error_db"] == pytest.approx(10, abs=0.01)
    for converter in ("level_only", "eq"):
        assert values(run, converter, "quiet")["log_spectral_distance_db"] == pytest.approx(0, abs=0.01)
        assert values(run, converter, "quiet")["cycle_error_db"] == pytest.approx(0, abs=0.01)
    assert run.json["targets"]["quiet"]["level_from"] == "sensitivities in the device records"
    # A filter that the record knows: the level alone does not undo it.
    assert values(run, "eq", "bright")["log_spectral_distance_db"] < 1
    assert values(run, "eq", "bright")["response_error_db"] == pytest.approx(0, abs=0.01)
    assert values(run, "level_only", "bright")["log_spectral_distance_db"] > 3
    assert values(run, "level_only", "bright")["response_error_db"] > 3
    assert values(run, "target_recordings", "bright")["log_spectral_distance_db"] == 0
    # The mean over targets and its spread.
    overall = next(row for row in run.json["converters"] if row["converter"] == "eq")["overall"]
    both = [values(run, "eq", target)["log_spectral_distance_db"] for target in ("quiet", "bright")]
    assert overall["log_spectral_distance_db"]["mean"] == pytest.approx(np.mean(both))
    assert overall["log_spectral_distance_db"]["spread"] == pytest.approx(np.std(both, ddof=1))
    assert values(run, "film_gan", "bright")["log_spectral_distance_db"] > 1  # of the weights that ship with umc


def test_judges_and_a_target_with_other_recordings(evaluate: Evaluate) -> None:
    options = ("--seeds", "1", "--converters", "no_conversion,eq,quantile", "--targets", "bright,stranger", "--json")
    run = evaluate("--source", "plain", *options)
    assert run.exit_code == 0, run.stderr
    assert run.json["seeds"] == [0]
    assert re.search(r"training 2 judges on up to \d+ segments takes about 8 s of a processor; --no-probe", run.stderr)
    perfect, unconverted = values(run, "eq", "bright"), values(run, "no_conversion", "bright")
    assert perfect["probe_real_accuracy"] > 0.9
    assert perfect["probe_target_share"] > 0.9
    assert unconverted["probe_target_share"] < 0.1
    assert unconverted["frechet_distance"] > 2 * perfect["frechet_distance"]
    assert perfect["content_accuracy"] == perfect["content_accuracy_unconverted"] > 0.9
    assert values(run, "target_recordings", "bright")["probe_target_share"] == perfect["probe_real_accuracy"]
    # Without a parallel recording there is no distance, but everything else.
    stranger = values(run, "quantile", "stranger")
    assert not {name for name in stranger if "spectral" in name or "response" in name}
    assert {"probe_target_share", "frechet_distance", "content_accuracy", "cycle_error_db"} <= set(stranger)
    assert run.json["targets"]["stranger"]["is_parallel"] is False
    assert "stranger recorded 0 of the 12 segments of plain too" in " ".join(run.json["warnings"])
    assert list(run.json["left_out"]["eq"]) == ["stranger"]


def test_table_for_people(evaluate: Evaluate) -> None:
    run = evaluate("--source", "plain", "--targets", "quiet", "--no-probe", "--converters", "eq,level_only", "-v")
    assert run.exit_code == 0
    lines = [line.split() for line in run.stdout.splitlines()]
    assert [line[0] for line in lines[1:]] == ["eq", "quiet", "level_only", "quiet", "target_recordings", "quiet"]
    assert lines[1][1:5] == ["1", "0.00", "0.00", "0.00"]
    assert "level_only from sensitivities in the device records" in run.stderr


def test_a_generator_is_measured_like_the_others(evaluate: Evaluate, recorded: Path) -> None:
    checkpoint = write_small_checkpoint(recorded / "small.safetensors")
    options = ("--converters", "film_gan", "--checkpoint", str(checkpoint), "--engine", "torch", "--precision", "fp32")
    run = evaluate("--source", "plain", "--targets", "bright", "--no-probe", "--json", *options)
    assert run.exit_code == 0, run.stderr
    assert values(run, "film_gan", "bright")["log_spectral_distance_db"] > 1


def test_settings_from_the_workspace_file(evaluate: Evaluate, recorded: Path) -> None:
    (recorded / "umc.toml").write_text('[eval-conversion]\nsource = "plain"\ntargets = "quiet"\nprobe = false\n')
    try:
        assert list(evaluate("--json", "--converters", "eq").json["targets"]) == ["quiet"]
        os.environ["UMC_EVAL_CONVERSION_SPLIT"] = "train-sec"
        assert evaluate("--json", "--converters", "eq").json["split"] == "train"
    finally:
        (recorded / "umc.toml").unlink()
        os.environ.pop("UMC_EVAL_CONVERSION_SPLIT", None)


def test_segments_without_counterpart_are_counted(evaluate: Evaluate, recorded: Path) -> None:
    options = ("--source", "plain", "--no-probe", "--converters", "eq", "--split", "train", "--json")
    assert evaluate(*options, "--targets", "quiet").json["targets"]["quiet"]["n_without_counterpart"] == 0
    folder, hidden = recorded / "data/quiet/hum", recorded / "data/quiet/.hum"
    folder.rename(hidden)
    try:
        entry = evaluate(*options, "--targets", "quiet").json["targets"]["quiet"]
    finally:
        hidden.rename(folder)
    assert (entry["n_segments"], entry["n_without_counterpart"], entry["is_parallel"]) == (15, 15, True)


def test_a_broken_recording_is_listed_and_the_others_are_measured(evaluate: Evaluate, recorded: Path) -> None:
    clips = find_recordings(recorded / "data", SplitRules(OLD_SHARES)).clips
    broken = next(clip.path for clip in clips if (clip.device, clip.split) == ("quiet", "train-mc"))
    content = broken.read_bytes()
    broken.write_bytes(b"RIFF")
    try:
        options = ("--no-probe", "--converters", "level_only", "--split", "train-converter", "--json")
        run = evaluate("--source", "plain", "--targets", "quiet", *options)
    finally:
        broken.write_bytes(content)
    assert run.exit_code == run.json["exit_code"] == 1
    assert [entry["path"] for entry in run.json["failed"]] == [str(broken)]
    assert "converters learn from split train-converter" in run.json["warnings"][0]
    assert values(run, "level_only", "quiet")["log_spectral_distance_db"] == pytest.approx(0, abs=0.01)


def test_a_noise_floor_above_the_recordings_is_warned_of(evaluate: Evaluate, recorded: Path) -> None:
    options = ("--source", "plain", "--targets", "quiet", "--no-probe", "--json", "--converters")
    write_device(device("quiet", noise_floor_db=0.0, sensitivity_dbfs=-40.0), recorded / "devices")
    try:
        assert evaluate(*options, "eq").json["warnings"] == []
        (warning,) = evaluate(*options, "eq_noise").json["warnings"]
    finally:
        write_device(device("quiet", noise_floor_db=-95.0, sensitivity_dbfs=-40.0), recorded / "devices")
    assert "the noise floor in the record of quiet cannot be its own" in warning


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--source", "nobody"), "no recordings of 'nobody' in split test", "of: bright, plain, quiet, stranger"),
        (("--source", "plain", "--targets", "nobody"), "unknown device 'nobody'", "known devices: bright, pixel3"),
        (("--source", "plain", "--targets", "plain"), "target 'plain' is the source itself", "leave it out"),
        (("--source", "plain", "--targets", ""), "no target is named", "--targets all"),
        (
            ("--source", "plain", "--converters", "magic"),
            "unknown converter 'magic'",
            "known converters: no_conversion, level_only",
        ),
        (
            ("--source", "plain", "--checkpoint", "none.safetensors"),
            "cannot read checkpoint none.safetensors",
            "give an existing",
        ),
        (
            ("--source", "plain", "--checkpoint", "small.safetensors", "--converters", "eq,refiner"),
            "--checkpoint has no effect: none of the converters takes small.safetensors",
            "leave it out, or measure film_gan",
        ),
        (("--source", "plain", "--hop", "30000", "--split", "test"), "only 8 segments of plain", "add recordings"),
        (("--source", "plain", "--split", "tets"), "--split is 'tets': must be 'train'", "umc eval conversion"),
        (("--source", "plain", "--seeds", "0"), "--seeds is '0': must be at least 1", "umc eval conversion --help"),
        ((), "setting 'source' is required: give --source", "umc eval conversion --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_refused(recorded: Path, evaluate: Evaluate, options: tuple[str, ...], message: str, hint: str) -> None:
    write_small_checkpoint(recorded / "small.safetensors")
    run = evaluate(*options)
    assert run.exit_code == 2
    assert run.stdout == ""
    error, _, remedy = run.stderr.replace("\n", " ").partition("Hint:")
    assert message in error
    assert hint in remedy


def test_a_target_without_recordings_in_the_split(evaluate: Evaluate, recorded: Path) -> None:
    write_device(device("mute"), recorded / "devices")
    try:
        run = evaluate("--source", "plain", "--targets", "mute")
    finally:
        (recorded / "devices/mute.json").unlink()
    assert run.exit_code == 2
    assert "no recordings of 'mute' in split test" in run.stderr


def test_of_all_targets_those_with_too_few_recordings_are_left_out(evaluate: Evaluate, recorded: Path) -> None:
    few = recorded / "data/few/hiss"
    few.mkdir(parents=True)
    for index in range(N_RECORDINGS):
        shutil.copy(recorded / f"data/plain/hiss/{index}.wav", few)
    options = ("--source", "plain", "--no-probe", "--converters", "no_conversion")
    try:
        every, named = evaluate(*options, "--json"), evaluate(*options, "--targets", "few")
    finally:
        shutil.rmtree(few.parent)
    assert sorted(every.json["targets"]) == ["bright", "quiet", "stranger"]
    assert "few is left out: only 6 segments of few" in " ".join(every.json["warnings"])
    assert named.exit_code == 2
    assert "only 6 segments of few in split test, at least 10 are needed" in named.stderr


def test_files_of_one_recording_are_compared_with_their_like(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluate: Evaluate
) -> None:
    """Six files make a recording; `quiet` has them in another order. Each is 10 dB quieter than its like alone."""
    rows = ["path,device,label,split,recording"]
    for name, order in (("plain", 1), ("quiet", -1), ("bright", 1)):
        for index in list(range(N_RECORDINGS))[::order]:
            # What follows the number of `bright` says nothing that the others' names say.
            path = recorded / f"data/{name}/hiss/{index}.wav"
            if name == "bright":
                (tmp_path / "data").mkdir(exist_ok=True)
                path = Path(shutil.copy(path, tmp_path / f"data/take{index}.wav"))
            rows.append(f"{path},{name},hiss,val-sec,session{index // 6}")
    (tmp_path / "data/manifest.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setenv("UMC_DATA", str(tmp_path / "data"))
    options = ("--converters", "no_conversion", "--no-probe", "--most-segments", "200", "--json")
    run = evaluate("--source", "plain", "--targets", "quiet,bright", *options)
    assert run.exit_code == 0, run.stderr
    assert run.json["targets"]["quiet"]["n_without_counterpart"] == 0
    assert values(run, "no_conversion", "quiet")["log_spectral_distance_db"] == pytest.approx(10, abs=0.01)
    assert not run.json["targets"]["bright"]["is_parallel"]
    said = [text for text in run.json["warnings"] if "which belong together" in text]
    assert len(said) == 1
    assert said[0].startswith("2 recordings, such as 'session0', have several files on plain or bright")


def test_auto_goes_by_a_saved_verdict(
    evaluate: Evaluate, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    from umc_cli.cli.app import main

    def convert(output: str, *options: str) -> tuple[dict, dict]:
        devices = ("--source", "plain", "--targets", "quiet")
        run = run_here(
            monkeypatch, capfd, main, ["convert", *devices, "--output", str(tmp_path / output), "--json", *options]
        )
        assert run.exit_code == 0, run.stderr
        return run.json, json.loads((tmp_path / output / "run.json").read_text())

    rows = [
        f"{recorded}/data/{name}/hiss/{i}.wav,{name},hiss,val-sec,{i}" for name in ("plain", "quiet") for i in range(6)
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,device,label,split,recording", *rows]) + "\n")
    monkeypatch.setenv("UMC_DATA", str(tmp_path))
    asked = ("--source", "plain", "--no-probe", "--converters", "eq,refiner")
    kept = recorded / "checkpoints/nearest_converters.json"
    try:
        said = evaluate(*asked).stderr
        assert "nearest to what quiet recorded (6 recordings): eq, 0.00 dB over all frames; refiner, which auto" in said
        assert "umc convert --source plain --targets quiet --converter eq" in said
        assert not kept.exists()
        report, plan = convert("before")
        assert (report["converter"], "chosen_by" in plan) == ("refiner", False)
        run = evaluate(*asked, "--save-verdict", "--json")
        assert (run.json["verdict"]["converter"], run.json["verdict"]["default"]) == ("eq", "refiner")
        assert run.json["command"] == "umc convert --source plain --targets quiet"
        (by_verdict, plan), (_, other_plan) = convert("by-verdict"), convert("by-name", "--converter", "eq")
        assert by_verdict["converter"] == "eq"
        assert by_verdict["reason"].startswith("by umc eval conversion: 0.00 dB from what 1 target recorded, refiner ")
        assert plan["run_id"] == other_plan["run_id"]  # the rows are the same
        assert (plan["chosen_by"]["split"], "chosen_by" in other_plan) == ("test", False)
        assert convert("by-verdict")[0]["n_shards_kept"] == 1
        # Another record: what was measured says nothing of it.
        write_device(device("quiet", noise_floor_db=-95.0, sensitivity_dbfs=-41.0), recorded / "devices")
        report, _ = convert("changed")
        assert report["converter"] == "refiner"
        assert any("records or weights for quiet changed since" in warning for warning in report["warnings"])
    finally:
        write_device(device("quiet", noise_floor_db=-95.0, sensitivity_dbfs=-40.0), recorded / "devices")
        kept.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "train-mc"), "no verdict can rest on it"),
        (("--checkpoint", "small.safetensors"), "of the weights that `umc convert` takes"),
        (("--targets", "stranger"), "no target recorded the same sounds as plain in split test"),
        (("--targets", "quiet", "--converters", "eq"), "what `auto` takes for them is not measured"),
    ],
)
def test_no_verdict_to_save(evaluate: Evaluate, recorded: Path, options: tuple[str, ...], message: str) -> None:
    write_small_checkpoint(recorded / "small.safetensors")
    run = evaluate("--source", "plain", "--no-probe", "--save-verdict", *options)
    assert run.exit_code == 2
    assert message in run.stderr.replace("\n", " ")
    assert not (recorded / "checkpoints/nearest_converters.json").exists()
