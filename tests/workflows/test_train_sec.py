import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conversion.generators import NORMALISATION, small_generator, write_small_checkpoint
from tests.samples import RATE_HZ, Run, noise, write_audio
from umc_cli.checkpoint import read_checkpoint, write_checkpoint
from umc_cli.conversion.engines import openvino_package
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import save_generator
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.response.device import DeviceRegistry, write_device
from umc_cli.sec.methods import METHODS
from umc_cli.sec.sec_checkpoint import load_sec
from umc_cli.training.metrics import read_metrics


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give converters recordings of their own."""
    monkeypatch.setenv("UMC_SHARES", "train-converter=40,train=40,test=20")


Umc = Callable[..., Run]

DEVICES = ("xperia1v", "pixel3", "xperia1")
SOURCE = DEVICES[0]
N_CLIPS = 14
SMALL = ("--preset", "smoke", "--max-steps", "2", "--batch-size", "4", "--log-every", "1", "--quiet")


def tone(hz: float, seed: int) -> np.ndarray:
    times = np.arange(RATE_HZ) / RATE_HZ
    return (0.2 * np.sin(2 * np.pi * hz * (1 + 0.02 * seed) * times) + 0.1 * noise(1.0, seed)).astype(np.float32)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    for number in range(N_CLIPS):
        for label, hz in (("low", 300), ("high", 3000)):
            sound = tone(hz, number)
            for device in DEVICES:
                write_audio(root / f"data/{device}/{label}/{number}.wav", sound)
    return root


@pytest.fixture
def workspace(recorded: Path, tmp_path: Path) -> Path:
    """A workspace with 14 clips of either label on each of three devices; the same sounds on all."""
    return Path(shutil.copytree(recorded, tmp_path / "workspace"))


@pytest.fixture
def small(umc: Umc) -> Umc:
    """Return a function that runs `umc train-sec` with the small network for two steps, with further options."""
    return lambda *options: umc("train-sec", "--source", SOURCE, *SMALL, *options)


@pytest.fixture
def engine_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert as where OpenVINO is not made for the processor: it takes two seconds to load a generator."""
    monkeypatch.setattr(openvino_package, "is_installed", lambda: False)


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return read_checkpoint(run / f"{name}.safetensors").tensors


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_from_the_sources_train_sec_and_says_how_it_was_made(small: Umc, workspace: Path) -> None:
    report = small("--json", "--max-steps", "30", "--learning-rate", "0.003").json
    # 5 of 14 clips of either label are in train-sec; a tenth of the 10 is held out.
    assert (report["n_segments"], report["n_held_out"]) == ({SOURCE: 9}, {SOURCE: 1})
    assert (report["mode"], report["n_steps"], report["exit_code"]) == ("none", 30, 0)
    trained = load_sec(workspace / f"runs/sec-{SOURCE}-none-0/best.safetensors")
    assert (trained.classes, trained.source, trained.method) == (("high", "low"), SOURCE, "none")
    assert trained.training["settings"]["backbone"] == "cnn"
    losses = [row["classification_loss"] for row in read_metrics(workspace / f"runs/sec-{SOURCE}-none-0")]
    assert np.mean(losses[-5:]) < 0.3 < np.mean(losses[:3])


PAPER = ("--preset", "paper", "--backbone", "cnn", "--max-steps", "2", "--batch-size", "4", "--quiet")


def test_paper_trains_on_all_recordings_and_its_last_weights_count(umc: Umc, workspace: Path) -> None:
    report = umc("train-sec", "--source", SOURCE, *PAPER, "--json").json
    assert (report["n_segments"], report["n_held_out"]) == ({SOURCE: 10}, {SOURCE: 0})
    assert (report["best_step"], report["best_score"]) == (None, None)
    run = workspace / f"runs/sec-{SOURCE}-none-0"
    assert not (run / "best.safetensors").exists()
    scored = umc("eval", "--bootstrap", "0", "--json", "--quiet").json
    assert [row["models"] for row in scored["rows"]] == [[run.name]]
    assert umc("eval", "--model", run.name, "--bootstrap", "0", "--quiet").exit_code == 0


