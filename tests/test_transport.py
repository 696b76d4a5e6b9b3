"""The converters `transport` and `refiner_transport` through the command line."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import run_here
from tests.conversion.devices import device
from tests.conversion.test_transport_files import swelling
from tests.samples import Run, write_audio
from umc_cli.audio.manifest import find_recordings
from umc_cli.config import find_workspace
from umc_cli.conversion import level_quantiles
from umc_cli.conversion.chosen.choice import open_conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.conversion.transport_files import file_name
from umc_cli.evaluation.conversion_metrics import log_spectral_distance
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.response.device import write_device
from umc_cli.sec.models import find_models
from umc_cli.settings.eval_conversion import EvaluateConversionSettings
from umc_cli.splits import TEST
from umc_cli.workflows.sec_conversion import choose_sec_conversion
from umc_cli.workflows.trained_conversion import convert_as_trained

CONVERT = ("convert", "--source", "a", "--targets", "b", "--shard-size", "10", "--converter")
STARTS = {"transport": "quantile", "refiner_transport": "refiner_quantile"}
N_TRAIN, N_TEST = 30, 12


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace: `a`, and `b`, which swells less within each recording; a short one, and one with digital silence."""
    root = tmp_path_factory.mktemp("transported")
    rows = []
    for number in range(N_TRAIN + N_TEST):
        split = "train" if number < N_TRAIN else "test"
        for name, exponent in (("a", 1.0), ("b", 0.2)):
            path = write_audio(root / f"data/{name}/{'xy'[number % 2]}/{number}.wav", swelling(number, exponent))
            rows.append((path.relative_to(root / "data"), name, "xy"[number % 2], split, f"sound{number}"))
    short = swelling(99, 1.0)[:3000]
    for name, samples in (("short", short), ("cut", np.concatenate([short, np.zeros(25_000, np.float32)]))):
        path = write_audio(root / f"data/a/x/{name}.wav", samples)
        rows.append((path.relative_to(root / "data"), "a", "x", "train", name))
    with (root / "data/manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "device", "label", "split", "recording"), *rows])
    return root


@pytest.fixture
def root(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the workspace."""
    return Path(shutil.copytree(recorded, tmp_path / "workspace"))


@pytest.fixture
def known(root: Path) -> None:
    """Records of both devices in the workspace, with which the refiner can convert."""
    for record in (device("a", 0.0, -80.0), device("b", np.linspace(-3, 3, 128).tolist(), -75.0)):
        write_device(record, root / "devices")


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Return a function that runs `umc` in the workspace."""
    from umc_cli.cli.app import main

    monkeypatch.chdir(root)
    return lambda *arguments: run_here(monkeypatch, capfd, main, [str(one) for one in arguments])


def rows(folder: Path) -> np.ndarray:
    """Return all converted segments in an output folder."""
    parts = []
    for path in sorted(folder.glob("b/*.h5")):
        with h5py.File(path) as file:
            parts.append(file["log_mel"][:])
    return np.concatenate(parts)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("converter", "start", "batches"),
    [("transport", "quantile", ("--batch-size", "3")), ("refiner_transport", "refiner_quantile", ())],
)
def test_it_moves_more_than_its_start_and_the_same_in_parts_and_batches(
    here: Callable[..., Run], root: Path, converter: str, start: str, batches: tuple[str, ...]
) -> None:
    run = here(*CONVERT, converter, "--json")
    assert run.exit_code == 0, run.stderr
    assert run.json["converter"] == converter
    assert here(*CONVERT, start, "--output", "plain").exit_code == 0
    for number in (2, 1):
        options = ("--output", "parts", "--part", f"{number}/2", "--workers", "2", *batches)
        assert here(*CONVERT, converter, *options).exit_code == 0
    whole, plain = rows(root / "converted"), rows(root / "plain")
    assert np.isfinite(whole).all()
    assert whole.min() >= -100
    assert np.abs(whole - plain).max() > 1
    np.testing.assert_array_equal(rows(root / "parts"), whole)
    name = file_name(converter, "b")
    assert (root / "parts" / name).read_bytes() == (root / "converted" / name).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in root.glob("converted/**/*.h5")}
    again = here(*CONVERT, converter, "--json")
    assert again.json["n_shards_written"] == 0
    assert {path: path.stat().st_mtime_ns for path in root.glob("converted/**/*.h5")} == before
    assert here("shards", "verify", "converted").exit_code == 0


@pytest.mark.usefixtures("known")
def test_engines_find_the_same_map(here: Callable[..., Run], root: Path) -> None:
    for engine in ("torch", "openvino"):
        found = here(*CONVERT, "refiner_transport", "--engine", engine, "--output", engine)
        assert found.exit_code == 0, found.stderr
        assert "learning from recordings what moves segments to b (1 of 1)" in found.stderr
    name = file_name("refiner_transport", "b")
    assert (root / "torch" / name).read_bytes() == (root / "openvino" / name).read_bytes()


