"""The conversions that classifiers were trained with: the converter's own output, or why there is none."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conversion.devices import device
from tests.conversion.generators import log_mel_batch, write_small_checkpoint
from tests.samples import RATE_HZ, SOURCE, TARGET, Run, noise, write_audio
from umc_cli.audio.manifest import find_recordings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.checkpoint import read_checkpoint
from umc_cli.config import find_workspace
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients
from umc_cli.conversion.kept_knowledge import KeptKnowledge
from umc_cli.conversion.level_tables import TABLES_NAME, load_level_tables
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision
from umc_cli.response.device import DeviceRegistry, write_device
from umc_cli.sec.models import SecModel
from umc_cli.shards.schema import read_shard_header
from umc_cli.shards.updates import find_shards
from umc_cli.workflows.trained_conversion import convert_as_trained

LEVELS = log_mel_batch(1)[0].numpy()
TARGETS = ["b", "c"]
RECORDS = [device("a", 0.0, -80.0), device("b", 6.0, -70.0), device("c", np.linspace(-9, 9, 128).tolist(), -75.0)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace that knows the devices a, b and c."""
    for record in RECORDS:
        write_device(record, tmp_path / "devices")
    return tmp_path


def trained(root: Path, method: str, converter: Any, **training: Any) -> SecModel:
    """Return a model as `umc train-sec` leaves it, trained on `a` and conversions to `b`."""
    said = {"converter": converter, "targets": ["b"], "made_with": {}, "settings": {}} | training
    path = root / "runs/run/best.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    return SecModel("run", str(path), "0" * 64, "a", method, ("x", "y"), said)


def convert(root: Path, model: SecModel, *targets: str) -> Any:
    return convert_as_trained(find_workspace(root), model, LEVELS, targets or TARGETS)


def own(converter: str, target: str, **ingredients: Any) -> np.ndarray:
    """Return what the converter itself makes of the levels."""
    devices = {record.id: record for record in RECORDS}
    engine = EngineSettings(engine="torch", precision=Precision.FP32)
    given = Ingredients("a", (target,), devices, torch.device("cpu"), engine=engine, **ingredients)
    built = CONVERTERS[converter].build(given)
    return built.convert(built.begin(torch.from_numpy(LEVELS)[None].clone()), target)[0].numpy()


def sha256(path: Path) -> str:
    return read_checkpoint(path).sha256


def test_eq_is_the_input_plus_the_difference(root: Path) -> None:
    conversion = convert(root, trained(root, "mixup+eq", "eq"))
    assert (conversion.converter, conversion.trained_targets, conversion.missing) == ("eq", {"b"}, {})
    np.testing.assert_allclose(conversion.converted["b"], LEVELS + 6, atol=1e-4)
    np.testing.assert_array_equal(conversion.converted["c"], own("eq", "c"))
    change = conversion.converted["c"] - LEVELS
    assert (change[1], change[-2]) == (pytest.approx(np.full(80, -9), abs=0.5), pytest.approx(np.full(80, 9), abs=0.5))


def test_a_model_without_conversion_has_none(root: Path) -> None:
    for method in ("none", "ideal", "mixup+freq-mixstyle"):
        assert convert(root, trained(root, method, None)) is None


@pytest.mark.parametrize(("converter", "made_with"), [(None, {}), ("magic", {}), (["eq"], {}), ("eq", None)])
def test_a_model_that_does_not_say_how_is_refused(root: Path, converter: Any, made_with: Any) -> None:
    with pytest.raises(SettingsError, match="does not say how its samples were converted"):
        convert(root, trained(root, "eq", converter, made_with=made_with))


def test_targets_that_the_converter_cannot_serve_are_named(root: Path) -> None:
    write_device(device("floorless"), root / "devices")
    (root / "devices/broken.json").write_text("{")
    conversion = convert(root, trained(root, "eq-noise", "eq_noise"), "b", "floorless", "unknown", "broken")
    assert list(conversion.converted) == ["b"]
    np.testing.assert_array_equal(conversion.converted["b"], own("eq_noise", "b"))
    assert conversion.missing["floorless"] == "converter eq_noise lacks a noise floor in the record of floorless"
    assert conversion.missing["unknown"] == "converter eq_noise lacks a device record of unknown"
    assert "broken.json" in conversion.missing["broken"]


def test_a_noise_floor_that_a_record_lacks_is_taken_from_recordings_as_in_the_training(root: Path) -> None:
    write_device(device("floorless"), root / "devices")
    for index in range(8):
        loud = noise(3.0, index) * np.repeat([0.01, 1.0, 0.01], RATE_HZ).astype(np.float32)  # -60, -20, -60 dBFS
        write_audio(root / f"data/floorless/x/{index}.wav", loud, subtype="FLOAT")
    conversion = convert(root, trained(root, "eq-noise", "eq_noise"), "floorless", "b")
    assert not conversion.missing
    assert conversion.converted["floorless"].min() > -60  # a floor of white noise of -60 dBFS lies at -43 to -47 dB
    np.testing.assert_array_equal(conversion.converted["b"], own("eq_noise", "b"))
    # The workspace's rules of splits hold: these recordings are for training, whatever the manifest calls that.
    rows = [f"floorless/x/{index}.wav,floorless,x,fit\n" for index in range(8)]
    (root / "data/manifest.csv").write_text("path,device,label,split\n" + "".join(rows))
    (root / "umc.toml").write_text('[workspace]\nsplit_map = "train=fit"\n')
    again = convert(root, trained(root, "eq-noise", "eq_noise"), "floorless", "b")
    np.testing.assert_allclose(again.converted["floorless"], conversion.converted["floorless"], atol=1.0)