def test_a_run_of_paper_that_an_earlier_version_began_goes_on_as_it_was(small: Umc, umc: Umc, workspace: Path) -> None:
    assert small("--method", "unified-real", "--converter", "refiner_quantile", "--name", "old").exit_code == 0
    path = workspace / "runs/old/settings.json"
    content = json.loads(path.read_text())
    assert content.pop("converter") == "refiner_quantile"
    content["settings"]["converter"] = "auto"
    assert (content["settings"].pop("keep"), content["settings"].pop("unified")) == ("best", "best")
    content["settings"]["preset"] = "paper"
    path.write_text(json.dumps(content))
    again = umc("train-sec", "--name", "old", "--resume", "--max-steps", "3", "--json", "--quiet")
    assert (again.exit_code, again.json["n_steps"], again.json["n_held_out"]) == (0, 3, {SOURCE: 1})
    assert load_sec(workspace / "runs/old/last.safetensors").training["converter"] == "refiner_quantile"


def test_last_weights_of_a_run_count_only_if_it_says_so(small: Umc, umc: Umc, workspace: Path) -> None:
    assert small().exit_code == 0
    (workspace / f"runs/sec-{SOURCE}-none-0/best.safetensors").unlink()
    refused = umc("eval", "--bootstrap", "0")
    assert "there is no trained classifier" in refused.stderr


def test_without_held_out_recordings_none_can_be_best(small: Umc, workspace: Path) -> None:
    refused = small("--held-out-share", "0")
    assert refused.exit_code == 2
    assert "no recordings are held out to choose the best weights by" in refused.stderr
    assert not (workspace / "runs").exists()
    report = small("--held-out-share", "0", "--keep", "last", "--json").json
    assert report["n_segments"] == {SOURCE: 10}


def test_a_split_for_validation_needs_no_share(small: Umc, workspace: Path) -> None:
    lines = ["path,device,label,split,recording"]
    for label in ("low", "high"):
        for number in range(4):
            split = "val" if number == 3 else "train"
            lines.append(f"{SOURCE}/{label}/{number}.wav,{SOURCE},{label},{split},{label} {number}")
    (workspace / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    report = small("--held-out-share", "0", "--json").json
    assert (report["n_segments"], report["n_held_out"]) == ({SOURCE: 6}, {SOURCE: 2})
    assert report["best_step"] is not None


def converted_by(workspace: Path, method: str) -> dict[str, Any]:
    about = load_sec(workspace / f"runs/sec-{SOURCE}-{method}-0/last.safetensors").training
    return {name: about[name] for name in ("converter", "targets", "made_with")}


@pytest.mark.usefixtures("engine_is_torch")
def test_unified_real_of_paper_is_the_papers_generator_though_refiners_are_there(umc: Umc, workspace: Path) -> None:
    refused = umc("train-sec", "--source", SOURCE, "--method", "unified-real", *PAPER)
    assert refused.exit_code == 2
    path = workspace / "checkpoints/generator.safetensors"
    assert f"converts with a trained generator, and there is none at {path}" in refused.stderr
    assert "`umc train --preset paper`" in refused.stderr
    path.parent.mkdir()
    write_small_checkpoint(path, "paper")
    options = ("--method", "unified-real", "--targets", "pixel3,xperia1")
    assert umc("train-sec", "--source", SOURCE, *options, *PAPER).exit_code == 0
    made = converted_by(workspace, "unified-real")
    assert (made["converter"], made["targets"]) == ("film_gan", ["pixel3", "xperia1"])
    assert umc("train-sec", "--source", SOURCE, *options, *PAPER, "--unified", "best", "--overwrite").exit_code == 0
    assert converted_by(workspace, "unified-real")["converter"] == "refiner_transport"


@pytest.mark.usefixtures("engine_is_torch")
def test_unified_synth_of_paper_draws_a_difference_for_every_sample(umc: Umc, workspace: Path) -> None:
    """It needs no record of any device, not even of the source."""
    for path in (workspace / "data").glob(f"{SOURCE}/*/*"):
        write_audio(workspace / f"data/stranger/{path.parent.name}/{path.name}", noise(1.0, seed=len(path.name)))
    write_small_checkpoint(workspace / "generator.safetensors", "paper")
    options = ("--method", "unified-synth", "--checkpoint", "generator.safetensors")
    name = ("--name", f"sec-{SOURCE}-unified-synth-0")
    assert umc("train-sec", "--source", "stranger", *options, *name, *PAPER).exit_code == 0
    made = converted_by(workspace, "unified-synth")
    assert (made["converter"], made["targets"], made["made_with"]["differences"]) == ("film_gan", [], "piecewise")
    rows = read_metrics(workspace / f"runs/sec-{SOURCE}-unified-synth-0")
    assert 0 < np.mean([row["converted_share"] for row in rows]) < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "unified-real", "--converter", "refiner"), "converts with film_gan, not with refiner"),
        (("--method", "unified-synth", "--invented", "9"), "--invented contradicts it"),
        (("--method", "unified-synth", "--targets", "synth:9"), "--targets synth:9 contradicts it"),
        (("--method", "unified-synth", "--shards", "converted"), "--shards contradicts it"),
        (("--method", "unified-synth", "--checkpoint", "pair.safetensors"), "a generator for one pair of devices"),
        (("--method", "unified-synth", "--checkpoint", SHIPPED_REFINER), "holds a 'refiner', not a generator"),
        (("--keep", "best",), "no recordings are held out to choose the best weights by"),
    ],
)  # fmt: skip
def test_options_that_contradict_the_preset_paper_are_named(
    umc: Umc, workspace: Path, options: tuple[str, ...], message: str
) -> None:
    (workspace / "checkpoints").mkdir()
    write_small_checkpoint(workspace / "checkpoints/generator.safetensors", "paper")
    pair = small_generator("paper")
    of_pair = Generator(pair.settings.model_copy(update={"film_encoder": "none"}))
    save_generator(workspace / "pair.safetensors", of_pair, NORMALISATION, {"pair": [SOURCE, "pixel3"]})
    refused = umc("train-sec", "--source", SOURCE, *PAPER, *options)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert "Hint:" in refused.stderr
    assert not (workspace / "runs").exists()


