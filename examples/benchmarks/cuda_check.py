"""Check `umc` on an NVIDIA GPU: is it right there, and how fast is each part? One run of under eight minutes.

    python examples/benchmarks/cuda_check.py [--seconds 480] [--out DIR] [--dry-run] [--json] [STAGE ...]

Needs one GPU, the package, and for the tests pytest; changes no setting of the GPU. Stages are processes of their own:
one that fails or takes too long is named, and the others are still done. Without a GPU, or with --dry-run, every stage
runs small on the CPU, in this process, and only shows that it works: its figures mean nothing.

Prints a table on standard error. The folder --out gets `summary.json` (with --json also on standard output), the output
of each stage as `STAGE.txt`, and `figures.jsonl`, a line for each figure as soon as it is known. Exit code 1: a stage
failed, or something is not right. docs/scaling.md says what the figures mean.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from cuda_stages import commands, conversion, engines, recordings, training
from cuda_stages.check import FIGURES, Check


@dataclass(frozen=True)
class Stage:
    """Something that the check does."""

    work: Callable[[Check], None]
    longest_s: float
    is_timed: bool
    """What is measured runs alone; the others run side by side."""


STAGES = {
    "recordings": Stage(recordings.make_workspaces, 40, is_timed=True),
    "tests": Stage(commands.run_tests, 90, is_timed=False),
    "parity": Stage(conversion.check_parity, 100, is_timed=False),
    "commands": Stage(commands.try_commands, 130, is_timed=False),
    "collectives": Stage(commands.check_collectives, 130, is_timed=False),
    "pipeline": Stage(conversion.measure_pipeline, 50, is_timed=True),
    "end-to-end": Stage(conversion.measure_end_to_end, 110, is_timed=True),
    "engines": Stage(engines.measure_engines, 90, is_timed=True),
    "training": Stage(training.measure_training, 110, is_timed=True),
    "memory": Stage(conversion.check_memory, 40, is_timed=True),
    "classifier": Stage(training.measure_classifier, 50, is_timed=True),
}
_FIRST = "recordings"
_LEAST_S = 10.0
"""With less left no stage is begun."""
_THREADS_BESIDE = "4"
"""Of a stage that runs beside others."""


@dataclass
class Outcome:
    """How a stage ended."""

    stage: str
    outcome: str
    """done, failed, timed out or left out."""
    seconds: float = 0.0
    error: str | None = None


def run_here(name: str, folder: Path, out: Path) -> Outcome:
    """Run a stage small, in this process."""
    started = time.monotonic()
    try:
        with (out / f"{name}.txt").open("w") as text, contextlib.redirect_stdout(text):
            STAGES[name].work(Check(name, folder, out, is_dry=True))
    except Exception as error:
        return Outcome(name, "failed", time.monotonic() - started, f"{type(error).__name__}: {error}"[:300])
    return Outcome(name, "done", time.monotonic() - started)


def run_apart(name: str, folder: Path, out: Path, until: float) -> Outcome:
    """Run a stage in a process of its own, for as long as it may take. `until`: when all stages have to be over."""
    started = time.monotonic()
    longest_s = min(STAGES[name].longest_s, until - started)
    if longest_s < _LEAST_S:
        return Outcome(name, "left out", error="no time was left")
    sys.stderr.write(f"{name} (at most {longest_s:.0f} s)\n")
    command = [sys.executable, __file__, "--stage", name, "--folder", str(folder), "--out", str(out)]
    beside = {} if STAGES[name].is_timed else {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", _THREADS_BESIDE)}
    with (out / f"{name}.txt").open("w") as text:
        process = subprocess.Popen(command, stdout=text, stderr=text, env=os.environ | beside, start_new_session=True)
        try:
            code = process.wait(longest_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # and what it has started
            process.wait()
            return Outcome(name, "timed out", time.monotonic() - started, f"after {longest_s:.0f} s")
    if code:
        said = (out / f"{name}.txt").read_text().strip().splitlines() or ["nothing"]
        return Outcome(name, "failed", time.monotonic() - started, f"exit code {code}: {said[-1][:300]}")
    return Outcome(name, "done", time.monotonic() - started)


def run_stages(names: Sequence[str], folder: Path, out: Path, *, seconds: float, is_dry: bool) -> list[Outcome]:
    """Run the stages, in order; on a GPU those that are not timed side by side."""
    if is_dry:
        return [run_here(name, folder, out) for name in names]
    until = time.monotonic() + seconds
    outcomes = [run_apart(_FIRST, folder, out, until)] if _FIRST in names else []
    beside = [name for name in names if not STAGES[name].is_timed]
    with ThreadPoolExecutor(max(1, len(beside))) as pool:
        outcomes += pool.map(lambda name: run_apart(name, folder, out, until), beside)
    alone = [name for name in names if STAGES[name].is_timed and name != _FIRST]
    return outcomes + [run_apart(name, folder, out, until) for name in alone]


def summarize(outcomes: Sequence[Outcome], out: Path, *, seconds: float, is_dry: bool) -> dict[str, Any]:
    """Return all that was found, and write it down."""
    path = out / FIGURES
    figures = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    summary = {
        "dry_run": is_dry,
        "seconds": round(seconds, 1),
        "stages": [
            {name: value for name, value in asdict(outcome).items() if value is not None} for outcome in outcomes
        ],
        "not_done": [outcome.stage for outcome in outcomes if outcome.outcome != "done"],
        "wrong": [f"{figure['stage']}: {figure['what']}" for figure in figures if figure.get("right") is False],
        "figures": figures,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def table(summary: dict[str, Any]) -> str:
    """Return the figures for people, by stage."""
    lines = []
    for stage in summary["stages"]:
        lines.append(
            f"\n{stage['stage']}: {stage['outcome']}, {stage['seconds']:.1f} s {stage.get('error', '')}".rstrip()
        )
        for figure in summary["figures"]:
            if figure["stage"] != stage["stage"]:
                continue
            rest = {name: value for name, value in figure.items() if name not in ("stage", "what", "right")}
            mark = {True: "ok", False: "WRONG"}.get(figure.get("right"), "")
            values = ", ".join(f"{name} {value:,}" if isinstance(value, int | float) else f"{name} {value}"
                               for name, value in rest.items())  # fmt: skip
            lines.append(f"  {mark:5} {figure['what']}: {values}".rstrip(": "))
    failed = [*summary["not_done"], *summary["wrong"]]
    lines.append("\nnot as it should be: " + "; ".join(failed) if failed else "\nall as it should be")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all by default")
    parser.add_argument("--seconds", type=float, default=480, help="for all stages together; 480 by default")
    parser.add_argument("--out", type=Path, help="folder for the results; a new one by default")
    parser.add_argument("--dry-run", action="store_true", help="small, on the CPU: shows that everything runs")
    parser.add_argument("--json", action="store_true", help="print the summary on standard output")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := [name for name in given.stages if name not in STAGES]:
        parser.error(f"unknown stage {unknown[0]}: there are {', '.join(STAGES)}")
    if given.stage:  # one of the processes
        STAGES[given.stage].work(Check(given.stage, given.folder, given.out, is_dry=False))
        return 0
    is_dry = given.dry_run or not torch.cuda.is_available()
    if is_dry and not given.dry_run:
        sys.stderr.write("no GPU here: a dry run, whose figures mean nothing\n")
    out = given.out or Path(tempfile.mkdtemp(prefix="umc-cuda-check-"))
    out.mkdir(parents=True, exist_ok=True)
    (out / FIGURES).unlink(missing_ok=True)
    names = [name for name in STAGES if name in given.stages or name == _FIRST or not given.stages]
    memory = Path("/dev/shm")  # figures are to be the program's, not the disk's
    started = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="umc-cuda-", dir=memory if memory.is_dir() and not is_dry else None
    ) as name:
        outcomes = run_stages(names, Path(name), out, seconds=given.seconds, is_dry=is_dry)
    summary = summarize(outcomes, out, seconds=time.monotonic() - started, is_dry=is_dry)
    sys.stderr.write(table(summary) + f"results in {out}\n")
    if given.json:
        sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if summary["not_done"] or summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
