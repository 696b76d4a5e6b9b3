"""Measure converters on real devices that recorded the same sounds at once: the yardstick of this project.

    python examples/evaluate_real_devices.py <folder of the data> [--set mics/frankensnare] [--weights FILE]
        [--precision bf16] [--other-sounds] [--smoke]

Everything that is known of the devices is learned from one half of the recordings, unpaired, as a user's workspace
would (blind responses and noise floors, level tables); every ordered pair of devices is measured on the other half, and
then the halves change places. With --other-sounds the learning half is halved again, so that source and target are
learned from other recordings each. Log-spectral distance in dB to what the target recorded: over all frames, over
frames with signal, and as one root mean square over all bands, frames and segments. Of recordings at 16 kHz, the bands
up to 7.6 kHz count.

Where there are labels, two classifiers are trained on one device of the first half, its recordings converted to the
others, and scored on the others' recordings of the second half (macro F1): a network, where every second sample is
converted, with several seeds (--network: four strided convolutions, or the small network of `umc train-sec`, which
takes ten times as long), and a logistic regression on the mean and deviation of every band, which gets each recording
once as it is and once for every target. `ideal` gets what the others recorded themselves in the place of conversions.
Differences are tested in pairs, source by source and half by half; seeds are averaged before.

Results are kept as JSON rows in <output>/rows.jsonl: a run that was ended goes on where it was, and other weights add
rows of their own. Remove the file after a change of the library.
"""

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from real_device_classifiers import Lesson, network_f1, network_settings, regression_f1, train_network, train_strided
from real_device_sets import (
    RealSet,
    Together,
    halves,
    learn_devices,
    other_sounds,
    read_set,
    read_together,
    with_transports,
)
from scipy.stats import ttest_1samp, ttest_rel

from umc_cli.conversion.band_interpolation import noise_floor_db
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.measuring.converters import convert_segments
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.evaluation.conversion_metrics import frames_with_signal, log_spectral_distance
from umc_cli.precision import Precision

SETS = ("mics/frankensnare", "pairs/dance_studio")
NONE, IDEAL = "none", "ideal"
MEASURED = (NONE, "eq", "eq_noise", "quantile", "transport", "refiner", "refiner_quantile", "refiner_transport")
STARTS = {
    "refiner": "eq_noise",
    "refiner_quantile": "quantile",
    "transport": "quantile",
    "refiner_transport": "refiner_quantile",
}
"""What each of them corrects, and so has to beat."""
DISTANCES = {"all_db": "all frames", "signal_db": "frames with signal", "rms_db": "RMS"}
COMPARED = (
    *STARTS.items(),
    ("refiner_transport", "transport"),
    ("refiner", "quantile"),
    ("quantile", "eq_noise"),
    ("eq_noise", NONE),
)
STRIDED, CNN, REGRESSION = "strided network", "network", "regression"
EPOCHS = {STRIDED: 25, CNN: 60}
"""The strided network's scores move no more after so many. Of the other one it is known that 20 are too few."""
SMOKE_RECORDINGS, SMOKE_RECORDINGS_OF_A_LABEL = 40, 4
"""With --smoke, of a set without and with labels."""
SIGNIFICANT = 0.05

_OF_REFINERS = ("weights", "precision")
"""Parts of a row's key that say nothing of the other converters."""

Row = dict[str, Any]


