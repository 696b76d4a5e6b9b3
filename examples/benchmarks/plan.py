"""What the size of a run costs `umc convert`: planning, memory, and each shard.

    python examples/benchmarks/plan.py [--json] [--rows 1000000] [--read 5000] [--shards 1000]

1. Planning. `umc convert` runs with a manifest of `--rows` recordings of ten segments each, without splits. None of
these files exists: headers are stubs that cost nothing, so the time is that of the manifest, the plan and run.json.
Then every shard's job is made and dropped, in the place of an engine; what memory is held meanwhile is noted. The
second run finds run.json written and no shard, as a run that was killed early.
2. Headers. `--read` hard links to a few FLAC files, whose headers the system has in its cache: a disk or a network adds
its own time for every file.
3. Shards. `--shards` and a tenth as many of such links are converted by `eq`, a shard each, and then listed, verified
and found complete by the same command.
4. Segments. On one processor: decoding FLAC, log-mel, converters, and writing, for a segment.

Every figure comes from a process of its own; cpu_ms is processor time of all threads. Prints a table on standard error;
with --json one JSON object on standard output.
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
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile
import torch

from umc_cli.audio.files import AudioHeader, read_header
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.manifest import find_recordings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.audio.segments import read_segments, segment_starts
from umc_cli.config import find_workspace
from umc_cli.conversion.chosen.choice import choose_conversion
from umc_cli.runtime import cpu_count
from umc_cli.shards.plan import plan_files
from umc_cli.shards.writer import ShardRows, write_shard
from umc_cli.silence import SILENT
from umc_cli.workflows import convert
from umc_cli.workflows.shards import list_shards, verify_shards

SOURCE, TARGET = "xperia1v", "pixel3"
SEGMENTS_A_FILE = 10
BATCH, SEGMENTS_A_SHARD = 32, 1024
RUNS = 20
"""Of each step that is timed."""
LINKS_A_FILE = 10_000
"""File systems allow some ten thousand hard links to a file."""

WANTED = {"seconds": 60.0, "peak_rss_mib": 1024.0}
STAGES = ("find_recordings", "plan_files", "settle_generations")


class PlannedError(Exception):
    """All jobs are made, and there are no shards to count."""


def write_manifest(data: Path, n_rows: int) -> None:
    """Write a manifest of recordings in ten labels, a thousand to a folder."""
    data.mkdir(parents=True)
    with (data / "manifest.csv").open("w", encoding="utf-8") as file:
        file.write("path,device,label\n")
        file.writelines(
            f"{SOURCE}/label{i % 10}/{i // 1000:05d}/{i:09d}.flac,{SOURCE},label{i % 10}\n" for i in range(n_rows)
        )


def peak_rss_mib() -> float:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def rss_mib() -> float:
    """Return the memory that this process holds, where the system says so (Linux)."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20 if status.exists() else float("nan")


def settings(**options: Any) -> convert.ConvertSettings:
    """Return settings of a conversion to one target by `eq`."""
    return convert.ConvertSettings(source=SOURCE, targets=(TARGET,), converter="eq", **options)


def plan(folder: Path) -> dict[str, Any]:
    """Run `umc convert` without an engine; return seconds by stage, those of each job, and memory."""
    seconds: dict[str, float] = {}
    header = AudioHeader(SAMPLE_RATE_HZ, 1, SEGMENTS_A_FILE * SEGMENT_SAMPLES)
    found: dict[str, Any] = {"rss_mib_before": peak_rss_mib()}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            before = time.process_time()
            result = function(*arguments, **options)
            seconds[name] = time.process_time() - before
            return result

        return run

    def no_engine(jobs: Iterable[object], *_: object) -> None:
        found["seconds"], found["cpu_seconds"] = time.perf_counter() - started, time.process_time() - computing
        found["peak_rss_mib"] = peak_rss_mib()
        before = time.process_time()
        held = [rss_mib() for _ in jobs]
        found["n_shards_to_make"] = len(held)
        found["cpu_ms_a_job"] = 1e3 * (time.process_time() - before) / len(held)
        found["rss_mib_converting"] = {"first": held[0], "most": max(held), "last": held[-1]}
        raise PlannedError

    started, computing = time.perf_counter(), time.process_time()
    with (
        patch("umc_cli.conversion.streaming.stream", no_engine),
        patch.multiple(convert, **{name: timed(name, getattr(convert, name)) for name in STAGES}),
        patch("umc_cli.shards.plan.read_header_and_size", lambda _: (header, 100_000)),
        suppress(PlannedError),
    ):
        convert.convert(find_workspace(folder), settings(), None, SILENT)
    found["cpu_seconds_by_stage"] = seconds | {"others": found["cpu_seconds"] - sum(seconds.values())}
    return found


