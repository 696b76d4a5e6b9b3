"""Examples that need no third-party recordings run as they are described; the others load."""

import itertools
import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import typer.main

from tests.conftest import PROJECT
from tests.samples import Run, noise, write_audio
from umc_cli.audio.manifest import read_manifest
from umc_cli.cli.app import app
from umc_cli.conversion.converter_training.pretraining_world import make_training_world
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.simulation.sound_events import synthesize

EXAMPLES = sorted((PROJECT / "examples").rglob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_everything_that_an_example_imports_is_there(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (script.parent.parent, script.parent):
        monkeypatch.syspath_prepend(folder)
    runpy.run_path(str(script), run_name="example")  # its main() does not run


@pytest.mark.timeout(600)
def test_the_experiment_of_device_robustness_gives_its_tables_and_goes_on_where_it_was(
    tmp_path: Path, run_script: Callable[..., Run]
) -> None:
    """Every kind of row: conversions at two shares, the paper's generator, a classifier for each target.

    The sounds are there already, of four classes instead of ten.
    """
    for label in ("bell", "knock", "sweep", "whistle"):
        for index in range(6):
            write_audio(tmp_path / f"sounds/{label}/{label}-{index}.flac", synthesize(label, index))
    script = PROJECT / "examples/device_robustness.py"
    rows = "eq-noise;eq-noise, 0.8 converted;Unified-MC-Synth;adapt"
    command = [str(script), "--preset", "tiny", "--draws", "1", "--rows", rows, "--jobs", "1"]
    command += ["--output", str(tmp_path)]
    plan = run_script(*command, "--plan", cwd=tmp_path)
    assert plan.exit_code == 0, plan.stderr
    assert plan.stdout == ""
    assert "1 draws, 0.0 hours of trainings one after another" in plan.stderr
    assert "Unified-MC-Synth: 0.00 h" in plan.stderr  # measured with a generator of three steps, which is gone
    left = [path.name for folder in ("runs", "checkpoints") for path in (tmp_path / "tiny/draw0" / folder).iterdir()]
    assert left == []
    run = run_script(*command, cwd=tmp_path, timeout=550)
    assert run.exit_code == 0, run.stderr
    table, ranked = (part.splitlines() for part in run.stdout.strip().split("\n\n"))
    found = {line.split("|")[1].strip(): line for line in table[2:]}
    assert list(found) == ["none", "eq-noise", "eq-noise, 0.8 converted", "Unified-MC-Synth", "adapt", "ideal"]
    assert found["adapt"].split("|")[3].strip() == "-"  # a classifier for each target alone
    assert len(ranked) == 2 + len(found)
    runs = tmp_path / "tiny/draw0/runs"
    share = json.loads((runs / "eq-noise--0-8-converted/settings.json").read_text())["settings"]["converted_share"]
    assert share == 0.8
    # A draw that is complete is not recorded again, and what is trained is not trained again.
    finished = (runs / "none/last.safetensors").stat().st_mtime_ns
    again = run_script(*command, cwd=tmp_path)
    assert again.stdout == run.stdout
    assert (runs / "none/last.safetensors").stat().st_mtime_ns == finished


def test_a_minute_of_pairs_is_a_row_of_its_own(tmp_path: Path, run_script: Callable[..., Run]) -> None:
    """Of two microphones at the same events: one hears them 6 dB lower, and has more noise."""
    real_set, random = tmp_path / "real", np.random.default_rng(0)
    rows = ["path,device,label,recording"]
    for label, index in itertools.product(("bell", "knock", "sweep", "whistle"), range(12)):
        near = synthesize(label, index)
        for device, gain, hiss in (("near", 1.0, 1e-4), ("far", 0.5, 1e-3)):
            name = f"{device}-{label}-{index}.flac"
            write_audio(real_set / name, gain * near + hiss * random.standard_normal(len(near)))
            rows.append(f"{name},{device},{label},{label}-{index}")
    (real_set / "manifest.csv").write_text("\n".join(rows))
    script = PROJECT / "examples/device_robustness.py"
    command = [str(script), "--preset", "tiny", "--real", str(real_set), "--draws", "1", "--jobs", "1"]
    run = run_script(*command, "--rows", "unified-real (adapted)", "--output", str(tmp_path), cwd=tmp_path, timeout=300)
    assert run.exit_code == 0, run.stderr
    found = [line.split("|")[1:3] for line in run.stdout.splitlines()[2:5]]
    assert [[cell.strip() for cell in row] for row in found] == [
        ["none", "nothing"],
        ["unified-real (adapted)", "a minute of pairs"],
        ["ideal", "labeled recordings"],
    ]
    draw = next(tmp_path.glob("tiny-*/draw0"))
    assert (draw / "paired/runs/unified-real--adapted/last.safetensors").is_file()
    assert (draw / "paired/checkpoints/side-by-side").is_dir()
    assert not (draw / "checkpoints/side-by-side").exists()  # no other row knows of pairs


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(PROJECT / "examples")
    return runpy.run_path(str(PROJECT / "examples/device_robustness_table.py"), run_name="example")


def test_neighbours_are_told_apart_over_draws(table: dict[str, Any]) -> None:
    """As scipy's paired t-test: leads of 0.02, 0.03 and 0.04 are 0.03 ± 0.01, t = 5.196, p = 0.035."""
    found = {
        "none": {"seen": [0.10, 0.20, 0.30]},
        "eq": {"seen": [0.50, 0.60, 0.70]},
        "ideal": {"seen": [0.52, 0.63, 0.74]},
        "adapt": {"seen": [math.nan] * 3},
    }
    lines = table["neighbours"](found).splitlines()
    assert lines[2] == "| ideal | +0.030 | 0.035 |"
    assert lines[3].startswith("| eq | +0.400 | ")
    assert lines[4:] == ["| none | | |"]


def test_devices_are_source_seen_or_unseen_whatever_they_are_called(table: dict[str, Any]) -> None:
    draws = [{"none": {"top": 0.9, "bottom": 0.5, "overhead": 0.3}}, {"none": {"top": 0.2, "bottom": 0.8}}]
    found = table["summary"](draws, ["top", "bottom"], ["overhead"])["none"]
    assert (found["source"], found["seen"]) == ([0.9, 0.8], [0.5, 0.2])
    assert found["unseen"][0] == 0.3
    assert math.isnan(found["unseen"][1])


def test_seeds_are_averaged_before_the_yardstick_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    """As scipy's paired t-test over three sources: 0.01, 0.02 and 0.03 are 0.02 ± 0.01, t = 3.464, p = 0.074.

    As nine pairs (three sources, three seeds) it would be p = 0.0002.
    """
    monkeypatch.syspath_prepend(PROJECT / "examples")
    yardstick = runpy.run_path(str(PROJECT / "examples/evaluate_real_devices.py"), run_name="example")
    leads = {"quantile": {"bottom": 0.01, "overhead": 0.02, "top": 0.03}, "eq_noise": {}}
    rows = [
        {"converter": converter, "fold": 0, "source": source, "seed": seed, "f1": {"other": 0.4 + 0.1 * seed + lead}}
        for converter in leads
        for source in ("bottom", "overhead", "top")
        for seed, lead in enumerate([leads[converter].get(source, 0.0)] * 3)
    ]
    lines = yardstick["classifier_comparisons"](rows)
    assert lines == ["- `quantile` beside `eq_noise`: +0.020 ± 0.010 (no difference; p 0.074, 3 pairs)"]


@pytest.mark.timeout(300)
def test_the_recipe_of_the_shipped_weights_goes_through_all_its_stages(
    tmp_path: Path, run_script: Callable[..., Run]
) -> None:
    """Half a minute: three trainings, each with worlds from another process."""
    (tmp_path / "data/events").mkdir(parents=True)
    names = [f"{fold}-{index}.wav" for fold in (1, 2, 3, 4) for index in range(3)]
    rows = [f"{name},{name[0]}" for name in names]
    (tmp_path / "data/events/metadata.csv").write_text("\n".join(["filename,group_fold", *rows]) + "\n")
    for index, name in enumerate(names):
        write_audio(tmp_path / "data/events" / name, noise(2.0, seed=index))
        write_audio(tmp_path / f"sounds/usr/share/sounds/kit/{index}.wav", noise(1.0, seed=100 + index))
    for index in range(16):
        write_audio(tmp_path / f"data/impulse_responses/{index}.wav", noise(0.05, seed=200 + index), subtype="FLOAT")
    script, output = PROJECT / "examples" / "train_shipped_generator.py", tmp_path / "refiner.safetensors"
    asked = ["--debian", str(tmp_path / "sounds"), "--output", str(output), "--smoke"]
    run = run_script(str(script), str(tmp_path / "data"), str(tmp_path / "run"), *asked, cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    trained = load_refiner(output)
    assert trained.training["sounds"].startswith("21 of ")  # 12 of the packages, and 9 of folds 1 to 3
    assert [stage["family"] for stage in trained.training["settings"]] == ["near", "near", "wide"]
    assert [stage["objective"] for stage in trained.training["settings"]] == ["distance", "distance", "share"]
    assert trained.training["start"] == load_refiner(tmp_path / "run/stage-2/best.safetensors").sha256


@pytest.mark.timeout(600)
def test_the_benchmark_of_train_sec_measures_both_ways(tmp_path: Path, run_script: Callable[..., Run]) -> None:
    script = PROJECT / "examples" / "benchmarks" / "train_sec.py"
    run = run_script(str(script), "--quick", "--json", cwd=tmp_path, timeout=550)
    assert run.exit_code == 0, run.stderr
    figures = json.loads(run.stdout)
    assert figures["segments"] == 20
    for converter in ("refiner", "eq_noise"):
        only = {name: spread["median"] for name, spread in figures[converter].items()}
        with_shards = only["making_seconds"] + only["from_shards_seconds"]
        assert only["on_the_fly_over_shards"] == with_shards / only["on_the_fly_seconds"]
        assert 0 < only["compute_share"] < 1
        assert 0 < only["compute_share_on_the_fly"] < 1
    assert "wanted >= 0.9" in run.stderr


def test_the_benchmark_of_planning_plans_every_row(
    tmp_path: Path, run_script: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = PROJECT / "examples/benchmarks/plan.py"
    benchmark = runpy.run_path(str(script), run_name="example")

    program = "import runpy, sys; del sys.argv[0]; main = runpy.run_path(sys.argv[0])['main']"
    program += "; main.__globals__['RUNS'] = 1; main()"  # each step once

    def in_a_process(task: str, folder: Path) -> Any:
        asked = ("--task", task, "--folder", str(folder))
        run = run_script("-c", program, str(script), *asked, cwd=tmp_path)
        assert run.exit_code == 0, run.stderr
        return json.loads(run.stdout)

    main = benchmark["main"]
    monkeypatch.setitem(main.__globals__, "in_a_process", in_a_process)
    arguments = ["--rows", "300", "--read", "20", "--shards", "40", "--json"]
    monkeypatch.setattr("sys.argv", [str(script), *arguments])
    main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["segments"] == 3000
    assert figures["headers"]["files"] == 20
    for name in ("fresh", "again"):
        assert set(figures[name]["cpu_seconds_by_stage"]) == {
            "find_recordings", "plan_files", "settle_generations", "others"
        }  # fmt: skip


def test_the_benchmark_of_the_pipeline_counts_rows(tmp_path: Path, run_script: Callable[..., Run]) -> None:
    script = PROJECT / "examples" / "benchmarks" / "pipeline.py"  # starts processes of its own
    options = ["--segments", "40", "--processes", "2", "--targets", "1,2", "--json"]
    run = run_script(str(script), *options, cwd=tmp_path, timeout=200)
    assert run.exit_code == 0, run.stderr
    figures = run.json["figures"]
    assert [(figure["processes"], figure["targets"], figure["rows"]) for figure in figures] == [(2, 1, 40), (2, 2, 40)]
    assert all(figure["rows_per_cpu_s"] > 0 for figure in figures)


@pytest.fixture
def cuda_check(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(PROJECT / "examples/benchmarks")
    return runpy.run_path(str(PROJECT / "examples/benchmarks/cuda_check.py"), run_name="example")


def test_the_check_of_a_gpu_goes_through_all_its_stages_on_a_processor(
    tmp_path: Path, run_script: Callable[..., Run]
) -> None:
    script = PROJECT / "examples/benchmarks/cuda_check.py"
    run = run_script(str(script), "--dry-run", "--json", "--out", str(tmp_path / "out"), cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    assert run.stderr.rstrip().endswith(f"all as it should be\nresults in {tmp_path / 'out'}")
    summary = json.loads(run.stdout)
    assert json.loads((tmp_path / "out/summary.json").read_text()) == summary
    stages = [stage["stage"] for stage in summary["stages"]]
    assert len(stages) == 11
    assert {figure["stage"] for figure in summary["figures"]} == {*stages}
    assert {stage["outcome"] for stage in summary["stages"]} == {"done"}


def test_the_check_of_a_gpu_gives_commands_that_umc_takes(tmp_path: Path, cuda_check: dict[str, Any]) -> None:
    from cuda_stages import commands
    from cuda_stages.check import Check

    umc = typer.main.get_command(app)
    wanted = commands.commands_of(Check("commands", tmp_path, tmp_path, is_dry=False))
    assert len(wanted) == 22
    for arguments in wanted:
        command, context = umc, umc.make_context("umc", list(arguments))
        while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)  # wrong usage is an error


def test_the_check_of_a_gpu_names_what_fails_and_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cuda_check: dict[str, Any]
) -> None:
    def fail(check: Any) -> None:
        raise RuntimeError("the card is gone")

    def doubt(check: Any) -> None:
        check.expect("a sum", is_right=False, off_db=0.123456)

    stage = cuda_check["Stage"]
    stages = {"recordings": stage(fail, 1, True), "parity": stage(doubt, 1, False), "memory": stage(fail, 1, True)}
    main = cuda_check["main"]
    monkeypatch.setitem(main.__globals__, "STAGES", stages)
    monkeypatch.setattr("sys.argv", ["cuda_check.py", "--dry-run", "--out", str(tmp_path), "parity"])
    assert main() == 1
    said = capsys.readouterr().err
    assert "recordings: failed, 0.0 s RuntimeError: the card is gone" in said
    assert "WRONG a sum: off_db 0.1235" in said
    assert "not as it should be: recordings; parity: a sum" in said
    assert "memory" not in said  # not asked for


def test_a_stage_of_the_check_ends_when_its_time_is_over(tmp_path: Path, cuda_check: dict[str, Any]) -> None:
    run_apart = cuda_check["run_apart"]
    late = run_apart("memory", tmp_path, tmp_path, until=0.0)
    assert (late.outcome, late.error) == ("left out", "no time was left")


def test_the_benchmark_of_updates_opens_what_a_fresh_run_holds(tmp_path: Path, run_script: Callable[..., Run]) -> None:
    script = PROJECT / "examples" / "benchmarks" / "updates.py"
    options = ["--recordings", "8", "--updates", "2", "--new", "4", "--json"]
    run = run_script(str(script), *options, cwd=tmp_path, timeout=120)
    assert run.exit_code == 0, run.stderr
    figures = run.json
    assert figures["samples"] == figures["samples, fresh run"] == 16
    assert min(figures.values()) > 0


def test_a_front_end_of_ones_own_is_trained_on_converted_audio(tmp_path: Path, run_script: Callable[..., Run]) -> None:
    rows = ["path,device,label,split,recording,source_path"]
    for index in range(8):
        name, split = f"{'ab'[index % 2]}/{index}", "train" if index < 6 else "test"
        for folder in ("audio/there", "data/here", "data/there"):
            pitch = np.sin(2 * np.pi * (300 + 900 * (index % 2)) * np.arange(22_050) / 22_050)
            write_audio(tmp_path / folder / f"{name}.flac", 0.1 * pitch + noise(1.0, seed=index) / 50)
        rows.append(f"there/{name}.flac,there,{name[0]},{split},{name},data/here/{name}.flac")
    (tmp_path / "audio/manifest.csv").write_text("\n".join(rows))
    script = PROJECT / "examples" / "train_on_converted_audio.py"
    options = ["audio/manifest.csv", "--target", "data/there", "--seeds", "1", "--epochs", "15", "--workspace", "."]
    run = run_script(str(script), *options, cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout) == {"classes": 2, "train": 6, "test": 2, "source": [1.0], "converted": [1.0]}


def test_the_benchmark_of_waveforms_measures_what_its_page_says(tmp_path: Path, run_script: Callable[..., Run]) -> None:
    script = PROJECT / "examples" / "benchmarks" / "waveforms.py"
    run = run_script(str(script), "--quick", "--json", cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    figures = json.loads(run.stdout)
    assert max(figures[converter]["rms_db"] for converter in ("eq", "eq_noise")) < 1
    assert max(figures[converter]["side_lobe_of_segments_db"] for converter in ("eq", "eq_noise", "refiner")) < -60
    assert figures["eq"]["own_source_error_db"] < -60


@pytest.mark.realdata
@pytest.mark.timeout(300)
def test_the_yardstick_measures_real_devices_and_goes_on_where_it_was(
    realdata: Path, tmp_path: Path, run_script: Callable[..., Run]
) -> None:
    script = PROJECT / "examples" / "evaluate_real_devices.py"
    asked = ["--smoke", "--converters", "none,quantile", "--output", str(tmp_path)]
    command = [str(script), str(realdata), *asked]
    run = run_script(*command, cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    distances, regression, network, phones = (part.splitlines() for part in run.stdout.split("## ")[1:])
    assert "mics/frankensnare: log-spectral distance" in distances[0]
    assert 7 < _cell(distances, "none") < 9
    assert 0.2 < _cell(regression, "none") < _cell(regression, "quantile") < _cell(regression, "ideal")
    assert 0 <= _cell(network, "none") < 0.2  # two epochs
    assert "pairs/dance_studio" in phones[0]
    assert 3 < _cell(phones, "quantile") < 4 < _cell(phones, "none") < 6
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == 6 * 2 + 2 * 3 * 3 + 2 * 2
    (tmp_path / "rows.jsonl").write_text("\n".join(lines)[:-20])  # ended in the middle of a line
    again = run_script(*command, cwd=tmp_path)
    assert again.stdout == run.stdout
    assert "a line is cut off" in again.stderr
    assert again.stderr.count("distance  ") == 1
    other = [*command, "--other-sounds", "--set", "pairs/dance_studio", "--only", "distance"]
    run = run_script(*other, cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    other_phones = run.stdout.splitlines()
    assert _cell(other_phones, "none") == _cell(phones, "none")
    assert _cell(other_phones, "quantile") > _cell(phones, "quantile")  # part of what it maps is other words


def _cell(lines: list[str], converter: str) -> float:
    return float(next(line for line in lines if line.startswith(f"| {converter} |")).split("|")[2])


@pytest.fixture
def film_gan(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(PROJECT / "examples")
    return runpy.run_path(str(PROJECT / "examples/train_film_gan.py"), run_name="example")


def test_what_is_known_in_80_bands_becomes_a_condition_of_128_and_a_level(film_gan: dict[str, Any]) -> None:
    to_condition, at_reference = film_gan["condition_weights"]()
    condition_db = torch.full((80,), 7.0) @ to_condition
    torch.testing.assert_close(condition_db, torch.full((128,), 7.0))
    assert (condition_db @ at_reference).item() == pytest.approx(7.0)


def test_training_on_pairs_goes_on_as_if_it_had_not_stopped(film_gan: dict[str, Any]) -> None:
    sounds = [noise(1.0, seed=seed) for seed in range(4)]
    size = film_gan["SMOKE"]
    world = make_training_world(sounds, np.zeros((2, 128)), size.near, 0)
    small = film_gan["SETTINGS"].model_copy(update=film_gan["_SMALL"]).generator

    def begin() -> Any:
        return film_gan["PairedTraining"](small, size, [world], world)

    whole, first, second = begin(), begin(), begin()
    losses = [whole.step(index) for index in range(3)]
    first.step(0)
    second.load_state(*first.state())
    assert [second.step(index) for index in (1, 2)] == losses[1:]
    assert second.validate() == whole.validate()


def test_discriminators_are_not_shown_the_level(film_gan: dict[str, Any]) -> None:
    shown, devices = film_gan["without_level"](None, (torch.tensor([[[1.0, 3.0]]]), [0]))
    assert (shown.tolist(), devices) == ([[[-1.0, 1.0]]], [0])


def test_sets_are_cut_out_of_sample_libraries(tmp_path: Path, run_script: Callable[..., Run]) -> None:
    """Two of ten strokes are left out: one lasts six samples on one device, one is not there on the other."""
    script = str(PROJECT / "examples/cut_sample_libraries.py")
    library = tmp_path / "library"
    for device in ("cnd", "dyn"):
        for number in range(10):
            seconds = 6 / 44_100 if (device, number) == ("cnd", 3) else 1.5
            if (device, number) != ("dyn", 4):
                name = f"Samples/cajon/{device}/cajon_sl1_rr{number}_{device}.wav"
                write_audio(library / name, noise(seconds, rate_hz=44_100), 44_100)
    write_audio(library / "Samples/cajon/cnd/cajon_sl2_rr0_cnd.wav")  # a label with few strokes
    run = run_script(script, "cajon", str(library), str(tmp_path / "sets"), cwd=tmp_path)
    assert run.exit_code == 0, run.stderr
    assert run.stdout == f"{tmp_path}/sets/cajon: 8 recordings on 2 devices\n"
    rows = read_manifest(tmp_path / "sets/cajon/manifest.csv").clips
    assert {(clip.device, clip.label) for clip in rows} == {("cnd", "sl1"), ("dyn", "sl1")}
    assert {clip.recording for clip in rows} == {f"cajon_sl1_rr{number}" for number in (0, 1, 2, 5, 6, 7, 8, 9)}
    assert {soundfile.info(clip.path).frames for clip in rows} == {22_050}
    assert {soundfile.info(clip.path).samplerate for clip in rows} == {22_050}
    other = run_script(script, "guitar", str(library), str(tmp_path / "sets"), cwd=tmp_path)
    assert (other.exit_code, "does not hold the samples of guitar" in other.stderr) == (2, True)
