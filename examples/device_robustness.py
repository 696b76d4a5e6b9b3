"""Which method makes a sound event classifier survive a foreign device: the whole experiment in one command.

    python examples/device_robustness.py --preset tiny|smoke|cpu|microphones|paper
        [--clips DIR | --data DIR | --real DIR] [--rows ROWS] [--matrix] [--plan] [--output DIR]

Each draw makes a workspace of simulated devices (a source, seen and unseen ones), which all record the same clips;
clips are split by recording into train-converter, train and test. A classifier is trained on the source with each
method, and all are scored on every device. Methods may know the seen devices as the column "knows" says; unseen devices
are known to none, `ideal` included, and record split test only. Printed are Table 2 of the paper (macro F1, mean and
standard deviation over draws: devices, splits and seeds of the training are all drawn anew), the rows from best to
worst with their lead over the next one, paired over draws, and with --matrix Table 1: the paper's two methods trained
on every known device.

--clips holds `<label>/*.wav` (or FLAC, OGG, MP3, AIFF); devices are drawn around the phones of the package. --data is
the folder that `train_shipped_generator.py` takes: its clips, and devices drawn around the responses that the shipped
refiner never saw. --real is a folder with a manifest.csv (path, device, label, recording) of real microphones that
recorded the same at once: every draw has another source and other splits, all the others are seen, none is unseen;
records are measured blind. Without any, sounds are synthesised.

What it will cost is measured and printed first (three steps of every row), with --plan nothing else is done. A run that
was interrupted resumes where it stopped, with the same command. `tiny` and `smoke` take minutes on two processors,
`cpu` hours, as does `microphones`, the strided network for --real; `paper` trains ResNet-50 and all generators as
published and wants a GPU.
"""

import argparse
import json
import math
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from device_robustness_draws import Draw, prepare
from device_robustness_rows import INVENTED, PAIRED, PRESETS, ROWS, TABLE_1, Preset
from device_robustness_table import markdown, matrix_markdown, neighbours, summary

from umc_cli.cli.training_progress import QuietTraining
from umc_cli.config import Workspace, find_workspace
from umc_cli.sec.backbones import BACKBONES
from umc_cli.settings.eval_sec import EvaluateSecSettings
from umc_cli.workflows.evaluate_sec import evaluate_sec
from umc_cli.workflows.train import GENERATOR_NAME, TrainReport, load_train_settings, train
from umc_cli.workflows.train_sec import load_train_sec_settings, train_sec

MEASURED_STEPS = 3


