"""How long `umc convert` plans, and in how much memory: from a manifest to the first shard.

    python examples/benchmarks/plan.py [--json] [--rows 1000000] [--read 5000]

`umc convert` runs up to its first segment, with a manifest of `--rows` recordings of ten segments each. None of these
files exists: headers are stubs that cost nothing, so the time is that of the manifest, the plan, run.json and the list
of shards to make. The second run finds run.json written and no shard, as a run that was killed early. What real headers
cost beside it is measured on `--read` hard links to a few FLAC files, whose headers the system has in its cache: a disk
or a network adds its own time for every file. Every figure comes from a process of its own. Prints a table on standard
error; with --json one JSON object on standard output.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile

from umc_cli.audio.files import AudioHeader
from umc_cli.audio.log_mel import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.manifest import find_recordings
from umc_cli.audio.segments import SegmentSettings
from umc_cli.config import find_workspace
from umc_cli.runtime import cpu_count
from umc_cli.shards.plan import plan_files
from umc_cli.workflows import convert

SOURCE, TARGET = "xperia1v", "pixel3"
SEGMENTS_A_FILE = 10
LINKS_A_FILE = 10_000
"""File systems allow some ten thousand hard links to a file."""

WANTED = {"seconds": 60.0, "peak_rss_mib": 1024.0}
STAGES = ("find_recordings", "plan_files", "settle")


class Silent:
    """Progress of a conversion that nobody watches."""

    def planning(self, n_files: int) -> None: ...
    def start(self, targets: object, n_segments: int) -> None: ...
    def keep(self, target: str, n_segments: int) -> None: ...
    def advance(self, target: str, n_segments: int) -> None: ...


class PlannedError(Exception):
    """The plan is made, and the first segment would be read."""


def write_manifest(data: Path, n_rows: int) -> None:
    """Write a manifest of recordings in ten labels, a thousand to a folder."""
    data.mkdir(parents=True)
    with (data / "manifest.csv").open("w", encoding="utf-8") as file:
        file.write("path,device,label,split\n")
        file.writelines(
            f"{SOURCE}/label{i % 10}/{i // 1000:05d}/{i:09d}.flac,{SOURCE},label{i % 10},train-sec\n"
            for i in range(n_rows)
        )


def peak_rss_mib() -> float:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def plan(folder: Path) -> dict[str, Any]:
    """Run `umc convert` up to its first segment; return seconds by stage and the peak of memory."""
    seconds: dict[str, float] = {}
    header = AudioHeader(SAMPLE_RATE_HZ, 1, SEGMENTS_A_FILE * SEGMENT_SAMPLES)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            started = time.process_time()
            result = function(*arguments)
            seconds[name] = time.process_time() - started
            return result

        return run

    def stop(jobs: Iterable[object], *_: object) -> None:
        next(iter(jobs))
        raise PlannedError

    before = peak_rss_mib()
    settings = convert.ConvertSettings(source=SOURCE, targets=(TARGET,), converter="eq")
    started, computing = time.perf_counter(), time.process_time()
    with (
        patch.multiple(convert, stream=stop, **{name: timed(name, getattr(convert, name)) for name in STAGES}),
        patch("umc_cli.shards.plan.read_header_and_size", lambda _: (header, 100_000)),
    ):
        try:
            convert.convert(find_workspace(folder), settings, None, Silent())
        except PlannedError:
            total, cpu = time.perf_counter() - started, time.process_time() - computing
    return {
        "seconds": total,
        "cpu_seconds": cpu,
        "cpu_seconds_by_stage": seconds | {"others": cpu - sum(seconds.values())},
        "rss_mib_before": before,
        "peak_rss_mib": peak_rss_mib(),
    }


def read_headers(folder: Path) -> dict[str, Any]:
    """Plan hard links to real files; return headers a second."""
    clips = find_recordings(folder / "data").clips
    started = time.perf_counter()
    planned, failed = plan_files(clips, folder, SegmentSettings(), cpu_count(), folder)
    if failed or sum(file.n_segments for file in planned) != SEGMENTS_A_FILE * len(clips):
        raise RuntimeError(f"{len(failed)} files cannot be planned: {failed[:1]}")
    return {"files": len(clips), "headers_per_s": len(clips) / (time.perf_counter() - started)}


def write_links(data: Path, n_files: int) -> None:
    """Write a few FLAC files of noise and hard links to them, `n_files` in all."""
    folder = data / SOURCE / "noise"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(n_files):
        path = folder / f"{index:07d}.flac"
        if index % LINKS_A_FILE == 0:
            first = path
            samples = 0.1 * random.standard_normal(SEGMENTS_A_FILE * SEGMENT_SAMPLES)
            soundfile.write(first, samples.astype(np.float32), SAMPLE_RATE_HZ)
        else:
            os.link(first, path)


def in_a_process(task: str, folder: Path) -> dict[str, Any]:
    """Return what a task measures in a process of its own."""
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder)]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the manifest")
    parser.add_argument("--read", type=int, default=5_000, help="files whose headers are read")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--task", choices=("plan", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps((plan if options.task == "plan" else read_headers)(options.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(folder / "planned" / "data", options.rows)
        write_links(folder / "read" / "data", options.read)
        figures: dict[str, Any] = {"rows": options.rows, "segments": SEGMENTS_A_FILE * options.rows}
        for run in ("fresh", "again"):
            figures[run] = in_a_process("plan", folder / "planned")
        figures["run_json_mib"] = (folder / "planned" / "converted" / "run.json").stat().st_size / 2**20
        figures["headers"] = in_a_process("read", folder / "read")
    err = sys.stderr
    for run in ("fresh", "again"):
        found = figures[run]
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["cpu_seconds_by_stage"].items())
        print(f"{run}: {found['seconds']:.1f} s, of a processor {found['cpu_seconds']:.1f} s: {stages}", file=err)
        print(f"  peak RSS {found['peak_rss_mib']:.0f} MiB, {found['rss_mib_before']:.0f} after imports", file=err)
    print(f"wanted at {options.rows} rows: {WANTED}", file=err)
    print(f"headers, cached: {figures['headers']['headers_per_s']:.0f} a second", file=err)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
