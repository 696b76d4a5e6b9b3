"""Stages of `umc convert`: is it right on a GPU, how fast is it from files to shards, what if memory is short."""

import gc
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pipeline
import torch
from numpy.typing import NDArray

from cuda_stages.check import SOURCE, TARGETS, Check
from umc_cli.config import find_workspace
from umc_cli.conversion.converters.film_gan import GeneratorConverter
from umc_cli.errors import EnvironmentFault, SettingsError
from umc_cli.runtime import cpu_count
from umc_cli.settings.convert import ConvertSettings
from umc_cli.silence import SilentProgress
from umc_cli.workflows.convert import convert
from umc_cli.workflows.convert_report import ConvertReport

RULES = ("eq", "eq_noise", "quantile", "transport")
NETWORKS = ("refiner", "refiner_quantile", "refiner_transport", "film_gan")
LARGEST_DIFFERENCE_DB = {"fp32": 0.002, "fp16": 0.1, "bf16": 0.6}
"""Mean over a run, from fp32 on the CPU; docs/decisions/gpu-arithmetic.md has what the CPU itself shows in 16 bits."""

Shards = dict[str, tuple[NDArray[np.float32], list[bytes]]]


class Watch(SilentProgress):
    """Progress that notes when the first segments were converted: imports, planning and building come before."""

    def __init__(self) -> None:
        self.rows_since = 0
        self.since_s = 0.0

    def advance(self, target: str, n_segments: int) -> None:
        """Count what comes after the first ones."""
        if self.since_s:
            self.rows_since += n_segments
        else:
            self.since_s = time.monotonic()


def run(
    check: Check, workspace: str, converter: str, output: Path, targets: Sequence[str], **options: Any
) -> tuple[ConvertReport, float]:
    """Do `umc convert` in this process; return the report, and rows/s after the first ones."""
    given = {"compute_device": check.device.type, "engine": "torch", "overwrite": True} | options
    settings = ConvertSettings(source=SOURCE, targets=tuple(targets), converter=converter, output=output, **given)
    watch = Watch()
    report = convert(find_workspace(check.folder / workspace), settings, None, watch)
    return report, watch.rows_since / (time.monotonic() - watch.since_s)


def read(output: Path) -> Shards:
    """Return the spectrograms of all shards, and which recordings they are of."""
    found: Shards = {}
    for path in sorted(output.glob("*/shard-*.h5")):
        with h5py.File(path) as file:
            levels = file["log_mel"][:].astype(np.float32)
            found[f"{path.parent.name}/{path.name}"] = (levels, file["source_path"][:].tolist())
    return found


def check_parity(check: Check) -> None:
    """Compare the shards of the GPU with those of the CPU in fp32, for every converter."""
    generators = {"film_gan": None, "film_gan, level_aware": "level_aware", "film_gan, paper": "paper"}
    names = check.sized((*RULES, *NETWORKS[:3], *generators), ("refiner_quantile", "film_gan, paper"))
    for name in names:
        check.attempt(name, lambda name=name: _compare(check, name, generators.get(name)))  # type: ignore[misc]
    if not check.is_dry:
        check.attempt("parts of a CPU and of a GPU", lambda: _refuse_a_mixture(check))


def _compare(check: Check, name: str, weights: str | None) -> None:
    converter, root = name.partition(",")[0], check.folder / "parity" / name
    options: dict[str, Any] = {"dtype": "float32"}
    if weights:
        options["checkpoint"] = check.folder / f"{weights}.safetensors"
    targets = TARGETS[: check.sized(2, 1)]
    run(check, "small", converter, root / "cpu", targets, compute_device="cpu", precision="fp32", **options)
    expected, maps = read(root / "cpu"), [*(root / "cpu").glob("refiner_transport.*.safetensors")]
    precisions = ("fp32", "auto", "bf16") if converter in NETWORKS and not check.is_dry else ("fp32",)
    for precision in check.sized((*precisions, "again"), precisions):
        asked = precisions[-1] if precision == "again" else precision
        for path in maps:  # learned once, 15 s of a processor a target
            (root / precision).mkdir(exist_ok=True)
            shutil.copy(path, root / precision)
        report, _ = run(check, "small", converter, root / precision, targets, precision=asked, **options)
        found = read(root / precision)
        if precision == "again":
            same = all(np.array_equal(levels, found[shard][0]) for shard, (levels, _) in read(root / asked).items())
            check.note(name, what_is_compared="two runs on this device", equal_values=same)
            continue
        in_order = {shard: of for shard, (_, of) in found.items()} == {shard: of for shard, (_, of) in expected.items()}
        off = [np.abs(levels - found[shard][0]) for shard, (levels, _) in expected.items() if shard in found]
        each = np.concatenate([part.mean(axis=(1, 2)) for part in off])
        used = report.made_with.get("precision", "fp32")
        check.expect(
            name, in_order and bool(each.mean() <= LARGEST_DIFFERENCE_DB[used]), precision=used, rows=len(each),
            mean_db=float(each.mean()), worst_segment_db=float(each.max()), worst_db=float(max(map(np.max, off))),
        )  # fmt: skip
    shutil.rmtree(root)


