"""`umc eval layers`, on generators of which is known what their layers can tell."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from tests.conversion.devices import device
from tests.conversion.generators import NORMALISATION, small_generator
from tests.samples import noise, write_audio
from umc_cli.cli.evaluate_layers import layers_command
from umc_cli.config import Workspace, find_workspace
from umc_cli.conversion.generator_checkpoint import load_generator, save_generator
from umc_cli.errors import SettingsError
from umc_cli.response.device import write_device
from umc_cli.settings.eval_layers import EvaluateLayersSettings
from umc_cli.workflows.evaluate_layers import EvaluateLayersReport, evaluate_layers


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give converters recordings of their own."""
    monkeypatch.setenv("UMC_SHARES", "train-converter=40,train=40,test=20")


N_RECORDINGS = 16
BANDS = np.linspace(-1, 1, 128)
RESPONSES_DB = {
    "plain": 0 * BANDS,
    "rising": 12 * BANDS,
    "falling": -12 * BANDS,
    "hollow": 15 * BANDS**2,
    "wavy": 10 * np.sin(6 * BANDS),
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which `plain` recorded sounds of different spectra, with records of four targets."""
    root = tmp_path_factory.mktemp("layers")
    lines = ["path,device,label,split,recording"]
    for index in range(N_RECORDINGS):
        filtered = np.convolve(noise(2.0, seed=index), [1, 0.9 * np.cos(index)], mode="same").astype(np.float32)
        write_audio(root / f"data/{index}.wav", filtered, subtype="FLOAT")
        lines.append(f"{index}.wav,plain,noise,{'val-sec' if index < 12 else 'train-mc'},{index}")
    (root / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    for name, response_db in RESPONSES_DB.items():
        write_device(device(name, response_db.tolist()), root / "devices")
    write_generator(root / "checkpoints/generator.safetensors")
    return find_workspace(root)


def write_generator(path: Path, preset: str = "level_aware", film: float = 5.0) -> Path:
    """Write a generator whose FiLM says the target `film` times as loudly as a new one's."""
    generator = small_generator(preset)
    if hasattr(generator.film_encoder, "mlp"):
        generator.film_encoder.mlp[-1].weight.mul_(film)
        generator.film_encoder.mlp[-1].bias.mul_(film)
    save_generator(path, generator, NORMALISATION)
    return path


def evaluate(workspace: Workspace, **settings: Any) -> EvaluateLayersReport:
    given = {"source": "plain", "network": False} | settings
    return evaluate_layers(workspace, EvaluateLayersSettings(**given), lambda step: None)


def bits(report: EvaluateLayersReport, layer: str, dimension: str = "channel") -> float:
    return report.layers[layer][dimension].information_bits.value


def test_the_target_is_unknown_before_the_film_and_plain_behind_it(recorded: Workspace) -> None:
    report = evaluate(recorded)
    assert report.exit_code == 0
    assert (report.n_segments, report.n_recordings) == (24, 12)
    assert report.targets == ["falling", "hollow", "rising", "wavy"]
    assert (report.entropy_bits, report.chance) == (2, 0.25)
    for layer in ("encoder 1", "encoder 2", "encoder 3"):
        for statistic in report.layers[layer].values():
            assert statistic.information_bits.value == pytest.approx(0, abs=1e-9)
            assert statistic.accuracy.value == 0.25
    assert 1.8 < bits(report, "block 1") <= 2
    assert report.layers["block 1"]["channel"].accuracy.value > 0.95
    # Random layers blur it, but it is there to the end.
    assert bits(report, "block 2") > 0
    assert bits(report, "decoder 1") > 0.3
    assert bits(report, "output", "frequency") > 0.3
    # The InstanceNorm at a block's end has no mean to add: the channels tell nothing there, frequency and time do.
    for layer in ("block 1 sum", "block 2 sum"):
        assert bits(report, layer) < 0.02
    assert bits(report, "block 1 sum", "frequency") > 0.2
    assert bits(report, "block 1 sum", "time") > 0.2


def test_a_film_that_is_silent_tells_nothing_anywhere(recorded: Workspace, tmp_path: Path) -> None:
    report = evaluate(recorded, checkpoint=write_generator(tmp_path / "silent.safetensors", film=0.0))
    found = [one for statistics in report.layers.values() for one in statistics.values()]
    assert [one.information_bits.value for one in found] == pytest.approx([0] * len(found), abs=1e-9)
    assert {one.accuracy.value for one in found} == {0.25}


def test_the_generator_of_the_paper_takes_two_sizes_of_one_shape_for_the_same(
    recorded: Workspace, tmp_path: Path
) -> None:
    """Its InstanceNorms remove the size: of three targets, two of which have one shape, it can tell 0.92 bits."""
    write_device(device("rising6", (6 * BANDS).tolist()), recorded.devices)
    try:
        checkpoint = write_generator(tmp_path / "paper.safetensors", preset="paper")
        report = evaluate(recorded, checkpoint=checkpoint, targets="rising,rising6,hollow")
    finally:
        (recorded.devices / "rising6.json").unlink()
    assert report.generator_preset == "paper"
    assert report.warnings == []
    assert report.entropy_bits == pytest.approx(np.log2(3))
    told = bits(report, "block 1")
    assert told == pytest.approx(np.log2(3) - 2 / 3, abs=0.05)
    assert told < 0.7 * bits(evaluate(recorded, targets="rising,hollow,falling"), "block 1")


def test_every_segment_goes_to_every_target_up_to_the_bound(recorded: Workspace) -> None:
    report = evaluate(recorded, most_segments=11, targets="wavy,rising")
    assert (report.n_segments, report.n_recordings) == (11, 11)
    assert report.targets == ["wavy", "rising"]
    assert (report.entropy_bits, report.chance) == (1, 0.5)
    assert report.layers["output"]["channel"].n_features == 1
    assert asdict(report)["layers"]["block 1"]["channel"]["information_bits"].keys() == {"value", "standard_error"}


def test_the_same_twice(recorded: Workspace) -> None:
    first, second = (evaluate(recorded, most_segments=10) for _ in range(2))
    assert first.layers == second.layers


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure(recorded: Workspace, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"layers.{suffix}"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="already exists"):
        evaluate(recorded, figure=path)
    assert path.read_text() == "mine"
    report = evaluate(recorded, most_segments=10, targets="wavy,rising", figure=path, overwrite=True)
    assert report.figure == str(path)
    if suffix == "png":
        assert matplotlib.image.imread(path).std() > 0.05
    else:
        assert path.read_text().startswith("<?xml")


def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *options: str, network: bool = False) -> Result:
    """Run the command as the command line would."""
    options = (*options, "--network" if network else "--no-network")
    app = typer.Typer()
    app.command()(layers_command)
    monkeypatch.chdir(workspace.root)
    return CliRunner().invoke(app, ["--source", "plain", "--targets", "wavy,rising", "--most-segments", "10", *options])