@dataclass(frozen=True)
class Training:
    """One classifier to train."""

    draw: Draw
    preset: Preset
    row: str
    source: str
    target: str = ""
    """The only target; empty: all known devices but the source."""

    @property
    def name(self) -> str:
        """Return the name of the run."""
        parts = [*([self.source] if self.source != self.draw.source else []), self.row]
        text = "-".join([*parts, *([self.target] if self.target else [])])
        return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in text).strip("-")

    @property
    def root(self) -> Path:
        """Return the folder of the workspace that it is trained in."""
        return self.draw.root / PAIRED if ROWS[self.row].needs_side_by_side else self.draw.root

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the devices that its method may convert to."""
        return (self.target,) if self.target else tuple(name for name in self.draw.known if name != self.source)


def train_one(training: Training, max_steps: int | None = None) -> TrainReport:
    """Train one classifier, or resume it; in a process of its own. `max_steps`: to see what it costs."""
    preset, row, workspace = training.preset, ROWS[training.row], find_workspace(training.root)
    given = dict(preset.settings) | dict(row.settings) | (preset.ideal_settings if training.row == "ideal" else {})
    targets = (f"synth:{training.draw.root / INVENTED}",) if row.invents else training.targets
    given |= {"source": training.source, "seed": training.draw.number, "name": training.name}
    if not (row.needs_generator and given["method"].startswith("unified-synth")):
        given["targets"] = targets
    return _trained(workspace, train_sec, load_train_sec_settings, given, max_steps)


def _trained(
    workspace: Workspace,
    start: Callable[..., TrainReport],
    load: Callable[..., Any],
    given: dict[str, Any],
    max_steps: int | None,
) -> TrainReport:
    """Train what `given` describes, or resume it; with `max_steps` begin it, and remove it."""
    if max_steps:
        given |= {"name": f"cost-{given['name']}", "overwrite": True, "max_steps": max_steps, "validate_every": 1000}
    else:
        given["resume"] = (workspace.runs / given["name"] / "settings.json").is_file() or None
    report = start(workspace, load(workspace, given), QuietTraining())
    if max_steps:
        shutil.rmtree(workspace.runs / given["name"])
    elif not report.is_finished:
        raise KeyboardInterrupt
    return report


def converter_runs(draw: Draw, rows: Sequence[str], sources: Sequence[str]) -> list[dict[str, Any]]:
    """Return the settings of the generators that the rows convert with."""
    runs: list[dict[str, Any]] = []
    if any(ROWS[name].needs_generator for name in rows):
        runs.append({"name": "generator", "devices": draw.known, "publish": True})
    if any(ROWS[name].needs_pairs for name in rows):
        runs += [{"pair": f"{source}:{name}"} for source in sources for name in draw.known if name != source]
    return runs


def train_converter(draw: Draw, preset: Preset, own: Mapping[str, Any], max_steps: int | None = None) -> TrainReport:
    """Train a generator, or resume it; a finished one is not trained again. `max_steps`: to see what it costs."""
    given = dict(preset.converter_settings) | dict(own)
    given.setdefault("name", given.get("pair", "").replace(":", "-"))
    return _trained(find_workspace(draw.root), train, load_train_settings, given, max_steps)


def trainings(draw: Draw, preset: Preset, rows: Sequence[str], has_matrix: bool) -> list[Training]:
    """Return the classifiers of one draw."""
    found = []
    for row in rows:
        targets = draw.seen if ROWS[row].is_for_each_target else ("",)
        found += [Training(draw, preset, row, draw.source, target) for target in targets]
    if has_matrix:
        found += [Training(draw, preset, row, source) for row in TABLE_1 for source in draw.seen]
    return found


def measured_cost(draw: Draw, preset: Preset, rows: Sequence[str], has_matrix: bool, n_draws: int) -> dict[str, Any]:
    """Return what the experiment costs, from three steps of every kind of training in the first draw.

    Rows that convert with a generator do so here with one of three steps, which costs as much as a trained one.
    """
    workspace = find_workspace(draw.root)
    hours: dict[str, float] = {}
    there = {*workspace.checkpoints.glob("*.safetensors")}
    for own in converter_runs(draw, rows, [draw.source]):
        name = "generator of the paper" if "name" in own else "generators of mc"
        if name in hours:
            continue
        weights = f"{own['pair'].replace(':', '-to-')}.safetensors" if "pair" in own else GENERATOR_NAME
        is_there = workspace.checkpoints / weights in there
        report = train_converter(draw, preset, {**own, "publish": not is_there}, MEASURED_STEPS)
        settings = load_train_settings(workspace, dict(preset.converter_settings) | dict(own))
        n_of_a_kind = len(draw.seen) if "pair" in own else 1
        hours[name] = n_of_a_kind * _hours(report, settings.epochs, settings.max_steps, settings.batch_size)
    try:
        for training in trainings(draw, preset, rows, has_matrix):
            if ROWS[training.row].needs_pairs:
                training = replace(training, target=draw.seen[0])
            report = train_one(training, MEASURED_STEPS)
            given = dict(preset.settings) | (preset.ideal_settings if training.row == "ideal" else {})
            settings = load_train_sec_settings(workspace, given | {"source": draw.source})
            cost = _hours(report, settings.epochs, settings.max_steps, settings.batch_size)
            hours[training.row] = hours.get(training.row, 0.0) + cost
    finally:
        for path in {*workspace.checkpoints.glob("*.safetensors")} - there:
            path.unlink()
    return {"hours_by_row": {name: n_draws * value for name, value in hours.items()}, "draws": n_draws}


def _hours(report: TrainReport, epochs: int, max_steps: int | None, batch_size: int) -> float:
    steps = epochs * math.ceil(sum(report.n_segments.values()) / batch_size)
    return min(steps, max_steps or steps) * report.seconds / max(report.n_steps, 1) / 3600


def say_cost(cost: Mapping[str, Any], jobs: int) -> None:
    """Print what the experiment will take."""
    for name, value in cost["hours_by_row"].items():
        print(f"{name}: {value:.2f} h", file=sys.stderr)
    total = sum(cost["hours_by_row"].values())
    print(
        f"{cost['draws']} draws, {total:.1f} hours of trainings one after another, {total / jobs:.1f} with {jobs} at a "
        "time (from three steps of each)",
        file=sys.stderr,
    )


def score(draw: Draw, found: Sequence[Training]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the macro F1 by source, row and device of one draw; the page is written to `report/`."""
    by_run = {}
    for root in dict.fromkeys(training.root for training in found):
        names = tuple(training.name for training in found if training.root == root)
        settings = EvaluateSecSettings(model=names, output=root / "report", overwrite=True)
        report = evaluate_sec(find_workspace(root), settings, lambda _: None)
        by_run |= {model.name: model.devices for model in report.models}
    scores: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for training in found:
        for device, its_scores in by_run[training.name].items():
            if training.target in ("", device):
                scores[training.source][training.row][device] = its_scores.macro_f1
    return scores