def test_no_recording_of_a_target_has_a_say_in_what_is_best(small: Umc, workspace: Path) -> None:
    assert small("--method", "eq", "--name", "with").exit_code == 0
    for device in DEVICES[1:]:
        for path in (workspace / "data" / device).glob("*/*"):
            write_audio(path, noise(1.0, seed=99))
    assert small("--method", "eq", "--name", "without").exit_code == 0
    runs = [workspace / "runs" / name for name in ("with", "without")]
    assert equal(weights(runs[0], "best"), weights(runs[1], "best"))
    rows = [[row | {"seconds": 0} for row in read_metrics(run)] for run in runs]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("mc", "adapt")])
def test_every_method_trains(small: Umc, workspace: Path, method: str) -> None:
    report = small("--method", method, "--json", *(["--invented", "3"] if method == "unified-synth" else [])).json
    n_steps = 6 if method == "self-training" else 2
    assert (report["exit_code"], report["mode"], report["n_steps"]) == (0, method, n_steps)
    assert report["devices"] == (sorted(DEVICES) if method == "ideal" else [SOURCE])
    assert report["n_held_out"][SOURCE] == 1
    assert sum(report["n_held_out"].values()) == 1


@pytest.mark.usefixtures("engine_is_torch")
def test_mc_and_adapt_take_what_they_need(small: Umc, umc: Umc, workspace: Path) -> None:
    lacking = small("--method", "mc")
    assert lacking.exit_code == 2
    assert "umc train --pair" in lacking.stderr
    tiny = ("--preset", "smoke", "--ngf", "2", "--n-blocks", "1", "--ndf", "2", "--batch-size", "4", "--max-steps", "1")
    assert umc("train", "--pair", f"{SOURCE}:pixel3", *tiny, "--quiet").exit_code == 0
    assert small("--method", "mc").exit_code == 0
    trained = read_checkpoint(workspace / f"checkpoints/{SOURCE}-to-pixel3.safetensors")
    of_pair = trained.metadata["training"] | {"pair": [SOURCE, "xperia1"]}
    other = workspace / f"checkpoints/{SOURCE}-to-xperia1.safetensors"
    write_checkpoint(other, trained.tensors, dict(trained.metadata) | {"training": of_pair})
    for target in ("pixel3", "xperia1"):
        options = ("--checkpoint", f"checkpoints/{SOURCE}-to-{target}.safetensors", "--output", f"out/{target}")
        convert = ("convert", "--source", SOURCE, "--targets", target, "--split", "train", "--engine", "torch")
        assert umc(*convert, *options, "--quiet").exit_code == 0
    assert small("--method", "mc", "--shards", "out", "--name", "of-shards").exit_code == 0
    assert "(weights or engine)" in small("--method", "unified-real", "--shards", "out").stderr
    assert small("--method", "adapt", "--targets", "pixel3").exit_code == 0


