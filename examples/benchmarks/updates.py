"""What updates cost whoever opens the shards of a data set that grew.

    python examples/benchmarks/updates.py [--json] [--recordings 2000] [--updates 20] [--new 20]

A workspace of `--recordings` of one segment each is converted by `eq`. Then it grows `--updates` times: `--new`
recordings are added and a quarter as many are replaced, and `umc convert --update` runs. A fresh run over what there is
at the end is the measure. Opening is `ShardDataset`, the minimum of nine times; all figures are processor time. Prints
a table on standard error; with --json one JSON object on standard output.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

import umc_cli

SOURCE, TARGET = "xperia1v", "pixel3"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--recordings", type=int, default=2000)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--new", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.recordings, options.updates, options.new)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:30} {value:10.1f}", file=sys.stderr)


def measure(root: Path, n_recordings: int, n_updates: int, n_new: int) -> dict[str, float]:
    """Return figures by name; times in ms."""
    (root / "umc.toml").write_text('[workspace]\nshares = "train=100"\n')
    write(root, range(n_recordings), 0)
    figures = {"first run": convert(root, "converted")}
    figures["open, no update"] = open_ms(root / "converted")
    for number in range(n_updates):
        first = n_recordings + number * n_new
        write(root, range(first, first + n_new), 0)
        write(root, range(number * n_new // 4, (number + 1) * n_new // 4), number + 1)
        figures["last update"] = convert(root, "converted", update=True)
        if number == 0:
            figures["open, 1 update"] = open_ms(root / "converted")
    figures[f"open, {n_updates} updates"] = open_ms(root / "converted")
    figures["nothing new"] = convert(root, "converted", update=True)
    figures["fresh run"] = convert(root, "fresh")
    figures["open, fresh run"] = open_ms(root / "fresh")
    figures["samples"] = len(umc_cli.ShardDataset(root / "converted"))
    figures["samples, fresh run"] = len(umc_cli.ShardDataset(root / "fresh"))
    return figures


def write(root: Path, numbers: range, version: int) -> None:
    """Write recordings of one segment, with other lengths in other versions."""
    for number in numbers:
        path = root / f"data/{SOURCE}/{'ab'[number % 2]}/{number:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(20_480 + version), 22_050)


def convert(root: Path, output: str, **settings: bool) -> float:
    """Convert, and return the processor time in ms."""
    begun = time.process_time()
    report = umc_cli.convert(
        SOURCE, workspace=root, targets=TARGET, converter="eq", output=root / output, shard_size=100, **settings
    )
    if report.exit_code:
        raise SystemExit(f"{output}: {report.failed}")
    return 1000 * (time.process_time() - begun)


def open_ms(root: Path) -> float:
    """Return the processor time that it takes to open shards, in ms."""
    times = []
    for _ in range(9):
        begun = time.process_time()
        umc_cli.ShardDataset(root)
        times.append(time.process_time() - begun)
    return 1000 * min(times)


if __name__ == "__main__":
    main()
