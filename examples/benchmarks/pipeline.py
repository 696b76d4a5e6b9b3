"""What the pipeline of `umc convert` itself can do: rows per second with a converter that costs nothing.

    python examples/benchmarks/pipeline.py [--json] [--segments 20000] [--processes 1,2] [--targets 1,7]

A stub takes the place of the converter: `begin` and `convert` return what they are given. So what is left is reading,
log-mel, the queues and the shards: what stops a fast GPU. Recordings are hard links to a few FLAC files of ten segments
(22,050 Hz, mono), in the system's cache.

Every figure comes from a process of its own. `rows_per_cpu_s` is rows (segments times targets) per second of processor
time of all processes and threads, without starting: that of one core, if it did nothing else. `rows_per_s` is elapsed
time, which other work on the machine changes. Prints a table on standard error; with --json one JSON object on standard
output.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.shard_job import ShardJob, StreamSettings
from umc_cli.conversion.streaming import stream
from umc_cli.runtime import cpu_count
from umc_cli.shards.plan import Piece
from umc_cli.shards.planned_files import PlannedFile
from umc_cli.silence import SILENT

SEGMENTS_A_FILE = 10
SEGMENTS_A_SHARD = 1000
N_RECORDINGS = 20


class Stub:
    """A converter that costs nothing."""

    def begin(self, log_mel: Tensor) -> Tensor:
        return log_mel

    def convert(self, begun: Tensor, target: str) -> Tensor:
        return begun


def write_recordings(folder: Path) -> None:
    """Write a few FLAC files of noise that falls and rises, as sound does."""
    random = np.random.default_rng(0)
    for number in range(N_RECORDINGS):
        n_samples = SEGMENTS_A_FILE * SEGMENT_SAMPLES
        loudness = 10 ** np.interp(np.arange(n_samples), np.linspace(0, n_samples, 20), random.uniform(-3, -0.7, 20))
        samples = np.clip(loudness * random.standard_normal(n_samples), -1, 1)
        soundfile.write(folder / f"{number}.flac", samples, SAMPLE_RATE_HZ)


def jobs(folder: Path, output: Path, n_segments: int, n_targets: int) -> list[ShardJob]:
    """Return the shards of a run."""
    made = []
    files_a_shard = min(SEGMENTS_A_SHARD, n_segments) // SEGMENTS_A_FILE
    for shard in range(max(1, n_segments // SEGMENTS_A_SHARD)):
        pieces = []
        for number in range(files_a_shard):
            first = (shard * files_a_shard + number) * SEGMENTS_A_FILE
            name = f"{(shard + number) % N_RECORDINGS}.flac"
            file = PlannedFile(
                name, "noise", f"{shard}-{number}", "train", 0, SAMPLE_RATE_HZ, 1,
                SEGMENTS_A_FILE * SEGMENT_SAMPLES, SEGMENTS_A_FILE, {},
            )  # fmt: skip
            pieces.append(Piece(file, 0, SEGMENTS_A_FILE, first))
        targets = [f"target-{number}" for number in range(n_targets)]
        attributes = {
            target: {"run_id": "0" * 64, "target_id": "0" * 64, "shard_index": shard, "source": "a", "target": target,
                     "description": "{}"}
            for target in targets
        }  # fmt: skip
        paths = {target: output / target / f"shard-{shard:05}.h5" for target in targets}
        made.append(ShardJob(pieces, paths, attributes, (), "stub"))
    return made


def one_process(folder: Path, output: Path, n_segments: int, n_targets: int, workers: int) -> None:
    """Make the shards in this process."""
    torch.set_num_threads(1)
    settings = StreamSettings(32, workers, "float16", 300.0)
    some = jobs(folder, output, n_segments, n_targets)
    stream(some, folder, SegmentSettings(), settings, Stub(), torch.device("cpu"), SILENT)  # type: ignore[arg-type]


def measure(folder: Path, n_segments: int, n_targets: int, n_processes: int) -> dict[str, Any]:
    """Return what making so many shards takes in each of some processes at the same time."""
    workers = max(1, cpu_count() // n_processes)
    with tempfile.TemporaryDirectory(prefix="umc-pipeline-", dir=folder) as output:
        begin = multiprocessing.get_context("spawn").Barrier(n_processes + 1)
        ends: list[Any] = []
        context = multiprocessing.get_context("spawn")
        results = context.SimpleQueue()
        for number in range(n_processes):
            share = (folder, Path(output) / str(number), n_segments // n_processes, n_targets, workers)
            ends.append(context.Process(target=_timed, args=(begin, results, share)))
            ends[-1].start()
        begin.wait()
        started = time.monotonic()
        cpu_s = sum(results.get() for _ in ends)
        taken_s = time.monotonic() - started
        for process in ends:
            process.join()
    each = jobs(folder, Path(), n_segments // n_processes, n_targets)
    rows = sum(job.n_segments for job in each) * n_processes * n_targets
    return {
        "processes": n_processes, "readers_each": workers, "targets": n_targets, "rows": rows,
        "rows_per_s": round(rows / taken_s), "rows_per_cpu_s": round(rows / cpu_s),
        "cpu_us_per_row": round(1e6 * cpu_s / rows, 1),
    }  # fmt: skip


def _timed(begin: Any, results: Any, share: tuple[Path, Path, int, int, int]) -> None:
    folder, output, *sizes = share
    one_process(folder, output / "first", 10 * SEGMENTS_A_FILE, 1, sizes[-1])  # loads what is used
    begin.wait()
    before = _cpu_s()
    one_process(folder, output / "timed", *sizes)
    results.put(_cpu_s() - before)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--segments", type=int, default=20_000, help="of all processes together, times targets")
    parser.add_argument("--processes", default=f"1,{cpu_count()}", help="comma-separated")
    parser.add_argument("--targets", default="1,7", help="comma-separated")
    given = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(prefix="umc-pipeline-") as folder:
        write_recordings(Path(folder))
        for n_targets in map(int, given.targets.split(",")):
            for n_processes in dict.fromkeys(map(int, given.processes.split(","))):
                n_segments = max(given.segments // n_targets, n_processes * SEGMENTS_A_FILE)
                figures.append(measure(Path(folder), n_segments, n_targets, n_processes))
    names = list(figures[0])
    sys.stderr.write("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|\n")
    for row in figures:
        sys.stderr.write("| " + " | ".join(f"{value:,}" for value in row.values()) + " |\n")
    if given.json:
        sys.stdout.write(json.dumps({"cpus": cpu_count(), "load": os.getloadavg()[0], "figures": figures}) + "\n")


if __name__ == "__main__":
    main()