def test_shards_give_the_conversions_that_are_made_on_the_fly(small: Umc, umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "eq", "--quiet")
    assert umc(*convert).exit_code == 0
    options = ("--method", "eq", "--targets", "pixel3", "--converted-share", "1")
    assert small(*options, "--name", "live").exit_code == 0
    assert small(*options, "--shards", "converted", "--name", "read").exit_code == 0
    live, read = (read_metrics(workspace / "runs" / name) for name in ("live", "read"))
    assert live[0]["classification_loss"] == pytest.approx(read[0]["classification_loss"], rel=0.01)
    assert live[0]["converted_share"] == read[0]["converted_share"] == 1.0
    plain = small("--name", "plain")
    assert plain.exit_code == 0
    unconverted = read_metrics(workspace / "runs/plain")[0]["classification_loss"]
    assert unconverted != pytest.approx(read[0]["classification_loss"], rel=0.001)


def test_shards_of_an_updated_run_give_what_those_of_a_fresh_one_do(small: Umc, umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "eq", "--quiet")
    assert umc(*convert).exit_code == 0
    for number in range(0, N_CLIPS, 2):  # other sounds at the same place, and some that are gone and new
        write_audio(workspace / f"data/{SOURCE}/low/{number}.wav", tone(600, number))
        source = workspace / f"data/{SOURCE}/high/{number}.wav"
        source.rename(source.with_name(f"new{number}.wav"))
    options = ("--method", "eq", "--targets", "pixel3", "--converted-share", "1", "--shards")
    assert "lack" in small(*options, "converted", "--name", "before").stderr
    assert umc(*convert, "--update").exit_code == 0
    assert umc(*convert, "--output", "fresh").exit_code == 0
    for name in ("converted", "fresh"):
        assert small(*options, name, "--name", name).exit_code == 0
    updated, fresh = (read_metrics(workspace / "runs" / name) for name in ("converted", "fresh"))
    assert [row | {"seconds": 0} for row in updated] == [row | {"seconds": 0} for row in fresh]
    assert umc("eval", "--model", "runs/converted", "--bootstrap", "0", "--json").exit_code == 0


def write_manifest(workspace: Path, rows: Iterable[str]) -> None:
    (workspace / "data/manifest.csv").write_text("\n".join(["path,device,label,split,recording", *rows]) + "\n")