def read_headers(folder: Path) -> dict[str, Any]:
    """Plan hard links to real files; return headers a second."""
    clips = find_recordings(folder / "data").clips
    started, computing = time.perf_counter(), time.process_time()
    planned, failed = plan_files(clips, folder, SegmentSettings(), cpu_count(), 300.0, folder)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - computing
    if failed or sum(file.n_segments for file in planned) != SEGMENTS_A_FILE * len(clips):
        raise RuntimeError(f"{len(failed)} files cannot be planned: {failed[:1]}")
    return {"files": len(clips), "headers_per_s": len(clips) / seconds, "cpu_ms_a_file": 1e3 * cpu_seconds / len(clips)}


def use_shards(folder: Path) -> dict[str, Any]:
    """Convert real files, a shard each; return what a shard costs to make, list, verify and find complete."""
    workspace = find_workspace(folder)
    options = settings(shard_size=SEGMENTS_A_FILE)
    steps: dict[str, Callable[[], Any]] = {
        "make": lambda: convert.convert(workspace, options, None, SILENT),
        "list": lambda: list_shards(workspace.converted),
        "verify": lambda: verify_shards(workspace.converted),
        "resume": lambda: convert.convert(workspace, options, None, SILENT),
    }
    found: dict[str, Any] = {}
    for name, step in steps.items():
        started, computing = time.perf_counter(), time.process_time()
        report = step()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - computing
        if name == "make":
            found["n_shards"] = report.n_shards_written
        found[name] = {"ms_a_shard": 1e3 * seconds, "cpu_ms_a_shard": 1e3 * cpu_seconds}
    for name in steps:
        found[name] = {unit: round(value / found["n_shards"], 3) for unit, value in found[name].items()}
    return found


def milliseconds(function: Callable[[], object], n_segments: int) -> float:
    """Return what a segment takes: the least of `RUNS` runs, after one that is not counted."""
    taken = []
    for _ in range(1 + RUNS):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return round(1e3 * min(taken[1:]) / n_segments, 4)


def use_segments(folder: Path) -> dict[str, Any]:
    """Return what each step takes for a segment, in ms, on one processor."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    everything = find_recordings(folder / "data")
    path = everything.clips[0].path
    header, cut = read_header(path), SegmentSettings()
    starts = segment_starts(header.n_samples, cut)
    segments = torch.from_numpy(read_segments(path, header, starts, cut)[0])
    found = {
        "decode": milliseconds(lambda: read_segments(path, header, starts, cut), len(starts)),
        "log_mel": milliseconds(lambda: log_mel(segments), len(segments)),
    }
    batch = log_mel(segments).repeat(4, 1, 1)[:BATCH]
    workspace = find_workspace(folder)
    with torch.inference_mode():
        for name in ("eq", "eq_noise", "refiner"):
            options = settings().model_copy(update={"converter": name})
            converter = choose_conversion(workspace, options, everything).built
            begun = converter.begin(batch)
            found[name] = milliseconds(partial(converter.convert, begun, TARGET), BATCH)
            converted = converter.convert(begun, TARGET).half().numpy()

    def write() -> None:
        with write_shard(folder / "shard-00000.h5", {}, "float16") as shard:
            for _ in range(SEGMENTS_A_SHARD // BATCH):
                shard.append(converted)
            names = ["x"] * SEGMENTS_A_SHARD
            shard.finish(ShardRows(names, names, names, names, [0] * SEGMENTS_A_SHARD, [0] * SEGMENTS_A_SHARD))

    found["write"] = milliseconds(write, SEGMENTS_A_SHARD)
    found["megabytes_a_segment"] = (folder / "shard-00000.h5").stat().st_size / SEGMENTS_A_SHARD / 1e6
    return found


TASKS = {"plan": plan, "read": read_headers, "shards": use_shards, "segments": use_segments}


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
    parser.add_argument("--shards", type=int, default=1_000, help="shards that are made, listed and verified")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(TASKS[options.task](options.folder)))
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
        figures["segment_ms"] = in_a_process("segments", folder / "read")
        for run, number in (("few_shards", max(1, options.shards // 10)), ("many_shards", options.shards)):
            write_links(folder / run / "data", number)
            figures[run] = in_a_process("shards", folder / run)
    err = sys.stderr
    for run in ("fresh", "again"):
        found = figures[run]
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["cpu_seconds_by_stage"].items())
        print(f"{run}: {found['seconds']:.1f} s, of a processor {found['cpu_seconds']:.1f} s: {stages}", file=err)
        print(f"  peak RSS {found['peak_rss_mib']:.0f} MiB, {found['rss_mib_before']:.0f} after imports", file=err)
        held = ", ".join(f"{name} {mib:.0f}" for name, mib in found["rss_mib_converting"].items())
        print(
            f"  {found['n_shards_to_make']} jobs, {found['cpu_ms_a_job']:.2f} ms each; RSS meanwhile: {held}", file=err
        )
    print(f"wanted at 1000000 rows: {WANTED}", file=err)
    headers = figures["headers"]
    print(f"headers, cached: {headers['headers_per_s']:.0f} a second, {headers['cpu_ms_a_file']:.3f} ms each", file=err)
    for run in ("few_shards", "many_shards"):
        print(f"{run}: {figures[run]}", file=err)
    print(f"a segment, ms: {figures['segment_ms']}", file=err)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