def _refuse_a_mixture(check: Check) -> None:
    mixed, options = check.folder / "mixed", {"precision": "fp32", "overwrite": False}
    run(check, "small", "refiner", mixed, TARGETS[:1], compute_device="cpu", part="1/2", **options)
    try:
        run(check, "small", "refiner", mixed, TARGETS[:1], part="2/2", **options)
        check.expect("parts of a CPU and of a GPU in one run", False, outcome="accepted")
    except SettingsError as error:
        check.expect("parts of a CPU and of a GPU in one run", True, outcome=f"refused: {error.message}"[:160])


def measure_pipeline(check: Check) -> None:
    """Measure what reading, queues and shards do on this machine with a converter that costs nothing."""
    folder = check.folder / "pipeline"
    folder.mkdir(exist_ok=True)
    pipeline.write_recordings(folder)
    if check.is_dry:  # without processes of its own
        pipeline.one_process(folder, folder / "made", 20, 2, 1)
        check.note("one process", rows=40)
        return
    for n_processes in dict.fromkeys((1, 4, cpu_count())):
        for n_targets in (1, 7):
            check.note("stub", **pipeline.measure(folder, 30_000 // n_targets, n_targets, n_processes))


def measure_end_to_end(check: Check) -> None:
    """Measure rows/s from files to shards: converters, batches, processes on one GPU."""
    cases: list[tuple[str, str, int, dict[str, Any]]] = [
        *(
            (name, "big", 7, {"batch_size": size})
            for name in ("film_gan, level_aware", "refiner")
            for size in (32, 256)
        ),
        *((name, "big", 1, {}) for name in ("film_gan, level_aware", "film_gan", "refiner", "refiner_quantile", "eq")),
        *((name, "big", 7, {"processes": n}) for name in ("film_gan, level_aware", "refiner") for n in (2, 4)),
        ("refiner", "big", 7, {"compute_device": "cuda:all"}),
        ("eq", "big", 7, {}),
        ("eq", "stereo", 1, {}),
    ]
    if check.is_dry:
        cases = [("eq", "stereo", 1, {})]
    for name, workspace, n_targets, options in cases:
        what = f"{name}, {n_targets} targets, {workspace}"
        check.attempt(what, lambda case=(name, workspace, n_targets, options), what=what: _rate(check, what, *case))  # type: ignore[misc]


def _rate(check: Check, what: str, name: str, workspace: str, n_targets: int, options: dict[str, Any]) -> None:
    root = check.folder / "end_to_end"
    converter, _, weights = name.partition(", ")
    more = {"checkpoint": check.folder / f"{weights}.safetensors"} if weights else {}
    if converter == "refiner_quantile":  # it learns from recordings, and two devices have some
        workspace = "small"
    before = time.process_time()
    report, rate = run(check, workspace, converter, root, TARGETS[:n_targets], **more, **options)
    rows = report.n_segments * n_targets
    check.expect(what, not report.failed, rows=rows, rows_per_s=rate, seconds=report.seconds,
                 own_cpu_s=time.process_time() - before, **options)  # fmt: skip
    shutil.rmtree(root)


def check_memory(check: Check) -> None:
    """Convert where a batch does not fit: it is halved, and what cannot be done at all is said in a sentence."""
    root, weights = check.folder / "memory", {"checkpoint": check.folder / "level_aware.safetensors"}
    run(check, "small", "film_gan", root / "whole", TARGETS[:1], batch_size=64, **weights)
    expected = read(root / "whole")
    if check.is_dry:
        _pretend_short_memory(check, root, expected, weights)
        return
    total = torch.cuda.get_device_properties(0).total_memory
    for limit_mib in (1400, 900, 600, 400, 250):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(limit_mib * 2**20 / total)
        what, place = f"batches of 1024 in {limit_mib} MiB", root / str(limit_mib)
        try:
            run(check, "small", "film_gan", place, TARGETS[:1], batch_size=1024, **weights)
            _expect_equal(check, what, expected, read(place))
        except EnvironmentFault as error:
            left = [path.name for path in place.rglob("*partial*")]
            check.expect(what, not left, outcome=f"refused: {error.message}"[:160], left=left or None)
        except Exception as error:
            check.expect(what, False, outcome=f"{type(error).__name__}: {error}"[:160])
        torch.cuda.set_per_process_memory_fraction(1.0)


def _pretend_short_memory(check: Check, root: Path, expected: Shards, weights: dict[str, Path]) -> None:
    whole = GeneratorConverter.convert

    def narrow(self: GeneratorConverter, begun: Any, target: str) -> torch.Tensor:
        result = whole(self, begun, target)
        if len(result) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return result

    with patch.object(GeneratorConverter, "convert", narrow):
        run(check, "small", "film_gan", root / "narrow", TARGETS[:1], batch_size=64, **weights)
    _expect_equal(check, "batches of 64 where 5 fit (pretended)", expected, read(root / "narrow"))


def _expect_equal(check: Check, what: str, expected: Shards, found: Shards) -> None:
    off_db = max(float(np.abs(levels - found[shard][0]).max()) for shard, (levels, _) in expected.items())
    check.expect(what, off_db < 0.5, off_db=off_db)