def test_every_file_of_a_recording_gets_its_own_conversion(
    small: Umc, umc: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files make a recording, so that recording and start are no key; then the data folder gets another name."""
    files = [(f"{SOURCE}/{label}/{number}.wav", label, number) for label in ("low", "high") for number in range(10)]
    write_manifest(workspace, (f"{file},{SOURCE},{label},train-sec,{label}{n // 2}" for file, label, n in files))
    convert = ("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "eq", "--quiet")
    assert umc(*convert).exit_code == 0
    options = ("--method", "eq", "--targets", "pixel3", "--converted-share", "1")
    assert small(*options, "--name", "live").exit_code == 0
    assert small(*options, "--shards", "converted", "--name", "read").exit_code == 0
    (workspace / "data").rename(workspace / "elsewhere")
    monkeypatch.setenv("UMC_DATA", str(workspace / "elsewhere"))
    assert small(*options, "--shards", "converted", "--name", "moved").exit_code == 0
    live, read, moved = (read_metrics(workspace / "runs" / name) for name in ("live", "read", "moved"))
    assert live[1]["classification_loss"] == pytest.approx(read[1]["classification_loss"], rel=0.01)
    assert [row | {"seconds": 0} for row in read] == [row | {"seconds": 0} for row in moved]


def test_labels_that_look_alike_are_named(small: Umc, umc: Umc, workspace: Path) -> None:
    for number in range(N_CLIPS):
        write_audio(workspace / f"data/{SOURCE}/Low/{number}.wav", tone(300, number))
    warning = "labels look alike but differ: 'Low' and 'low'. If they mean the same, spell them the same way"
    assert warning in small("--json").json["warnings"]
    assert warning in umc("eval", "--bootstrap", "0", "--json").json["warnings"]
    options = ("--split", "train-converter", "--no-probe", "--converters", "no_conversion")
    assert warning in umc("eval", "conversion", "--source", SOURCE, *options, "--json").json["warnings"]


def test_a_sound_in_two_splits_is_refused_by_every_command(small: Umc, umc: Umc, workspace: Path) -> None:
    assert small().exit_code == 0
    files = [f"{SOURCE}/low/1.wav,{SOURCE},low,train-sec,door", "pixel3/low/1.wav,pixel3,low,val-sec,door"]
    write_manifest(workspace, files)
    commands = (
        ("train-sec", "--source", SOURCE, *SMALL, "--name", "other"),
        ("train", "--preset", "smoke"),
        ("train", "--pretrain", "simulated", "--preset", "smoke"),
        ("eval",),
        ("eval", "conversion", "--source", SOURCE),
        ("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "eq"),
    )
    for command in commands:
        run = umc(*command)
        assert (run.exit_code, command) == (2, command)
        assert "recording 'door' is in two splits: " in run.stderr
        assert "low/1.wav in val-sec" in run.stderr
        assert "Hint: give all clips of a recording the same split" in run.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "none", "--shards", "converted"), "converts nothing"),
        (("--method", "quantile", "--shards", "converted"), "was made by converter 'eq'"),
        (("--method", "eq", "--shards", "converted", "--targets", "xperia1"), "no shards of xperia1"),
        (("--method", "eq", "--shards", "nowhere"), "no shards in nowhere"),
        (("--method", "eq", "--shards", "converted", "--hop", "512"), "lack 27 of 36 training segments"),
        (("--method", "eq", "--shards", "converted", "--targets", ","), "no shards of any target named"),
        (("--method", "eq", "--shards", "converted", "--converter", "refiner"), "does not convert with 'refiner'"),
        (("--method", "mc", "--shards", "converted", "--converter", "film_gan"), "by converter 'eq', not by film_gan"),
        (("--method", "adapt", "--shards", "converted"), "adapt adapts to one device"),
        (("--method", "eq", "--shards", "converted", "--checkpoint", "x"), "--checkpoint has no effect"),
        (("--method", "unified-synth", "--shards", "converted", "--invented", "3"), "no device is invented"),
        (
            ("--method", "room-reverb+eq", "--shards", "converted"),
            "room-reverb cannot alter samples",
        ),
        (("--method", "eq+dir+pitch-shift", "--shards", "converted"), "dir and pitch-shift cannot alter"),
    ],
)
def test_shards_of_something_else_are_refused(
    small: Umc, umc: Umc, workspace: Path, options: tuple[str, ...], message: str
) -> None:
    umc("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "eq", "--quiet")
    run = small(*options)
    assert run.exit_code == 2
    assert message in run.stderr
    assert "Hint:" in run.stderr


def test_the_converter_of_shards_can_be_named(small: Umc, umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--targets", "pixel3", "--split", "train", "--quiet")
    assert umc(*convert, "--converter", "refiner", "--output", "one").exit_code == 0
    options = ("--method", "unified-real", "--shards", "one")
    assert small(*options, "--converter", "refiner").exit_code == 0
    refused = small(*options, "--converter", "refiner_quantile", "--name", "other")
    assert refused.exit_code == 2
    assert "was made by converter 'refiner', not by refiner_quantile" in refused.stderr


def one_refiner_target_each(umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--split", "train", "--quiet")
    assert umc(*convert, "--targets", "pixel3", "--converter", "refiner", "--output", "out/1").exit_code == 0
    assert umc(*convert, "--targets", "xperia1", "--converter", "refiner_quantile", "--output", "out/2").exit_code == 0


def one_target_by_two_weights(umc: Umc, workspace: Path) -> None:
    refiner = read_checkpoint(SHIPPED_REFINER)
    other = {name: weight * 1.01 for name, weight in refiner.tensors.items()}
    write_checkpoint(workspace / "other.safetensors", other, refiner.metadata)
    convert = ("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "refiner", "--quiet")
    assert umc(*convert, "--split", "train", "--output", "out/1").exit_code == 0
    weights = ("--checkpoint", "other.safetensors")
    assert umc(*convert, "--split", "train-converter", "--output", "out/2", *weights).exit_code == 0


def another_record(device: str) -> Callable[[Umc, Path], None]:
    def convert_before_and_after(umc: Umc, workspace: Path) -> None:
        registry = DeviceRegistry(workspace / "devices")
        records = {name: registry.get(name) for name in DEVICES}
        convert = ("convert", "--source", SOURCE, "--converter", "eq", "--split", "train", "--quiet")
        for number, label in enumerate(("low", "high")):
            for name, record in records.items():
                response = tuple(value + number * (name == device) for value in record.frequency_response_db)
                write_device(record.model_copy(update={"frequency_response_db": response}), workspace / "devices")
            options = ("--targets", "pixel3", "--label", label, "--output", f"out/{number}")
            assert umc(*convert, *options).exit_code == 0

    return convert_before_and_after


@pytest.mark.parametrize(
    ("mix", "method", "message"),
    [
        (one_refiner_target_each, "unified-real", "(converter 'refiner' and 'refiner_quantile')"),
        (one_target_by_two_weights, "unified-real", "(weights or engine)"),
        (another_record(SOURCE), "eq", "(record of the source)"),
        (another_record("pixel3"), "eq", "(record or levels of the target)"),
    ],
)
def test_a_mixture_of_conversions_is_refused(
    small: Umc, umc: Umc, workspace: Path, mix: Callable[[Umc, Path], None], method: str, message: str
) -> None:
    mix(umc, workspace)
    run = small("--method", method, "--shards", "out")
    assert run.exit_code == 2
    first, second = sorted(Path("out").glob("*/*/*.h5"))
    assert f"{first} and {second} were made by different conversions {message}" in run.stderr
    assert "Hint: name the folder of one conversion" in run.stderr


def test_conversions_of_one_kind_may_come_in_parts(small: Umc, umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--targets", "pixel3", "--converter", "eq", "--quiet")
    for label, batch_size in (("low", "4"), ("high", "8")):
        options = ("--label", label, "--batch-size", batch_size, "--output", f"out/{label}")
        assert umc(*convert, *options).exit_code == 0
    assert small("--method", "eq", "--shards", "out").exit_code == 0


def test_invented_devices_from_a_set_are_targets(small: Umc) -> None:
    assert small("--method", "eq", "--targets", "synth:2").exit_code == 0
    assert small("--method", "unified-synth", "--targets", "synth:2", "--json").json["exit_code"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "magic"), "unknown method 'magic'"),
        (("--method", "mixup+mixup"), "named twice"),
        (("--method", "eq+quantile"), "both convert"),
        (("--method", "none+mixup"), "cannot be combined"),
        (("--method", "ideal+eq"), "nothing to add"),
        (("--method", "ideal", "--targets", "pixel3,nokia"), "no recordings of nokia"),
        (("--method", "adapt"), "adapts to one device"),
        (("--method", "eq", "--converter", "refiner"), "does not convert with 'refiner'"),
        (("--method", "mc", "--converter", "eq"), "does not convert with 'eq'"),
        (("--method", "eq", "--checkpoint", SHIPPED_REFINER), "method eq does not take weights"),
        (("--method", "eq", "--targets", "nokia"), "unknown device 'nokia'"),
        (("--method", "none", "--targets", "pixel3,nokia"), "unknown device 'nokia'"),
        (("--method", "unified-synth", "--targets", "nokia"), "unknown device 'nokia'"),
        (("--method", "dir", "--targets", "pixel3,nokia"), "unknown device 'nokia'"),
        (("--method", "dir+freq-mixstyle", "--targets", "synth:3"), "dir lacks a device record of synth:3"),
        (("--source", ""), "there are recordings in split train of: pixel3, xperia1, xperia1v"),
        (("--source", "nokia"), "no recordings of 'nokia' in split train"),
        (("--preset", "huge"), "unknown preset 'huge'"),
        (("--backbone", "rsnet"), "unknown backbone 'rsnet'"),
        (("--precision", "fp16"), "fp16 would lose small gradients"),
        (("--converted-share", "1.5"), "--converted-share is '1.5': must be at most 1"),
        (("--name", "../out"), "cannot be the name of a run"),
        (("--resume",), "no run"),
    ],
)
def test_bad_settings_are_named(small: Umc, workspace: Path, options: tuple[str, ...], message: str) -> None:
    run = small(*options)
    assert run.exit_code == 2
    assert message in run.stderr
    assert "Hint:" in run.stderr
    assert not list(workspace.glob("runs/*/*.safetensors"))


def test_a_run_without_source_is_told_which_there_are(umc: Umc, workspace: Path) -> None:
    run = umc("train-sec", "--preset", "smoke")
    assert run.exit_code == 2
    assert "Error: no source is given" in run.stderr
    assert "with --source; there are recordings in split train of: pixel3, xperia1, xperia1v" in run.stderr
    (workspace / "data").rename(workspace / "elsewhere")
    assert "there are recordings in split train of: no device" in umc("train-sec", "--preset", "smoke").stderr


def test_a_run_of_a_name_goes_on_without_its_source(small: Umc, umc: Umc, workspace: Path) -> None:
    assert small("--name", "mine").exit_code == 0
    assert umc("train-sec", "--name", "mine", "--resume", "--max-steps", "3", "--json").json["n_steps"] == 3


def test_targets_that_a_method_does_not_look_at_must_be_devices_all_the_same(small: Umc, workspace: Path) -> None:
    assert small("--method", "none", "--targets", "pixel3").exit_code == 0
    (workspace / "data/xperia1").rename(workspace / "data/nokia")
    assert small("--method", "mixup", "--targets", "nokia").exit_code == 0
    run = small("--method", "dir", "--targets", "nokia")
    assert run.exit_code == 2
    assert "dir lacks a device record of nokia" in run.stderr


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("mixup]\nalpha = 0.4", ""),
        ("mixupp]\nalpha = 0.4", "for 'mixupp', which has no settings"),
        ("eq]\nalpha = 0.4", "for 'eq', which has no settings"),
        ("mixup]\nalfa = 0.4", "method mixup: alfa"),
    ],
)
def test_settings_of_methods_are_checked_whether_used_or_not(
    small: Umc, workspace: Path, section: str, message: str
) -> None:
    (workspace / "umc.toml").write_text(f"[train-sec.method_settings.{section}\n")
    run = small()
    assert run.exit_code == (2 if message else 0)
    assert message in run.stderr
    assert not message or "freq-mixstyle, residual-norm, rfn" in run.stderr or "extending.md" in run.stderr


def test_small_runs_are_validated_every_epoch_and_report_what_was_measured(small: Umc, workspace: Path) -> None:
    run = small("--preset", "cpu", "--max-steps", "8", "--log-every", "100", "--json")
    report, rows = run.json, read_metrics(workspace / f"runs/sec-{SOURCE}-none-0")
    # Nine segments in batches of 4, 4 and 2 (two at the least): epochs of three steps.
    assert [row["step"] for row in rows if "validation_macro_f1" in row] == [3, 6, 8]
    best = next(row for row in rows if row["step"] == report["best_step"])
    assert report["best_score"] == best["validation_macro_f1"]
    assert report["segments_per_s"] == pytest.approx((10 + 10 + 4 + 4) / report["seconds"])
    again = small("--preset", "cpu", "--max-steps", "9", "--log-every", "100", "--resume", "--json").json
    assert [row["step"] for row in read_metrics(workspace / f"runs/sec-{SOURCE}-none-0")] == [3, 6, 8, 9]
    rows = read_metrics(workspace / f"runs/sec-{SOURCE}-none-0")
    best = next(row for row in rows if row["step"] == again["best_step"])
    assert again["best_score"] == best["validation_macro_f1"]


def test_labels_of_few_recordings_or_of_other_devices_only_are_told(small: Umc, workspace: Path) -> None:
    (workspace / "data/manifest.csv").write_text(
        "path,device,label,split,recording\n"
        + "".join(f"{SOURCE}/low/{n}.wav,{SOURCE},low,train-sec,low{n}\n" for n in range(8))
        + f"{SOURCE}/high/0.wav,{SOURCE},high,train-sec,high0\n"
        + "".join(f"pixel3/high/{n}.wav,pixel3,clap,train-sec,clap{n}\n" for n in range(3))
    )
    report = small("--method", "ideal", "--json", "--held-out-share", "0.9").json
    assert any("labels that xperia1v did not record: clap" in text for text in report["warnings"])
    assert sorted(load_sec(Path(report["folder"]) / "best.safetensors").classes) == ["clap", "high", "low"]
    alone = small("--json", "--held-out-share", "0.9", "--name", "alone").json
    assert alone["exit_code"] == 0


def test_one_label_is_no_task(small: Umc, workspace: Path) -> None:
    for device in DEVICES:
        for path in (workspace / "data" / device / "high").iterdir():
            path.unlink()
    run = small()
    assert run.exit_code == 2
    assert "one label: low" in run.stderr


def test_a_recording_that_cannot_be_read_is_listed_and_the_rest_trained_on(small: Umc, workspace: Path) -> None:
    for path in (workspace / "data" / SOURCE / "low").iterdir():
        if path.stem in "02468":
            path.write_bytes(b"RIFF")
    write_audio(workspace / "data" / SOURCE / "flat.wav")
    for options in ((), ("--dry-run", "--name", "planned")):
        run = small("--json", *options)
        assert run.exit_code == 1
        reasons = {Path(entry["path"]).name: entry["reason"] for entry in run.json["failed"]}
        assert reasons.pop("flat.wav") == "does not lie in <device>/<label>/"
        assert reasons
    assert small("--json", "--name", "other").json["n_steps"] == 2


def test_a_killed_run_goes_on_with_the_losses_of_one_that_was_not(
    start_umc: Callable[..., Any], small: Umc, workspace: Path
) -> None:
    method = (
        "--method",
        "eq+freq-mixstyle+mixup",
        "--epochs",
        "100000",
        "--save-every",
        "10",
        "--validate-every",
        "10",
    )
    command = ("train-sec", "--source", SOURCE, *SMALL, *method, "--max-steps", "100000", "--name", "killed")
    with start_umc(*command, cwd=workspace) as process:
        while not (workspace / "runs/killed/state.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    saved = read_checkpoint(workspace / "runs/killed/state.safetensors").metadata["run"]["step"]
    total = str(saved + 10)
    again = small(*method, "--max-steps", total, "--name", "killed", "--resume", "--json")
    assert again.json["n_steps"] == saved + 10, again.stderr
    assert small(*method, "--max-steps", total, "--name", "whole").exit_code == 0
    runs = [workspace / "runs" / name for name in ("whole", "killed")]
    rows = [[row | {"seconds": 0} for row in read_metrics(run)] for run in runs]
    assert rows[0] == rows[1]
    assert len(rows[0]) == saved + 10
    assert equal(weights(runs[0]), weights(runs[1]))
    assert json.loads((runs[1] / "settings.json").read_text())["settings"]["method"] == "eq+freq-mixstyle+mixup"


def test_a_split_val_is_what_is_validated_on(small: Umc, workspace: Path) -> None:
    """Its recordings decide, of the source alone; nothing of `train` is held out, on no device."""
    splits = ["train"] * 8 + ["val"] * 4 + ["test"] * 2
    write_manifest(
        workspace,
        (
            f"{device}/{label}/{number}.wav,{device},{label},{split},{label}{number}"
            for device in DEVICES
            for label in ("low", "high")
            for number, split in enumerate(splits)
        ),
    )
    report = small("--json").json
    assert (report["n_segments"], report["n_held_out"]) == ({SOURCE: 16}, {SOURCE: 8})
    ideal = small("--json", "--method", "ideal", "--held-out-share", "0", "--keep", "best").json
    assert ideal["n_segments"] == dict.fromkeys(DEVICES, 16)
    assert ideal["n_held_out"] == {SOURCE: 8} | dict.fromkeys(DEVICES[1:], 0)


def test_labels_of_val_that_nothing_is_trained_on_are_left_out_and_named(small: Umc, workspace: Path) -> None:
    rows = [
        f"{SOURCE}/{label}/{number}.wav,{SOURCE},{name},{split},{label}{number}"
        for label in ("low", "high")
        for number in range(6)
        for name, split in [(label, "train") if number < 4 else (label, "val")]
    ]
    write_manifest(workspace, [*rows, f"{SOURCE}/low/9.wav,{SOURCE},odd,val,odd9"])
    report = small("--json").json
    assert report["n_held_out"] == {SOURCE: 4}
    assert "labels in split val that nothing is trained on are left out: odd" in report["warnings"]
    assert not [text for text in report["warnings"] if "--held-out-share" in text]
    told = small("--json", "--held-out-share", "0.3", "--name", "told").json["warnings"]
    assert "--held-out-share has no effect: the recordings in split val validate" in told


def test_by_default_a_classifier_learns_from_four_fifths(
    small: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UMC_SHARES")
    report = small("--json").json
    n_train = 2 * round(0.8 * N_CLIPS)
    assert report["n_segments"][SOURCE] + report["n_held_out"][SOURCE] == n_train
    trained = read_checkpoint(workspace / f"runs/sec-{SOURCE}-none-0/best.safetensors").metadata["training"]
    assert trained["shares"] == {"train": 0.8, "test": 0.2}
