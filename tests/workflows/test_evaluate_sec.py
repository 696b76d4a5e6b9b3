"""`umc eval`, on small classifiers of which is known what they say."""

import csv
import html
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional

from tests.conftest import run_here
from tests.conversion.devices import device as record_of
from tests.samples import Run, write_audio
from umc_cli.audio.files import read_header
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, segment_starts
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.response.device import write_device
from umc_cli.sec import predictions as sec_predictions
from umc_cli.sec.sec_checkpoint import SecNetworkSettings, TrainedSec, load_sec, save_sec

pytestmark = pytest.mark.xdist_group("scores")  # the classifiers are trained once


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give converters recordings of their own."""
    monkeypatch.setenv("UMC_SHARES", "train-converter=40,train=40,test=20")


LABELS = ("hiss", "hum", "tick")
DEVICES = {"phone": 1.0, "tablet": 0.6, "watch": 0.05}
"""By device: how much of the treble it records."""
RATE_HZ, N_RECORDINGS = 22_050, 4
SECONDS = 1.0  # one segment a recording


def sound(label: str, number: int, treble: float) -> np.ndarray:
    random = np.random.default_rng([LABELS.index(label), number])
    time_s = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    if label == "hum":
        wave = np.sin(2 * np.pi * (90 + 20 * number) * time_s)
    elif label == "hiss":
        wave = random.standard_normal(len(time_s))
    else:
        wave = np.where(random.random(len(time_s)) < 0.0005, 20.0, 0.0)
    smooth = np.convolve(wave, np.ones(8) / 8, mode="same")
    mixed = smooth + treble * (wave - smooth) + 0.1 * random.standard_normal(len(time_s))
    return (0.05 * mixed).astype(np.float32)


def trained_network(root: Path, settings: SecNetworkSettings, devices: Iterable[str], seed: int) -> Any:
    """Return a classifier after a few steps on the recordings of `devices` in split train-sec."""
    torch.manual_seed(seed)
    network = settings.build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # a few steps must do
    found = [
        (log_mel(torch.from_numpy(segments_of(path))), settings.classes.index(path.parent.name))
        for device in devices
        for path in sorted((root / f"data/{device}").glob("*/train*.wav"))
        if path.parent.name in settings.classes
    ]
    spectrograms = torch.cat([each for each, _ in found])
    labels = torch.tensor([label for each, label in found for _ in each])
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(6):
        optimiser.zero_grad()
        functional.cross_entropy(network(spectrograms), labels).backward()
        optimiser.step()
    return network.eval()


def segments_of(path: Path) -> np.ndarray:
    header = read_header(path)
    settings = SegmentSettings()
    return read_segments(path, header, segment_starts(header.n_samples, settings), settings)[0]


def write_model(
    root: Path,
    run: str,
    source: str = "phone",
    method: str = "none",
    learned_from: Iterable[str] = (),
    classes: tuple[str, ...] = LABELS,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a classifier as `umc train-sec` does: `runs/<run>/best.safetensors`."""
    network = SecNetworkSettings(
        backbone="cnn", classes=classes, mean_db=-60.0, std_db=20.0, source=source, method=method
    )
    path = root / f"runs/{run}/best.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"name": run, "settings": {"seed": seed, "name": run, **(settings or {})}, "recordings_sha256": "0" * 64}
    said |= about or {}
    save_sec(path, trained_network(root, network, learned_from or [source], seed), network, said)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of three devices and three classes, with four classifiers."""
    root = tmp_path_factory.mktemp("scored")
    lines = ["path,device,label,split,recording"]
    for device, treble in DEVICES.items():
        for label in LABELS:
            for number in range(2 * N_RECORDINGS):
                split = "train-sec" if number < N_RECORDINGS else "val-sec"
                name = f"{device}/{label}/{split.split('-')[0]}{number}.wav"
                write_audio(root / "data" / name, sound(label, number, treble), subtype="FLOAT")
                lines.append(f"{name},{device},{label},{split},{label} {number}")
    (root / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    write_model(root, "phone-none-0")
    write_model(root, "phone-none-1", seed=1)
    write_model(root, "phone-ideal-0", method="ideal", learned_from=DEVICES)
    write_model(root, "watch-none-0", source="watch")
    return root


@pytest.fixture
def evaluate(recorded: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Return a function that runs `umc eval` in the workspace with further options."""
    from umc_cli.cli.app import main

    monkeypatch.chdir(recorded)
    return lambda *options: run_here(monkeypatch, capfd, main, ["eval", *map(str, options)])


