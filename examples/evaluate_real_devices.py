"""Measure converters on real devices that recorded the same sounds at once: the yardstick of this project.

    python examples/evaluate_real_devices.py <folder of the data> [--set mics/frankensnare] [--weights FILE] [--smoke]

Everything that is known of the devices is learned from one half of the recordings, unpaired, as a user's workspace
would (blind responses and noise floors, level tables); every ordered pair of devices is measured on the other half, and
then the halves change places. Log-spectral distance in dB to what the target recorded: over all frames, over frames
with signal, and as one root mean square over all bands, frames and segments. Of recordings at 16 kHz, the bands up to
7.6 kHz count.

Results are kept as JSON rows in <output>/rows.jsonl: a run that was ended goes on where it was, and other weights add
rows of their own. Remove the file after a change of the library. `mics/frankensnare` takes 10 minutes of one core,
`pairs/dance_studio` one.
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
from real_device_sets import RealSet, Together, halves, learn_devices, read_set, read_together
from scipy.stats import ttest_rel

from umc_cli.conversion.band_interpolation import noise_floor_db
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.refiner_checkpoint import SHIPPED_REFINER
from umc_cli.evaluation.conversion_metrics import frames_with_signal, log_spectral_distance
from umc_cli.workflows.measured_converters import convert_segments

SETS = ("mics/frankensnare", "pairs/dance_studio")
NONE, IDEAL = "none", "ideal"
CONVERTERS = (NONE, "eq", "eq_noise", "quantile", "refiner", "refiner_quantile")
STARTS = {"refiner": "eq_noise", "refiner_quantile": "quantile"}
"""What each refiner corrects, and so has to beat."""
DISTANCES = {"all_db": "all frames", "signal_db": "frames with signal", "rms_db": "RMS"}
SMOKE_RECORDINGS = 12
"""Of a label, with --smoke."""

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
    _converted: dict[tuple[str, str, str, bool], NDArray[np.float32]] = field(default_factory=dict)

    @cached_property
    def known(self) -> Ingredients:
        """Return what the converters may know."""
        return learn_devices(self.learned_from, self.weights)

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
        ingredients = replace(self.known, source=source, targets=(target,))
        return convert_segments(name, segments.log_mel[source], (target,), ingredients)[target]


def distance(half: Half, converter: str, source: str, target: str) -> Row:
    """Return the distances of one converter and ordered pair, and that of every recording (all frames)."""
    measured = half.measured
    bands = half.measured_on.bands
    true = measured.log_mel[target][:, bands]
    floor_db = noise_floor_db(half.known.devices[target], torch.device("cpu"))[:, 0].numpy()[bands]
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


def _key_of(converter: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key with what only refiners depend on left out for the others."""
    return {name: value for name, value in key.items() if name != "weights" or "refiner" in converter}


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
    """Return how each refiner does beside its start: a paired t-test over recordings, each the mean over its pairs."""
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
        verdict = "no difference" if p >= 0.05 else "nearer" if percent > 0 else "further away"
        lines.append(
            f"- `{refiner}` beside `{start}`: {percent:+.1f} % ({verdict}; p {p:.2g}, {len(names)} recordings)"
        )
    return lines


def main() -> None:
    """Measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", dest="sets", help=f"default: {', '.join(SETS)}")
    parser.add_argument("--converters", default=",".join(CONVERTERS), help="comma-separated")
    parser.add_argument(
        "--weights", type=Path, default=SHIPPED_REFINER, help="of the refiner; default: the shipped ones"
    )
    parser.add_argument("--output", type=Path, default=Path("real-devices"), help="folder of the rows")
    parser.add_argument("--smoke", action="store_true", help="few recordings, one half: to see that all works")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.output / "rows.jsonl")
    converters = options.converters.split(",")
    key: Row = {"weights": hashlib.sha256(options.weights.read_bytes()).hexdigest()[:12]}
    key |= {"smoke": True} if options.smoke else {}
    for name in options.sets or SETS:
        first, second = halves(read_set(options.data, name), SMOKE_RECORDINGS if options.smoke else None)
        parts = [Half(first, second, options.weights), Half(second, first, options.weights)][
            : 1 if options.smoke else 2
        ]
        _print_lines(f"## {name}: log-spectral distance, dB (refiner {key['weights']})")
        distances = measure_distances(name, parts, converters, key, rows)
        _print_lines("", *distance_table(distances), "", *distance_comparisons(distances), "")


def _print_lines(*lines: str) -> None:
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