@pytest.mark.usefixtures("known")
def test_an_update_goes_on_with_the_map_of_the_run(here: Callable[..., Run], root: Path) -> None:
    assert here(*CONVERT, "refiner_transport").exit_code == 0
    before = (root / "converted" / file_name("refiner_transport", "b")).read_bytes()
    write_audio(root / "data/a/x/new.wav", swelling(77, 1.0))
    with (root / "data/manifest.csv").open("a", newline="") as file:
        csv.writer(file).writerow(("a/x/new.wav", "a", "x", "train", "new"))
    run = here(*CONVERT, "refiner_transport", "--update", "--json")
    assert run.exit_code == 0, run.stderr
    assert run.json["update"]["n_new"] == 1
    assert (root / "converted" / file_name("refiner_transport", "b")).read_bytes() == before


@pytest.mark.usefixtures("known")
def test_a_run_that_began_without_maps_goes_on_without(here: Callable[..., Run], root: Path) -> None:
    begun = here(*CONVERT, "refiner_quantile", "--json").json
    again = here(*CONVERT, "auto", "--json").json
    assert (again["converter"], again["reason"]) == ("refiner_quantile", f"as the run in {again['output']} began")
    assert again["n_shards_kept"] == begun["n_shards_written"]
    fresh = here(*CONVERT, "auto", "--json", "--output", "fresh").json
    assert (fresh["converter"], fresh["warnings"]) == ("refiner_transport", [])
    assert fresh["reason"].startswith("the best for 1 of 1 targets")


@pytest.mark.usefixtures("known")
def test_a_training_that_began_before_maps_goes_on_without(here: Callable[..., Run], root: Path) -> None:
    begin = ("train-sec", "--source", "a", "--method", "unified-real", "--preset", "smoke", "--batch-size", "4")
    begin += ("--name", "early", "--quiet")
    assert here(*begin, "--max-steps", "2", "--converter", "refiner_quantile").exit_code == 0
    path = root / "runs/early/settings.json"
    kept = json.loads(path.read_text())
    assert kept.pop("converter") == "refiner_quantile"
    kept["settings"]["converter"] = "auto"
    path.write_text(json.dumps(kept))
    run = here("train-sec", "--resume", "--name", "early", "--max-steps", "3", "--quiet")
    assert run.exit_code == 0, run.stderr
    assert json.loads(path.read_text())["converter"] == "refiner_quantile"
    assert here(*begin, "--max-steps", "2", "--overwrite").exit_code == 0
    assert json.loads(path.read_text())["converter"] == "refiner_transport"
    assert here("train-sec", "--resume", "--name", "early", "--max-steps", "3", "--quiet").exit_code == 0


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("knows_maps", "converter"), [(True, "refiner_transport"), (False, "refiner_quantile")])
def test_a_training_with_weights_of_its_own_takes_the_best(root: Path, knows_maps: bool, converter: str) -> None:
    workspace, asked = find_workspace(root), ConversionSettings(source="a", targets=("b",), checkpoint=SHIPPED_REFINER)
    recordings = find_recordings(workspace.data, workspace.splits)
    (conversion,) = choose_sec_conversion(workspace, "unified-real", asked, recordings, 1, knows_maps)
    assert conversion.converter == converter


def test_another_map_makes_another_run(here: Callable[..., Run], root: Path) -> None:
    assert here(*CONVERT, "transport").exit_code == 0
    ids = json.loads((root / "converted/run.json").read_text())
    with (root / "data/manifest.csv").open(newline="") as file:
        lines = file.readlines()
    (root / "data/manifest.csv").write_text("".join(line for line in lines if not line.startswith("b/x/0.wav")))
    run = here(*CONVERT, "transport")
    assert run.exit_code == 2
    assert "target" in run.stderr
    assert json.loads((root / "converted/run.json").read_text()) == ids


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("converter", "start"), STARTS.items())
def test_with_few_recordings_it_is_its_start(here: Callable[..., Run], root: Path, converter: str, start: str) -> None:
    with (root / "data/manifest.csv").open(newline="") as file:
        head, *lines = file.readlines()
    few = [line for line in lines if not line.startswith("b/") or int(line.split(",")[4].strip()[5:]) < 9]
    long = np.concatenate([swelling(number, 0.2) for number in range(3)])
    for line in few:
        if line.startswith("b/"):
            write_audio(root / "data" / line.split(",")[0], long)
    (root / "data/manifest.csv").write_text("".join([head, *few]))
    run = here(*CONVERT, converter, "--json")
    assert run.exit_code == 0, run.stderr
    assert any(f"{converter} is what `{start}` is for b" in warning for warning in run.json["warnings"])
    assert here(*CONVERT, start, "--output", "plain").exit_code == 0
    np.testing.assert_array_equal(rows(root / "converted"), rows(root / "plain"))