class Rows:
    """The rows of a file that only grows; a line that was cut off by the end of a process is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.all: list[Row] = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                self.all.append(json.loads(line))
            except ValueError:
                print(f"{path}: a line is cut off; what it held is measured again", file=sys.stderr)

    def find(self, **key: Any) -> list[Row]:
        """Return the rows that hold these values."""
        return [row for row in self.all if key.items() <= row.items()]

    def get(self, key: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> Row:
        """Return the row of this key; measure and keep it if there is none."""
        found = [row for row in self.all if all(row.get(name) == value for name, value in key.items())]
        if found:
            return found[-1]
        row = {**key, **measure()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(row)}" if self.all else json.dumps(row))
        self.all.append(row)
        print("  ".join(f"{value}" for value in key.values()), file=sys.stderr, flush=True)
        return row


@dataclass(frozen=True)
class Half:
    """One half to learn from, the other to measure on; everything is made when it is first asked for."""

    learned_from: RealSet
    measured_on: RealSet
    weights: Path
    has_other_sounds: bool = False
    """Source and target are learned from other recordings each."""
    precision: Precision = Precision.FP32
    """Of the refiner's arithmetic."""
    _known: dict[tuple[str, ...], Ingredients] = field(default_factory=dict)
    _moved: dict[tuple[str, str, str], Ingredients] = field(default_factory=dict)
    _lessons: dict[tuple[str, str], Lesson] = field(default_factory=dict)

    def known(self, source: str, target: str) -> Ingredients:
        """Return what the converters may know of two devices."""
        pair = (source, target) if self.has_other_sounds else ()
        if pair not in self._known:
            known_by = other_sounds(self.learned_from, *pair) if pair else self.learned_from
            self._known[pair] = learn_devices(known_by, self.weights)
        known = self._known[pair]
        engine = known.engine.model_copy(update={"precision": self.precision})
        return replace(known, source=source, targets=(target,), engine=engine)

    @cached_property
    def learning(self) -> Together:
        """Return the segments that devices and classifiers are learned from."""
        return read_together(self.learned_from)

    @cached_property
    def measured(self) -> Together:
        """Return the segments that distances and scores are measured on."""
        return read_together(self.measured_on)

    def convert(self, converter: str, source: str, target: str, segments: Together) -> NDArray[np.float32]:
        """Return the source's segments as the converter makes them the target's. Shape: [N, 80, 80], dB."""
        if converter == IDEAL:
            return segments.log_mel[target]
        name = "no_conversion" if converter == NONE else converter
        return convert_segments(name, segments.log_mel[source], (target,), self._given(name, source, target))[target]

    def _given(self, converter: str, source: str, target: str) -> Ingredients:
        known = self.known(source, target)
        if converter not in CONVERTERS or CONVERTERS[converter].moves is None:
            return known
        key = (converter, source, target)
        if key not in self._moved:
            from_pair = other_sounds(self.learned_from, source, target) if self.has_other_sounds else self.learned_from
            self._moved[key] = with_transports(converter, known, from_pair)
        return self._moved[key]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Return the labels that are learned."""
        return tuple(sorted(set(self.learning.labels)))

    def lesson(self, converter: str, source: str) -> Lesson:
        """Return what a classifier of the source learns from."""
        if (converter, source) not in self._lessons:
            targets = [] if converter == NONE else [one for one in self.learning.log_mel if one != source]
            converted = [self.convert(converter, source, target, self.learning) for target in targets]
            labels = self.numbers(self.learning.labels)
            lesson = Lesson(self.learning.log_mel[source], converted, labels, self.classes)
            self._lessons[converter, source] = lesson
        return self._lessons[converter, source]

    def numbers(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Return the labels as numbers."""
        return np.array([self.classes.index(label) for label in labels])


def distance(half: Half, converter: str, source: str, target: str) -> Row:
    """Return the distances of one converter and ordered pair, and that of every recording (all frames)."""
    measured = half.measured
    bands = half.measured_on.bands
    true = measured.log_mel[target][:, bands]
    floor_db = noise_floor_db(half.known(source, target).devices[target], torch.device("cpu"))[:, 0].numpy()[bands]
    with_signal = frames_with_signal(true, floor_db, measured.recordings)
    converted = half.convert(converter, source, target, measured)[:, bands]
    by_segment = log_spectral_distance(converted, true)
    by_recording = defaultdict(list)
    for recording, value in zip(measured.recordings, by_segment, strict=True):
        by_recording[recording].append(float(value))
    return {
        "all_db": float(by_segment.mean()),
        "signal_db": float(np.nanmean(log_spectral_distance(converted, true, with_signal))),
        "rms_db": float(np.sqrt(np.square(converted - true, dtype=np.float64).mean())),
        "by_recording_db": {name: round(float(np.mean(values)), 4) for name, values in by_recording.items()},
    }


def measure_distances(
    name: str, parts: Sequence[Half], converters: Sequence[str], key: Mapping[str, Any], rows: Rows
) -> list[Row]:
    """Return a row for every converter, ordered pair and half."""
    found = []
    for fold, half in enumerate(parts):
        devices = half.measured_on.devices
        for source, target in ((one, other) for one in devices for other in devices if one != other):
            for converter in converters:
                row = {"measure": "distance", "set": name, "fold": fold, "converter": converter}
                row |= {"source": source, "target": target, **_key_of(converter, key)}
                found.append(rows.get(row, lambda c=converter, s=source, t=target, h=half: distance(h, c, s, t)))
    return found