def own_predictions(root: Path, run: str, device: str) -> tuple[list[int], list[int]]:
    """Return true and predicted classes, found without the command."""
    trained = load_sec(root / f"runs/{run}/best.safetensors")
    true, predicted = [], []
    for path in sorted((root / f"data/{device}").glob("*/val*.wav")):
        with torch.inference_mode():
            said = trained.network(log_mel(torch.from_numpy(segments_of(path)))).argmax(dim=1).tolist()
        predicted += said
        true += [trained.classes.index(path.parent.name)] * len(said)
    return true, predicted


def test_scores_are_those_of_the_networks_own_answers(recorded: Path, evaluate: Callable[..., Run]) -> None:
    run = evaluate("--json", "--bootstrap", 50)
    assert run.exit_code == 0, run.stderr
    report = run.json
    assert report["exit_code"] == 0
    assert {name: device["n_segments"] for name, device in report["devices"].items()} == dict.fromkeys(DEVICES, 12)
    models = {model["name"]: model for model in report["models"]}
    assert set(models) == {"phone-none-0", "phone-none-1", "phone-ideal-0", "watch-none-0"}
    for name, model in models.items():
        for device in DEVICES:
            true, predicted = own_predictions(recorded, name, device)
            expected = f1_score(true, predicted, average="macro", zero_division=0)
            assert model["devices"][device]["macro_f1"] == pytest.approx(expected, abs=1e-6)
            assert model["devices"][device]["n_segments"] == 12
    # The networks learned something, and not the same.
    scores = [model["devices"][device]["macro_f1"] for model in models.values() for device in DEVICES]
    assert max(scores) > 0.8
    assert len(set(scores)) > 2


def test_rows_are_seeds_together_with_gap_and_worst_device(evaluate: Callable[..., Run]) -> None:
    report = evaluate("--json", "--bootstrap", 20).json
    rows = {(row["source"], row["label"]): row for row in report["rows"]}
    assert list(rows) == [("phone", "ideal"), ("phone", "none (2 seeds)"), ("watch", "none")]
    models = {model["name"]: model["devices"] for model in report["models"]}
    both = rows["phone", "none (2 seeds)"]
    assert both["models"] == ["phone-none-0", "phone-none-1"]
    others = ("tablet", "watch")
    by_seed = [np.mean([models[name][device]["macro_f1"] for device in others]) for name in both["models"]]
    assert both["mean_without_source"]["mean"] == pytest.approx(np.mean(by_seed))
    assert both["mean_without_source"]["seed_spread"] == pytest.approx(np.std(by_seed, ddof=1))
    assert both["mean_with_source"]["n_devices"] == 3
    assert both["worst_device"] == min(others, key=lambda device: both["devices"][device]["macro_f1"])
    assert both["gap_closed"] == 0
    assert rows["phone", "ideal"]["gap_closed"] == 1
    assert rows["watch", "none"]["gap_closed"] is None  # its source has no ideal row
    (matrix,) = report["matrices"]
    assert matrix["method"] == "none"
    assert set(matrix["macro_f1"]) == {"phone", "watch"}


def test_verbose_shows_devices_and_several_sources_a_matrix(evaluate: Callable[..., Run]) -> None:
    run = evaluate("--bootstrap", 20, "--verbose", "--compare", "ideal:phone-none-0")
    assert run.exit_code == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    assert ["source", "method", "source", "95", "%", "source", "closed", "%", "device", *DEVICES] in lines
    for title in (
        "ideal, trained on phone",
        "none (2 seeds), trained on phone",
        "none: sources by devices; mean off the source",
        "ideal minus phone-none-0, macro F1",
    ):
        assert f"\n\n{title}" in run.stdout
    assert ["device", "F1", "95", "%", "F1", "accuracy"] in lines
    assert "macro F1 on 36 segments of 36 recordings of 3 devices in split test" in run.stderr


def test_quiet_prints_the_result_alone(evaluate: Callable[..., Run]) -> None:
    run = evaluate("--bootstrap", 0, "--quiet", "--model", "phone-none-0")
    assert run.stderr == ""
    assert run.stdout.splitlines()[-1].split()[:2] == ["phone", "none"]