def test_table_for_people(recorded: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(recorded, monkeypatch)
    assert shown.exit_code == 0
    rows = [line.split() for line in shown.stdout.splitlines()]
    heads = ["layer", "channel", "bits", "channel", "%", "frequency", "bits", "frequency", "%", "time", "bits", "time"]
    assert rows[0] == [*heads, "%"]
    assert rows[1] == ["encoder", "1", *["0.00", "50"] * 3]
    assert rows[4][:2] == ["block", "1"]
    assert float(rows[4][2]) > 0.9
    assert len(rows) == 11
    assert "10 segments of 10 recordings of plain in split test, each converted to 2 targets" in shown.stderr
    assert "H(target) 1.00 bits, chance 50 %" in shown.stderr
    assert "0.00 ± 0.00" in run(recorded, monkeypatch, "--verbose").stdout
    assert run(recorded, monkeypatch, "--quiet").stderr == ""


def test_json_for_programs(recorded: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure = tmp_path / "layers.pdf"
    result = json.loads(run(recorded, monkeypatch, "--json", "--figure", str(figure)).stdout)
    assert result["exit_code"] == 0
    assert result["figure"] == str(figure)
    assert figure.read_bytes().startswith(b"%PDF")
    assert list(result["layers"])[3:5] == ["block 1", "block 1 sum"]
    assert result["layers"]["encoder 2"]["time"]["accuracy"] == {"value": 0.5, "standard_error": 0}
    assert set(result["definitions"]) == {
        "information_bits", "accuracy", "network_information_bits", "network_accuracy", "standard_error"
    }  # fmt: skip
    assert result["layers"]["encoder 2"]["time"]["network_accuracy"] is None


def test_small_networks_stand_beside_linear_probes(recorded: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(recorded, monkeypatch, network=True)
    linear, _, networks = shown.stdout.partition("small networks as probes")
    rows = [line.split() for line in networks.splitlines() if line]
    assert [row[0] for row in rows[1:4]] == ["encoder"] * 3
    assert {cell for row in rows[1:4] for cell in row[2::2]} == {"0.00"}  # nothing before the FiLM
    assert float(rows[4][2]) > 0.8
    assert len(rows) == len([line for line in linear.splitlines() if line]) == 11


def write_pairs(workspace: Workspace, *targets: str, **settings: int) -> None:
    """Write a generator for each target, with weights of its own."""
    for seed, target in enumerate(targets):
        plain = small_generator()
        kind = plain.settings.model_copy(update={"film_encoder": "none", **settings})
        torch.manual_seed(seed)
        path = workspace.checkpoints / f"plain-to-{target}.safetensors"
        save_generator(path, type(plain)(kind), NORMALISATION, {"pair": ["plain", target]})


@pytest.fixture
def pairs(recorded: Workspace) -> Iterator[Workspace]:
    write_pairs(recorded, "wavy", "rising", "hollow")
    yield recorded
    for path in recorded.checkpoints.glob("plain-to-*"):
        path.unlink()


def test_generators_of_pairs_differ_from_the_first_layer_on(pairs: Workspace) -> None:
    """As the paper's Figure 3 shows it, of its predecessor's generators."""
    report = evaluate(pairs, pairs=True)
    assert report.targets == ["hollow", "rising", "wavy"]
    assert (report.generator_preset, report.entropy_bits) == ("one_to_one", pytest.approx(np.log2(3)))
    assert list(report.pair_checkpoints_sha256) == report.targets
    assert len(set(report.pair_checkpoints_sha256.values())) == 3
    assert bits(report, "encoder 1") > 1.1
    assert report.layers["output"]["frequency"].accuracy.value > 0.9


def test_equal_generators_of_pairs_tell_nothing(pairs: Workspace) -> None:
    trained = load_generator(pairs.checkpoints / "plain-to-wavy.safetensors")
    path = pairs.checkpoints / "plain-to-rising.safetensors"
    save_generator(path, trained.generator, NORMALISATION, {"pair": ["plain", "rising"]})
    report = evaluate(pairs, pairs=True, targets="wavy,rising", most_segments=12)
    assert report.entropy_bits == 1
    assert [bits(report, layer) for layer in report.layers] == pytest.approx([0] * len(report.layers), abs=1e-9)


def test_what_pairs_are_refused(pairs: Workspace) -> None:
    with pytest.raises(SettingsError, match="no generator from plain to falling") as refused:
        evaluate(pairs, pairs=True, targets="wavy,falling")
    assert "umc train --pair plain:falling" in refused.value.hint
    with pytest.raises(SettingsError, match=r"from plain to wavy in .*, at least two are needed"):
        evaluate(pairs, pairs=True, targets="wavy")
    with pytest.raises(SettingsError, match="--checkpoint has no effect"):
        evaluate(pairs, pairs=True, checkpoint=Path("x.safetensors"))
    write_pairs(pairs, "wavy", ngf=4)
    with pytest.raises(SettingsError, match="different settings"):
        evaluate(pairs, pairs=True)
    path = pairs.checkpoints / "plain-to-wavy.safetensors"
    save_generator(path, small_generator(), NORMALISATION)
    with pytest.raises(SettingsError, match="is not a generator from plain to wavy alone"):
        evaluate(pairs, pairs=True)


def test_targets_of_one_response_are_named(recorded: Workspace) -> None:
    write_device(device("twin", RESPONSES_DB["wavy"].tolist()), recorded.devices)
    try:
        report = evaluate(recorded, targets="wavy,twin", most_segments=10)
    finally:
        (recorded.devices / "twin.json").unlink()
    assert report.warnings == ["wavy and twin have the same frequency response: no layer can tell them apart"]
    assert bits(report, "block 1") == pytest.approx(0, abs=1e-9)


def test_a_broken_recording_is_listed_and_the_others_are_measured(recorded: Workspace) -> None:
    broken = recorded.data / "3.wav"
    content = broken.read_bytes()
    broken.write_bytes(b"RIFF")
    try:
        report = evaluate(recorded, targets="wavy,rising")
    finally:
        broken.write_bytes(content)
    assert report.exit_code == 1
    assert [entry.path for entry in report.failed] == [str(broken)]
    assert report.n_recordings == 11


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"source": "nobody"}, "unknown device 'nobody'", "known devices: falling, hollow, pixel3, "),
        ({"targets": "wavy,nobody"}, "unknown device 'nobody'", "known devices"),
        ({"targets": "plain,wavy"}, "target 'plain' is the source itself", "leave it out"),
        ({"targets": "wavy"}, "wavy as target, at least two are needed", "--targets all"),
        ({"targets": "wavy,wavy"}, "wavy as target, at least two are needed", "--targets all"),
        ({"targets": ""}, "no target is named", "--targets all"),
        ({"source": "wavy"}, "no recordings of 'wavy' in split test", "recordings in split test of: plain"),
        ({"split": "train-mc"}, "segments from only 4 recordings of plain", "add recordings"),
        ({"figure": Path("layers.txt")}, "cannot draw a figure as 'layers.txt'", "png"),
        ({"checkpoint": Path("none.safetensors")}, "there is no generator at none.safetensors", "umc train"),
        ({"compute_device": "abacus"}, "unknown compute device 'abacus'", "known compute devices: auto"),
    ],
    ids=str,
)
def test_what_is_refused(recorded: Workspace, settings: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        evaluate(recorded, **settings)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_a_generator_of_one_pair_is_refused_with_the_reason(recorded: Workspace, tmp_path: Path) -> None:
    generator = small_generator()
    one_to_one = type(generator)(generator.settings.model_copy(update={"film_encoder": "none"}))
    path = tmp_path / "pair.safetensors"
    save_generator(path, one_to_one, NORMALISATION, {"pair": ["plain", "wavy"]})
    with pytest.raises(SettingsError, match="one pair of devices: it gets no difference") as refused:
        evaluate(recorded, checkpoint=path)
    assert "without --pair" in refused.value.hint


def test_other_weights_are_no_generator(recorded: Workspace, tmp_path: Path) -> None:
    from umc_cli.conversion.refiner_settings import SHIPPED_REFINER

    with pytest.raises(SettingsError, match="holds a 'refiner', not a generator"):
        evaluate(recorded, checkpoint=SHIPPED_REFINER)


def test_too_few_segments_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="most_segments"):
        EvaluateLayersSettings(source="plain", most_segments=9)