def classify(half: Half, classifier: str, converter: str, source: str, epochs: int, seed: int | None) -> Row:
    """Return the macro F1 of one classifier on every device."""
    heard, labels = half.measured.log_mel, half.numbers(half.measured.labels)
    lesson = half.lesson(converter, source)
    if classifier == REGRESSION:
        scores = regression_f1(lesson, list(heard.values()), labels)
    else:
        if classifier == STRIDED:
            network = train_strided(lesson, epochs, seed or 0)
        else:
            network = train_network(lesson, network_settings(epochs, seed or 0))
        scores = [network_f1(network, one, labels, len(half.classes)) for one in heard.values()]
    by_device = dict(zip(heard, scores, strict=True))
    return {"own_f1": by_device.pop(source), "f1": by_device}


def measure_classifiers(
    name: str,
    parts: Sequence[Half],
    converters: Sequence[str],
    network: str,
    epochs: int,
    seeds: int,
    key: Row,
    rows: Rows,
) -> list[Row]:
    """Return a row for every classifier, seed, converter, source and half; first all of a seed, then the next."""
    found = []
    for classifier, seed in ((REGRESSION, None), *((network, number) for number in range(seeds))):
        about: Row = {"measure": "classifier", "set": name, "classifier": classifier}
        about |= {} if seed is None else {"epochs": epochs, "seed": seed}
        for fold, half in enumerate(parts):
            for source in half.measured_on.devices:
                for converter in converters:
                    row = about | {"fold": fold, "source": source, "converter": converter} | _key_of(converter, key)
                    asked = (half, classifier, converter, source, epochs, seed)
                    found.append(rows.get(row, lambda asked=asked: classify(*asked)))
    return found