def test_a_verdict_may_choose_it_and_auto_does_not_otherwise(here: Callable[..., Run], root: Path) -> None:
    assert here(*CONVERT[:5], "--dry-run", "--json").json["converter"] == "quantile"
    found = here("eval", "conversion", "--source", "a", "--no-probe", "--save-verdict", "--json")
    assert found.exit_code == 0, found.stderr
    assert found.json["verdict"]["converter"] == "transport"
    assert found.json["verdict"]["default"] == "quantile"
    run = here(*CONVERT[:5], "--json")
    assert run.json["converter"] == "transport"
    assert (root / "converted" / file_name("transport", "b")).is_file()


@pytest.mark.usefixtures("known")
def test_the_way_back_has_maps_of_its_own(
    here: Callable[..., Run], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them, what was moved on the way there would stay moved. Every recording is read once."""
    lines = (root / "data/manifest.csv").read_text().splitlines(keepends=True)
    (root / "data/manifest.csv").write_text(
        "".join(line for line in lines if "short" not in line and "cut" not in line)
    )
    times_read = Counter[str]()

    def read(path: Path, *rest: object) -> np.ndarray:
        times_read["/".join(path.parts[-3:])] += 1
        return segments_of(path, *rest)

    segments_of = level_quantiles._segments
    monkeypatch.setattr(level_quantiles, "_segments", read)
    converters = "transport,quantile,refiner_transport"
    run = here("eval", "conversion", "--source", "a", "--no-probe", "--json", "--converters", converters)
    assert run.exit_code == 0, run.stderr
    assert "learning what transport moves from b back to a" in run.stderr
    assert len(times_read) == 2 * N_TRAIN
    assert {*times_read.values()} == {1}
    found = {row["converter"]: row["targets"]["b"]["cycle_error_db"]["value"] for row in run.json["converters"][:-1]}
    workspace = find_workspace(root)
    there, back, without = (
        open_conversion(workspace, ConversionSettings(source=source, targets=(target,), converter=converter))
        for source, target, converter in (("a", "b", "transport"), ("b", "a", "transport"), ("b", "a", "quantile"))
    )
    reader = SegmentReader(EvaluateConversionSettings(source="a").segments, 500)
    given = reader.read(
        [clip for clip in find_recordings(workspace.data).clips if clip.device == "a" and clip.role == TEST]
    )
    moved = there(given.log_mel)["b"]
    cycles = [log_spectral_distance(one(moved)["a"].numpy(), given.log_mel).mean() for one in (back, without)]
    assert found["transport"] == pytest.approx(cycles[0], abs=1e-4)
    assert found["transport"] < cycles[1] / 2


@pytest.mark.usefixtures("known")
def test_sound_follows_and_a_classifier_learns_from_it(here: Callable[..., Run], root: Path) -> None:
    assert here(*CONVERT, "refiner_transport", "--write", "flac", "--output", "sound").exit_code == 0
    assert len(list(root.glob("sound/**/*.flac"))) == N_TRAIN + N_TEST + 2
    options = ("--preset", "smoke", "--max-steps", "2", "--batch-size", "4", "--name", "moved", "--quiet")
    run = here("train-sec", "--source", "a", "--method", "refiner-transport", *options)
    assert run.exit_code == 0, run.stderr
    workspace, segment = find_workspace(root), np.random.default_rng(0).uniform(-90, -20, (80, 80)).astype(np.float32)
    (model,) = find_models(workspace, ["moved"], [])
    shown = convert_as_trained(workspace, model, segment, ["b"])
    assert shown is not None
    assert not shown.missing
    assert shown.converter == "refiner_transport"
    (root / "runs/moved" / file_name("refiner_transport", "b")).unlink()
    gone = convert_as_trained(workspace, model, segment, ["b"])
    assert gone is not None
    assert "is missing, damaged or not from a to b" in gone.missing["b"]


@pytest.mark.usefixtures("known")
def test_a_target_of_which_too_little_can_be_heard(here: Callable[..., Run], root: Path) -> None:
    for path in root.glob("data/b/*/*.wav"):
        write_audio(path, np.zeros(25_000, np.float32))
    run = here(*CONVERT, "refiner_transport")
    assert run.exit_code == 2
    assert f"only 0 segments in {N_TRAIN} recordings, of which {N_TRAIN} cannot be read (such as " in run.stderr
    assert "is silent: every sample is zero)" in run.stderr
    assert "or leave b out of --targets" in run.stderr