def main() -> None:
    """Make the draws, say the cost, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="smoke")
    sounds = parser.add_mutually_exclusive_group()
    sounds.add_argument("--clips", type=Path)
    sounds.add_argument("--data", type=Path)
    sounds.add_argument("--real", type=Path, help="folder of real microphones that recorded the same at once")
    parser.add_argument("--rows", help="rows of the table, with semicolons between them; default: as the preset says")
    parser.add_argument("--matrix", action="store_true", help="Table 1 too: the paper's methods on every known device")
    parser.add_argument("--plan", action="store_true", help="say what it costs, and end")
    parser.add_argument("--output", type=Path, default=Path("device-robustness"))
    parser.add_argument("--draws", type=int, help="default: as the preset says")
    parser.add_argument("--most-of-a-class", type=int, help="recordings of a class of real microphones")
    parser.add_argument("--epochs", type=int, help="of the classifiers; default: as the preset says")
    parser.add_argument("--backbone", choices=BACKBONES, help="network of the classifiers; default: likewise")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trainings at a time (one processor each)")
    options = parser.parse_args()
    preset = _changed(PRESETS[options.preset], options)
    rows = [name.strip() for name in options.rows.split(";")] if options.rows else list(preset.rows)
    if unknown := [name for name in rows if name not in ROWS]:
        parser.error(f"unknown row {unknown[0]!r}; there are: {'; '.join(ROWS)}")
    rows = list(dict.fromkeys(["none", *rows, *(TABLE_1 if options.matrix else ()), "ideal"]))
    rows.sort(key=list(ROWS).index)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that train
    draws = prepare(options, preset, rows)
    place = draws[0].root.parent
    say_cost(_cost(place, draws, preset, options, rows), options.jobs)
    if options.plan:
        return
    try:
        _train_all(draws, preset, options, rows)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    scored = [score(draw, trainings(draw, preset, rows, options.matrix)) for draw in draws]
    own = [each[draw.source] for each, draw in zip(scored, draws, strict=True)]
    found = summary(own, [draw.source for draw in draws], draws[0].unseen)
    tables = [markdown(found), neighbours(found)]
    if options.matrix:
        known = draws[0].known
        tables += [
            matrix_markdown(row, [{source: each[source][row] for source in known} for each in scored])
            for row in TABLE_1
        ]
    (place / "results.json").write_text(json.dumps({"summary": found, "draws": scored}, indent=1))
    (place / "results.md").write_text("\n".join(tables))
    print("\n".join(tables))


def _changed(preset: Preset, options: argparse.Namespace) -> Preset:
    """Return the preset with other epochs (the learning rate falls, and `ideal` trains, in the same shares of them)."""
    settings, ideal = dict(preset.settings), dict(preset.ideal_settings)
    if options.backbone:
        settings["backbone"] = options.backbone
    if options.epochs:
        factor = options.epochs / settings["epochs"]
        for of_epochs in (settings, ideal):
            of_epochs |= {
                name: max(1, round(factor * of_epochs[name]))
                for name in ("epochs", "learning_rate_epochs")
                if name in of_epochs
            }
    return replace(preset, settings=settings, ideal_settings=ideal)


def _cost(
    place: Path, draws: Sequence[Draw], preset: Preset, options: argparse.Namespace, rows: Sequence[str]
) -> dict[str, Any]:
    """Return the cost, as it was measured for the same rows before."""
    asked = {"rows": list(rows), "matrix": options.matrix, "draws": len(draws), "settings": dict(preset.settings)}
    path = place / "cost.json"
    if path.is_file():
        earlier: dict[str, Any] = json.loads(path.read_text())
        if earlier["asked"] == asked:
            return earlier
    cost = measured_cost(draws[0], preset, rows, options.matrix, len(draws)) | {"asked": asked}
    path.write_text(json.dumps(cost, indent=1))
    return cost


def _train_all(draws: Sequence[Draw], preset: Preset, options: argparse.Namespace, rows: Sequence[str]) -> None:
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        try:
            converters = {}
            for draw in draws:
                for own in converter_runs(draw, rows, [draw.source]):
                    waiting = pool.submit(train_converter, draw, preset, own)
                    converters[waiting] = f"{draw.root}: {own.get('pair', 'generator of the paper')}"
            _finish(converters)
            _finish(
                {
                    pool.submit(train_one, training): f"{draw.root}: {training.name}"
                    for draw in draws
                    for training in trainings(draw, preset, rows, options.matrix)
                }
            )
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _finish(waiting: Mapping[Any, str]) -> None:
    for number, done in enumerate(as_completed(waiting), 1):
        done.result()
        print(f"{number}/{len(waiting)} {waiting[done]}", file=sys.stderr)


if __name__ == "__main__":
    main()