def _key_of(converter: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key with what only refiners depend on left out for the others."""
    return {name: value for name, value in key.items() if name not in _OF_REFINERS or "refiner" in converter}


def distance_table(rows: Sequence[Row]) -> list[str]:
    """Return the table of one set: means over pairs and halves, and by ordered pair (all frames)."""
    pairs = list(dict.fromkeys((row["source"], row["target"]) for row in rows))
    heads = [*DISTANCES.values(), *(f"{source} to {target}" for source, target in pairs)]
    lines = [f"| converter | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for converter in dict.fromkeys(row["converter"] for row in rows):
        own = [row for row in rows if row["converter"] == converter]
        cells = [np.mean([row[measure] for row in own]) for measure in DISTANCES]
        cells += [np.mean([row["all_db"] for row in own if (row["source"], row["target"]) == pair]) for pair in pairs]
        lines.append(f"| {converter} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    return lines


def distance_comparisons(rows: Sequence[Row]) -> list[str]:
    """Return how converters do beside those that they correct: paired t-tests over recordings, means over pairs."""
    by_converter: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for recording, value in row["by_recording_db"].items():
            by_converter[row["converter"]][recording].append(value)
    lines = []
    for refiner, start in STARTS.items():
        if not {refiner, start} <= by_converter.keys():
            continue
        names = sorted(by_converter[start])
        ours, theirs = (np.array([np.mean(by_converter[one][name]) for name in names]) for one in (refiner, start))
        p = float(ttest_rel(ours, theirs).pvalue)
        percent = 100 * (theirs.mean() - ours.mean()) / theirs.mean()
        verdict = "no difference" if not p < SIGNIFICANT else "nearer" if percent > 0 else "further away"
        lines.append(
            f"- `{refiner}` beside `{start}`: {percent:+.1f} % ({verdict}; p {p:.2g}, {len(names)} recordings)"
        )
    return lines


def classifier_table(rows: Sequence[Row]) -> list[str]:
    """Return the table of one classifier: macro F1 on the other devices, its spreads, and the share of the gap."""
    scores = {name: _scores(rows, name) for name in dict.fromkeys(row["converter"] for row in rows)}
    low, high = (np.mean(list(scores[end].values())) if end in scores else np.nan for end in (NONE, IDEAL))
    lines = ["| converter | macro F1 | sd over seeds | sd over sources | gap closed |", "|---|---:|---:|---:|---:|"]
    for name, by_unit in scores.items():
        mean = np.mean(list(by_unit.values()))
        spreads = [_spread(by_unit, place) for place in (2, 1)]
        cells = [f"{mean:.3f}", *spreads, f"{100 * (mean - low) / (high - low):.0f} %"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def classifier_comparisons(rows: Sequence[Row]) -> list[str]:
    """Return paired t-tests of the macro F1, one pair for every half and source: means over the seeds that both have.

    Seeds of one training are no new recordings: taken as pairs, they would make differences look surer than they are.
    """
    lines = []
    for first, second in COMPARED:
        ours, theirs = _scores(rows, first), _scores(rows, second)
        by_row = defaultdict(list)
        for fold, source, seed in ours.keys() & theirs.keys():
            by_row[fold, source].append(ours[fold, source, seed] - theirs[fold, source, seed])
        if len(by_row) < 2:
            continue
        differences = [np.mean(of_seeds) for of_seeds in by_row.values()]
        p = float(ttest_1samp(differences, 0.0).pvalue)
        verdict = "no difference" if not p < SIGNIFICANT else "better" if np.mean(differences) > 0 else "worse"
        spread = f"{np.mean(differences):+.3f} ± {np.std(differences, ddof=1):.3f}"
        lines.append(f"- `{first}` beside `{second}`: {spread} ({verdict}; p {p:.2g}, {len(by_row)} pairs)")
    return lines


def _scores(rows: Sequence[Row], converter: str) -> dict[tuple[int, str, int | None], float]:
    """Return the mean over targets by half, source and seed."""
    return {
        (row["fold"], row["source"], row.get("seed")): float(np.mean(list(row["f1"].values())))
        for row in rows
        if row["converter"] == converter
    }


def _spread(by_unit: Mapping[tuple[int, str, int | None], float], place: int) -> str:
    """Return the standard deviation over the means of all that share one part of the key."""
    groups = defaultdict(list)
    for unit, value in by_unit.items():
        groups[unit[place]].append(value)
    means = [np.mean(values) for values in groups.values()]
    return f"{np.std(means, ddof=1):.3f}" if len(means) > 1 else "-"


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", dest="sets", help=f"default: {', '.join(SETS)}")
    parser.add_argument("--converters", default=",".join(MEASURED), help="comma-separated")
    parser.add_argument(
        "--weights", type=Path, default=SHIPPED_REFINER, help="of the refiner; default: the shipped ones"
    )
    parser.add_argument("--only", choices=("distance", "classifier"), help="default: both")
    parser.add_argument("--seeds", type=int, default=3, help="of the network")
    parser.add_argument("--network", choices=("strided", "cnn"), default="strided")
    parser.add_argument("--epochs", type=int, help=f"of the network; default: {EPOCHS[STRIDED]}, {EPOCHS[CNN]} for cnn")
    parser.add_argument(
        "--other-sounds", action="store_true", help="learn source and target from other recordings each"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the refiner")
    parser.add_argument("--output", type=Path, default=Path("real-devices"), help="folder of the rows")
    parser.add_argument("--smoke", action="store_true", help="few recordings, one half: to see that all works")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.output / "rows.jsonl")
    converters = options.converters.split(",")
    key: Row = {"weights": hashlib.sha256(options.weights.read_bytes()).hexdigest()[:12]}
    key |= {"precision": options.precision} if options.precision != Precision.FP32 else {}
    key |= {"smoke": True} if options.smoke else {}
    key |= {"other_sounds": True} if options.other_sounds else {}
    network = {"strided": STRIDED, "cnn": CNN}[options.network]
    for name in options.sets or SETS:
        real = read_set(options.data, name)
        few = SMOKE_RECORDINGS_OF_A_LABEL if real.has_labels else SMOKE_RECORDINGS
        first, second = halves(real, few if options.smoke else None)
        how = (options.weights, options.other_sounds, Precision(options.precision))
        parts = [Half(first, second, *how)]
        parts += [] if options.smoke else [Half(second, first, *how)]
        if options.only != "classifier":
            _print_lines(f"## {name}: log-spectral distance, dB (refiner {key['weights']})")
            distances = measure_distances(name, parts, converters, key, rows)
            _print_lines("", *distance_table(distances), "", *distance_comparisons(distances), "")
        if real.has_labels and options.only != "distance":
            epochs, seeds = (2, 1) if options.smoke else (options.epochs or EPOCHS[network], options.seeds)
            found = measure_classifiers(name, parts, [*converters, IDEAL], network, epochs, seeds, key, rows)
            for classifier in (REGRESSION, network):
                own = [row for row in found if row["classifier"] == classifier]
                _print_lines(f"## {name}: macro F1 of the {classifier} on the other devices", "")
                _print_lines(*classifier_table(own), "", *classifier_comparisons(own), "")


def _print_lines(*lines: str) -> None:
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