def test_devices_can_be_chosen_and_models_by_source_or_file(recorded: Path, evaluate: Callable[..., Run]) -> None:
    report = evaluate("--json", "--bootstrap", 0, "--devices", "watch,phone", "--source", "watch").json
    assert list(report["devices"]) == ["watch", "phone"]
    assert [model["name"] for model in report["models"]] == ["watch-none-0"]
    file = recorded / "runs/phone-ideal-0/best.safetensors"
    report = evaluate("--json", "--bootstrap", 0, "--model", f"{file},phone-none-1", "--model", "watch-none-0").json
    assert [model["name"] for model in report["models"]] == ["phone-ideal-0", "phone-none-1", "watch-none-0"]


def test_one_device_alone_says_nothing_of_others(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from umc_cli.cli.app import main

    shutil.copytree(recorded / "data/phone", tmp_path / "data/phone")
    rows = (recorded / "data/manifest.csv").read_text().splitlines()
    own = [row for row in rows if row.startswith(("path", "phone"))]
    (tmp_path / "data/manifest.csv").write_text("\n".join(own) + "\n")
    shutil.copytree(recorded / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    run = run_here(monkeypatch, capfd, main, ["eval"])
    assert run.exit_code == 0, run.stderr
    assert "only phone has recordings in split test: how well classifiers do on other devices was not" in run.stderr
    assert "umc simulate --source phone" in run.stderr


def test_the_same_draws_give_the_same_figures(evaluate: Callable[..., Run]) -> None:
    first, second, other = (
        evaluate("--json", "--bootstrap", 30, "--seed", seed, "--model", "phone-none-0").json for seed in (1, 1, 2)
    )
    assert first["rows"] == second["rows"]
    assert first["rows"] != other["rows"]
    assert first["segments_sha256"] == other["segments_sha256"]


@pytest.mark.parametrize(("most_bytes", "loads_per_model"), [(10**9, 1), (0, len(DEVICES))])
def test_weights_are_read_once_if_they_fit_into_memory_together(
    evaluate: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, most_bytes: int, loads_per_model: int
) -> None:
    loaded: list[str] = []

    def load(path: Path) -> TrainedSec:
        loaded.append(path.parent.name)
        return load_sec(path)

    monkeypatch.setattr(sec_predictions, "load_sec", load)
    monkeypatch.setattr(sec_predictions, "_MOST_KEPT_BYTES", most_bytes)
    run = evaluate("--json", "--bootstrap", 10, "--model", "phone-none-0", "--model", "watch-none-0")
    assert run.exit_code == 0, run.stderr
    assert sorted(loaded) == sorted(["phone-none-0", "watch-none-0"] * loads_per_model)


def test_comparison_with_oneself_under_another_name_finds_nothing(recorded: Path, evaluate: Callable[..., Run]) -> None:
    twin = recorded / "runs/twin/best.safetensors"
    twin.parent.mkdir()
    try:
        # The same weights, another header: another checksum.
        trained = load_sec(recorded / "runs/phone-none-0/best.safetensors")
        settings = SecNetworkSettings(
            backbone="cnn", classes=LABELS, mean_db=-60.0, std_db=20.0, source="phone", method="twin"
        )
        save_sec(twin, trained.network, settings, {})
        run = evaluate("--json", "--bootstrap", 40, "--compare", "phone-none-0:twin")
    finally:
        twin.unlink(missing_ok=True)
        twin.parent.rmdir()
    (comparison,) = run.json["comparisons"]
    assert set(comparison["devices"]) == set(DEVICES)
    for found in (*comparison["devices"].values(), comparison["without_sources"]):
        assert found["macro_f1"] == {"difference": 0, "bootstrap": {"low": 0, "high": 0}, "p_value": 1}
        assert found["mcnemar"] == {"only_first_right": 0, "only_second_right": 0, "p_value": 1}


def test_files_of_the_report(recorded: Path, evaluate: Callable[..., Run], tmp_path: Path) -> None:
    from umc_cli.evaluation.report.results_table import CSV_COLUMNS

    run = evaluate("--output", tmp_path / "out", "--bootstrap", 20, "--json")
    assert run.exit_code == 0, run.stderr
    names = ("report.html", "scores.csv", "scores.md", "scores.json")
    assert run.json["written"] == [str(tmp_path / "out" / name) for name in names]
    with (tmp_path / "out/scores.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == 4 * len(DEVICES)
    assert {row["device"] for row in rows if row["is_source"] == "1" and row["model"] == "watch-none-0"} == {"watch"}
    stored = json.loads((tmp_path / "out/scores.json").read_text())
    assert stored == run.json
    markdown = (tmp_path / "out/scores.md").read_text()
    assert "| phone | none (2 seeds) |" in markdown
    page = (tmp_path / "out/report.html").read_text()
    assert "phone-none-0" in page
    assert stored["models"][0]["sha256"] in page


def spectrograms_of(page: Path) -> str:
    """Return the page's part with spectrogram rows, without the bytes of the pictures."""
    text = html.unescape(page.read_text())
    part = text[text.index('id="spectrograms"') : text.index('id="classes"')]
    return re.sub('base64,[^"]+', "", part)


def test_the_report_draws_an_event_that_all_devices_recorded(
    recorded: Path, evaluate: Callable[..., Run], tmp_path: Path
) -> None:
    spreads = {}
    for path in (recorded / "data/phone").glob("*/val*.wav"):
        levels = log_mel(torch.from_numpy(segments_of(path)))[0].numpy()
        spreads[f"{path.parent.name} {path.stem.removeprefix('val')}"] = np.maximum(levels, levels.max() - 80).std()
    for name in ("phone", "tablet"):
        write_device(record_of(name, 6.0 * (name == "tablet")), recorded / "devices")
    converting = {"converter": "eq", "targets": ["tablet"], "made_with": {}}
    path = write_model(recorded, "phone-eq-0", method="eq", about=converting)
    try:
        run = evaluate("--output", tmp_path, "--bootstrap", 0, "--source", "phone")
    finally:
        shutil.rmtree(path.parent)
        shutil.rmtree(recorded / "devices")
    assert run.exit_code == 0, run.stderr
    part = spectrograms_of(tmp_path / "report.html")
    assert f"Recording '{max(spreads, key=lambda name: spreads[name])}'" in part
    assert part.count("<img") == 1
    assert "eq: converter eq. The training converted to 1 device, not to watch." in part
    assert "eq: not converted to watch: converter eq lacks a device record of watch." in part


def test_without_a_common_recording_the_report_says_that_there_is_no_picture(
    recorded: Path, evaluate: Callable[..., Run], tmp_path: Path
) -> None:
    manifest = recorded / "data/manifest.csv"
    shared = manifest.read_text()
    head, *lines = shared.splitlines()
    rows = [line.split(",") for line in lines]
    manifest.write_text("\n".join([head, *(",".join([*row[:4], f"{row[1]} {row[4]}"]) for row in rows)]) + "\n")
    try:
        run = evaluate("--output", tmp_path, "--bootstrap", 0, "--model", "phone-none-0")
    finally:
        manifest.write_text(shared)
    assert run.exit_code == 0, run.stderr
    part = spectrograms_of(tmp_path / "report.html")
    assert "No picture: no other device has a recording of the same sound" in part
    assert "<img" not in part


def test_output_that_exists_is_replaced_only_when_told(evaluate: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "scores.md").write_text("mine")
    options = ("--output", tmp_path, "--bootstrap", 0, "--model", "phone-none-0")
    run = evaluate(*options)
    assert run.exit_code == 2
    assert f"{tmp_path / 'scores.md'} exists" in run.stderr
    assert (tmp_path / "scores.md").read_text() == "mine"
    assert evaluate(*options, "--overwrite").exit_code == 0
    assert (tmp_path / "scores.md").read_text() != "mine"


def test_an_output_that_cannot_be_written_is_a_fault_of_the_machine(
    evaluate: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    run = evaluate("--output", tmp_path / "file", "--bootstrap", 0, "--model", "phone-none-0")
    assert run.exit_code == 3
    assert str(tmp_path / "file") in run.stderr
    assert "classifying" not in run.stderr  # found out before the work


def test_a_broken_recording_is_listed_and_the_rest_scored(recorded: Path, evaluate: Callable[..., Run]) -> None:
    broken = recorded / "data/tablet/hum/val5.wav"
    content = broken.read_bytes()
    broken.write_bytes(b"RIFF")
    try:
        run = evaluate("--json", "--bootstrap", 0)
    finally:
        broken.write_bytes(content)
    assert run.exit_code == 1
    report = run.json
    assert report["exit_code"] == 1
    assert [entry["path"] for entry in report["failed"]] == [str(broken)]
    assert report["devices"]["tablet"]["n_segments"] == 11
    assert "val5.wav" in run.stderr


def test_segments_of_classes_that_a_model_never_saw_are_counted_out(
    recorded: Path, evaluate: Callable[..., Run]
) -> None:
    path = write_model(recorded, "narrow", classes=("hiss", "hum"))
    try:
        run = evaluate("--json", "--bootstrap", 0)
    finally:
        path.unlink()
        path.parent.rmdir()
    assert run.exit_code == 0
    report = run.json
    (narrow,) = (model for model in report["models"] if model["name"] == "narrow")
    assert narrow["n_unknown"] == {"tick": 12}
    assert narrow["devices"]["phone"]["n_segments"] == 8
    assert "narrow never saw 'tick'; 12 segments are not counted" in report["warnings"]
    assert any("know different classes" in warning for warning in report["warnings"])
    assert "Warning: narrow never saw 'tick'" in run.stderr
    labels = {row["label"] for row in report["rows"] if row["source"] == "phone" and row["method"] == "none"}
    assert "none [narrow]" in labels


def test_a_model_may_know_a_label_in_another_spelling(recorded: Path, evaluate: Callable[..., Run]) -> None:
    """As one that was trained before labels were brought into one spelling."""
    path = recorded / "runs/spelled/best.safetensors"
    path.parent.mkdir()
    try:
        trained = load_sec(recorded / "runs/phone-none-0/best.safetensors")
        names = tuple(f"{label} " for label in LABELS)
        settings = SecNetworkSettings(
            backbone="cnn", classes=names, mean_db=-60.0, std_db=20.0, source="phone", method="spelled"
        )
        save_sec(path, trained.network, settings, {})
        report = evaluate("--json", "--bootstrap", 0).json
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
    spelled, same = (
        next(model for model in report["models"] if model["name"] == name) for name in ("spelled", "phone-none-0")
    )
    assert spelled["n_unknown"] == {}
    assert [device["macro_f1"] for device in spelled["devices"].values()] == [
        device["macro_f1"] for device in same["devices"].values()
    ]


def test_a_model_that_knows_none_of_the_labels_is_refused(recorded: Path, evaluate: Callable[..., Run]) -> None:
    path = recorded / "runs/stranger/best.safetensors"
    path.parent.mkdir()
    settings = SecNetworkSettings(
        backbone="cnn", classes=("cat", "dog"), mean_db=-60.0, std_db=20.0, source="phone", method="none"
    )
    try:
        save_sec(path, settings.build(), settings, {})
        run = evaluate("--model", "stranger")
        compared = evaluate("--compare", "stranger:phone-ideal-0")
    finally:
        path.unlink()
        path.parent.rmdir()
    assert run.exit_code == 2
    assert "model stranger knows none of the recordings' labels; it knows 'cat', 'dog'" in run.stderr
    assert "the recordings' labels: 'hiss', 'hum', 'tick'" in run.stderr
    assert compared.exit_code == 2
    assert "cannot be compared: they know different classes" in compared.stderr


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--model", "nobody"], "'nobody' is neither a run with best.safetensors nor a file", "phone-ideal-0"),
        (["--model", SHIPPED_REFINER], "holds a 'refiner', not a sec", "such as the best.safetensors of its run"),
        (["--devices", "gramophone"], "no recordings of 'gramophone'", "phone, tablet, watch"),
        (["--devices", ""], "no device is named", "--devices all"),
        (["--split", "train-converter"], "no recordings in split train-converter", "--split"),
        (["--split", "val", "--devices", "phone"], "no recordings of 'phone' in split val", "--split"),
        (["--split", "all"], "--split is 'all': must be 'train', 'val', 'test' or 'train-con", "umc eval --help"),
        (["--source", "gramophone"], "no model was trained on 'gramophone'", "phone, watch"),
        (["--baseline", "nothing"], "no model 'nothing'", "phone-none-0"),
        (["--ideal", "nothing"], "no model 'nothing'", "phone-none-0"),
        (["--compare", "ideal"], "--compare 'ideal' is not a pair", "A:B"),
        (["--compare", "ideal:nobody"], "no model 'nobody'", "phone-none-0"),
        (["--compare", "ideal:none"], "'none' means several rows", "watch-none-0"),
        (["--compare", "ideal:phone-ideal-0"], "names the same models twice", "name two"),
        (["--short-clips", "drop", "--silence-gate", "0"], "no recording gives a segment", "short clips"),
        (["--picture", "none.png", "--output", "o"], "cannot read picture none.png", "path"),
        (["--picture", "data/manifest.csv", "--output", "o"], "picture data/manifest.csv is not a PNG", ".png"),
        (["--compute-device", "abacus"], "unknown compute device 'abacus'", "auto"),
        (["--quiet", "layers"], "options must come after the subcommand", "umc eval layers"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(evaluate: Callable[..., Run], options: list[Any], message: str, hint: str) -> None:
    run = evaluate(*options)
    assert run.exit_code == 2
    assert message in run.stderr
    assert hint in run.stderr
    assert run.stdout == ""


def test_an_empty_workspace_has_no_classifier(
    evaluate: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = evaluate()
    assert run.exit_code == 2
    assert f"there is no trained classifier in {tmp_path / 'runs'}" in run.stderr
    assert "umc train-sec" in run.stderr


def test_runs_of_other_kinds_are_passed_over_and_broken_ones_named(
    recorded: Path, evaluate: Callable[..., Run]
) -> None:
    other, broken = recorded / "runs/refiner/best.safetensors", recorded / "runs/broken/best.safetensors"
    try:
        for path, content in ((other, SHIPPED_REFINER.read_bytes()), (broken, b"{}")):
            path.parent.mkdir()
            path.write_bytes(content)
        report = evaluate("--json", "--bootstrap", 0).json
    finally:
        for path in (other, broken):
            path.unlink(missing_ok=True)
            path.parent.rmdir()
    assert len(report["models"]) == 4
    (warning,) = report["warnings"]
    assert warning.startswith("left out: ")
    assert "broken" in warning


def test_another_split_is_scored_with_a_warning(evaluate: Callable[..., Run]) -> None:
    report = evaluate("--json", "--bootstrap", 0, "--split", "train", "--model", "phone-none-0").json
    assert report["warnings"] == ["split train is for training: models look better on it than they are"]


def test_settings_come_from_the_workspace_file_too(recorded: Path, evaluate: Callable[..., Run]) -> None:
    (recorded / "umc.toml").write_text('[eval]\nmodel = ["phone-none-0", "phone-ideal-0"]\nbootstrap = 0\n')
    try:
        report = evaluate("--json").json
    finally:
        (recorded / "umc.toml").unlink()
    assert [model["name"] for model in report["models"]] == ["phone-none-0", "phone-ideal-0"]
    assert report["rows"][0]["mean_without_source"]["bootstrap"] is None


def test_paths_in_the_workspace_file_start_at_its_folder(
    recorded: Path, evaluate: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = recorded / "none.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    (recorded / "umc.toml").write_text(
        '[eval]\nmodel = ["runs/phone-none-0/best.safetensors"]\npicture = ["none.png"]\nbootstrap = 0\n'
    )
    monkeypatch.chdir(recorded / "data")
    try:
        report = evaluate("--json").json
        given = evaluate("--model", "runs/phone-none-0/best.safetensors")
    finally:
        (recorded / "umc.toml").unlink()
        picture.unlink()
    assert [model["name"] for model in report["models"]] == ["phone-none-0"]
    assert given.exit_code == 2
    assert "neither a run with best.safetensors nor a file" in given.stderr


def test_other_shares_of_the_splits_are_warned_of(recorded: Path, evaluate: Callable[..., Run]) -> None:
    path = write_model(recorded, "phone-shares", about={"shares": {"train": 0.9, "test": 0.1}})
    try:
        options = ("--json", "--bootstrap", 0, "--model", "phone-shares")
        (warning,) = evaluate(*options).json["warnings"]
        assert warning.startswith("phone-shares was trained with other shares of the splits")
        assert evaluate(*options, "--shares", "train=90,test=10").json["warnings"] == [
            "shares of the splits have no effect: manifest.csv gives every recording a split"
        ]
    finally:
        path.unlink()
        path.parent.rmdir()