def test_weights_are_those_of_the_training_wherever_they_lie(root: Path) -> None:
    before = write_small_checkpoint(root / "mine/before.safetensors", seed=1)
    made_with = {"checkpoint_sha256": sha256(before), "engine": "openvino", "precision": "bf16"}
    model = trained(root, "unified-real", "film_gan", made_with=made_with, settings={"checkpoint": str(before)})
    expected = own("film_gan", "b", checkpoint=before)
    write_small_checkpoint(root / "checkpoints/generator.safetensors", seed=2)
    np.testing.assert_array_equal(convert(root, model).converted["b"], expected)
    shutil.move(before, root / "checkpoints/moved.safetensors")
    np.testing.assert_array_equal(convert(root, model).converted["b"], expected)
    (root / "checkpoints/moved.safetensors").unlink()
    gone = convert(root, model)
    assert gone.converted == {}
    assert gone.missing["b"] == gone.missing["c"]
    assert f"sha256 {made_with['checkpoint_sha256'][:12]}" in gone.missing["b"]


def test_the_refiner_of_the_package_is_found(root: Path) -> None:
    model = trained(root, "unified-synth", "refiner", made_with={"checkpoint_sha256": sha256(SHIPPED_REFINER)})
    conversion = convert(root, model)
    np.testing.assert_allclose(conversion.converted["b"], own("refiner", "b", refiner=SHIPPED_REFINER), atol=1e-4)


def test_mc_has_weights_for_its_own_targets_only(root: Path) -> None:
    path = write_small_checkpoint(root / "checkpoints/a-to-b.safetensors")
    conversion = convert(root, trained(root, "mc", "film_gan", made_with={"b": sha256(path)}))
    np.testing.assert_array_equal(conversion.converted["b"], own("film_gan", "b", checkpoint=path))
    assert conversion.missing == {"c": "the training had no converter to it"}


def test_levels_that_are_not_finite_are_not_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> dict[str, torch.Tensor]:
        return {target: torch.full((1, 80, 80), torch.nan) for target in TARGETS}

    monkeypatch.setattr(Conversion, "__call__", broken)
    assert "not finite" in convert(root, trained(root, "eq", "eq")).missing["b"]


def test_tables_of_levels_are_those_of_the_run(root: Path) -> None:
    for name in ("a", "b"):
        for number in range(12):
            write_audio(root / f"data/{name}/x/{number}.wav", noise(2.0, seed=number) * (3 if name == "b" else 1))
    clips = find_recordings(root / "data").clips
    model = trained(root, "quantile", "quantile")
    run = Path(model.path).parent
    tables = load_level_tables(KeptKnowledge(run), ["a", "b"], clips, SegmentSettings(), [])
    shutil.rmtree(root / "data")
    written = (run / TABLES_NAME).read_text()
    conversion = convert(root, model)
    levels = {name: table.levels_db for name, table in tables.items()}
    np.testing.assert_array_equal(conversion.converted["b"], own("quantile", "b", level_quantiles=levels))
    assert conversion.missing == {"c": "converter quantile lacks recordings of c in split train-converter or train"}
    assert (run / TABLES_NAME).read_text() == written
    (run / TABLES_NAME).write_text(written.replace('"levels_db": [', '"levels_db": [[1],', 1))
    with pytest.raises(SettingsError, match="is damaged"):
        convert(root, model)
    (run / TABLES_NAME).unlink()
    assert "level_quantiles.json) are gone" in convert(root, model).missing["b"]


def test_shards_that_a_training_read_say_how_they_were_made(umc: Callable[..., Run], workspace: Path) -> None:
    assert umc("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--quiet").exit_code == 0
    run_id = read_shard_header(find_shards(workspace / "converted")[0]).run_id
    said = {"converter": "eq", "targets": [TARGET], "settings": {"shards": "converted"}}

    def converted(made_with: dict[str, str]) -> Any:
        model = SecModel("run", "runs/run/best.safetensors", "", SOURCE, "eq", (), said | {"made_with": made_with})
        return convert_as_trained(find_workspace(workspace), model, LEVELS, [TARGET])

    library = {each.id: each for each in DeviceRegistry(workspace / "devices")}
    built = CONVERTERS["eq"].build(Ingredients(SOURCE, (TARGET,), library, torch.device("cpu")))
    expected = built.convert(torch.from_numpy(LEVELS)[None].clone(), TARGET)[0].numpy()
    np.testing.assert_array_equal(converted({TARGET: run_id}).converted[TARGET], expected)
    with pytest.raises(SettingsError, match="not of the shards that it was trained with"):
        converted({TARGET: "of another run"})
    write_audio(workspace / f"data/{SOURCE}/a/new.wav")
    update = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--quiet", "--update")
    assert umc(*update).exit_code == 0
    np.testing.assert_array_equal(converted({TARGET: run_id}).converted[TARGET], expected)
    shutil.rmtree(workspace / "converted")
    with pytest.raises(SettingsError, match="no shards in"):
        converted({TARGET: run_id})
