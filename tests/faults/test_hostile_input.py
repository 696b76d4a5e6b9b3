"""Files of strangers: whatever their bytes say, a reader returns or raises a `UmcError`, soon and in bounded memory.

Every reader gets real files, mutated. `HOSTILE_EXAMPLES=2000 pytest tests/faults` tries that many mutations of each,
other ones every time; without the variable it is a few, always the same.
"""

import json
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conversion.training_data import TINY, training_devices, training_segments
from tests.samples import SOURCE, noise, plan_text, write_audio
from umc_cli.audio.files import read_header, read_samples
from umc_cli.audio.manifest import read_manifest
from umc_cli.config import find_workspace, load_settings
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import load_generator, save_generator
from umc_cli.conversion.generator_settings import GeneratorSettings
from umc_cli.conversion.level_tables import read_level_tables
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.conversion.refiner_checkpoint import load_refiner, save_refiner
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.errors import UmcError
from umc_cli.response.curve_files import read_curve_file
from umc_cli.response.device import DeviceRegistry, read_device, write_device
from umc_cli.response.frequency_response import impulse_response_curve
from umc_cli.response.impulse_response_files import read_impulse_response
from umc_cli.response.stimulus import SineSweep, read_stimulus, write_stimulus
from umc_cli.response.synthetic_differences import SyntheticDifferences, read_differences, write_differences
from umc_cli.sec.sec_checkpoint import SecNetworkSettings, load_sec, save_sec
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards.plan import Plan, hash_of, read_plan, write_plan
from umc_cli.shards.plan_differences import differences
from umc_cli.shards.planned_files import PlannedFile, store_files
from umc_cli.training.metrics import read_metrics
from umc_cli.training.run import STATE_NAME, RunResult, _go_on, save_state
from umc_cli.training.run_settings import read_run_settings, write_run_settings

N_EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "0"))
MORE_MEMORY_BYTES = 1 << 30
DEADLINE_MS = 30_000  # also on a busy machine

FUZZED = settings(
    max_examples=N_EXAMPLES or 40,
    derandomize=not N_EXAMPLES,
    database=None,
    deadline=DEADLINE_MS,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True, scope="module")
def _little_memory() -> Iterator[None]:
    """Let the process grow by 1 GiB and no more: what a file claims must not be allocated."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MORE_MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# ---- real files and what reads them


def _manifest(folder: Path, suffix: str) -> Path:
    path = folder / f"manifest.{suffix}"
    columns = ("path", "device", "label", "split", "room")
    rows = [(f"{SOURCE}/a/{index}.wav", SOURCE, "a b", "val-sec", "3") for index in range(3)]
    separator = {"csv": ",", "tsv": "\t"}.get(suffix)
    lines = [dict(zip(columns, row, strict=True)) for row in rows]
    tables = [separator.join(row) for row in (columns, *rows)] if separator else list(map(json.dumps, lines))
    path.write_text("\n".join(tables) + "\n")
    return path


def _device(folder: Path) -> Path:
    return write_device(DeviceRegistry(Path("/nonexistent")).get(SOURCE), folder)


def _toml(folder: Path) -> Path:
    path = folder / "umc.toml"
    path.write_text(
        '[workspace]\ndata = "sounds"\n[convert]\nsource = "xperia1v"\ntargets = ["pixel3", "synth:x.safetensors"]\n'
        'checkpoint = "weights/generator.safetensors"\nhop = 20480\nshard_size = 8\n[train]\nname = "a"\n'
    )
    return path


def _curve(folder: Path, suffix: str) -> Path:
    hz, db = np.geomspace(20, 20_000, 30).round(1), np.linspace(-9, 9, 30).round(2)
    path = folder / f"curve.{suffix}"
    lines = [f"{a}{',' if suffix == 'csv' else ' '}{b}" for a, b in zip(hz, db, strict=True)]
    head = "frequency_hz,response_db" if suffix == "csv" else "* REW, Hz and dB"
    text = "\n".join([head, *lines])
    if suffix == "xml":
        one, other = (" ".join(map(str, values)) for values in (hz, db))
        text = f'<a><microphone device_id="x" frequencies="{one}" responses="{other}" sensitivity="-37.0"/></a>'
    path.write_text(text)
    return path


def _differences(folder: Path) -> Path:
    random = np.random.default_rng(0)
    values = random.normal(0, 3, (2, 128)).astype(np.float32)
    drawn = SyntheticDifferences(values, values - 80, values[:, 0].copy(), {"method": "pca", "seed": 0})
    write_differences(folder / "drawn.safetensors", drawn)
    return folder / "drawn.safetensors"


def _generator(folder: Path) -> Path:
    small = GeneratorSettings(ngf=2, n_blocks=1, film_widths=(2, 2, 2), film_hidden=4)
    path = folder / "generator.safetensors"
    save_generator(path, Generator(small), Normalisation(mean_db=-60, std_db=15), {"pair": ["a", "b"]})
    return path


def _refiner(folder: Path) -> Path:
    save_refiner(folder / "refiner.safetensors", Refiner(RefinerSettings(widths=(2, 2, 2, 2))))
    return folder / "refiner.safetensors"


def _sec(folder: Path) -> Path:
    about = SecNetworkSettings(
        backbone="cnn",
        classes=("a", "b"),
        mean_db=-60,
        std_db=15,
        source=SOURCE,
        method="rfn",
        parts={"parts": {"rfn": {}}},
    )
    save_sec(folder / "best.safetensors", about.build(), about, {"name": "run"})
    return folder / "best.safetensors"


def _training() -> AdversarialTraining:
    return AdversarialTraining(TINY, training_segments(2), training_devices(2), False, torch.device("cpu"))


def _state(folder: Path) -> Path:
    training = _training()
    training.step(0)
    save_state(folder, training, RunResult(n_steps=1, total_steps=2, last_row={"step": 1.0}), {}, {"loss": 1.0}, 1)
    return folder / STATE_NAME


def _plan(folder: Path) -> Path:
    files = store_files(
        (
            PlannedFile(f"data/{SOURCE}/a/{index}.wav", "a", str(index), "val-sec", 88_244, 22_050, 1, 44_100, 2, {})
            for index in range(2)
        ),
        folder,
    )
    write_plan(Plan(SOURCE, {"hop": 20_480, "mel": {"n": 80}}, 8, files, ()), {"pixel3": "0"}, folder)
    return folder / "run.json"


def _read_plan(path: Path) -> None:
    """Read a plan whose run_id fits, as that of a forger does."""
    try:
        content = json.loads(path.read_bytes())
        content["run_id"] = hash_of({name: content[name] for name in ("source", "settings", "shard_size", "files")})
        path.write_text(plan_text(content))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    found = read_plan(path.parent)
    if found is None:
        return
    list(differences(found[0], found[0]))
    assert found[0].n_shards == sum(1 for _ in found[0].shards()) < 1_000_000


def _run_settings(folder: Path) -> Path:
    content = {"run_id": "0", "kind": "sec", "settings": {"seed": 0}, "recordings_sha256": "0", "versions": {}}
    write_run_settings(folder, content)
    return folder / "settings.json"


def _use_run_settings(path: Path) -> None:
    found = read_run_settings(path.parent)
    assert found
    found["settings"].get(found["kind"], found["recordings_sha256"] + found["run_id"])


def _levels(folder: Path) -> Path:
    entry = {"levels_db": np.zeros((20, 80)).tolist(), "n_segments": 9, "labels": {"a": 9}, "n_failed": 0}
    content = {"format": "umc-level-quantiles", "format_version": 1}
    path = folder / "level_quantiles.json"
    path.write_text(json.dumps(content | {"devices": {"a": entry | {"recordings_sha256": "0"}}}))
    return path


def _metrics(folder: Path) -> Path:
    (folder / "metrics.csv").write_text("step,epoch,seconds,loss\n1,0,0.5,2.25\n2,0,1.5,2\n")
    return folder / "metrics.csv"


def _read_audio(path: Path) -> None:
    header = read_header(path)
    read_samples(path, header, 0, min(header.n_samples, 40_960))


def _impulse_response(folder: Path) -> Path:
    samples = np.zeros(2_000, np.float32)
    samples[100:110] = np.hanning(10)
    return write_audio(folder / "response.wav", samples, 48_000, subtype="FLOAT")


@dataclass(frozen=True)
class Reader:
    make: Callable[[Path], Path]
    read: Callable[[Path], object]


READERS: dict[str, Reader] = {
    "manifest.csv": Reader(lambda folder: _manifest(folder, "csv"), read_manifest),
    "manifest.tsv": Reader(lambda folder: _manifest(folder, "tsv"), read_manifest),
    "manifest.jsonl": Reader(lambda folder: _manifest(folder, "jsonl"), read_manifest),
    "device record": Reader(_device, read_device),
    "umc.toml": Reader(_toml, lambda path: load_settings(ConvertSettings, find_workspace(path.parent), "convert", {})),
    "curve.csv": Reader(lambda folder: _curve(folder, "csv"), read_curve_file),
    "curve.frd": Reader(lambda folder: _curve(folder, "frd"), read_curve_file),
    "curve.txt": Reader(lambda folder: _curve(folder, "txt"), read_curve_file),
    "curve.xml": Reader(lambda folder: _curve(folder, "xml"), read_curve_file),
    "stimulus": Reader(lambda folder: write_stimulus(SineSweep(), folder / "sweep.wav"), read_stimulus),
    "differences": Reader(_differences, read_differences),
    "generator": Reader(_generator, load_generator),
    "refiner": Reader(_refiner, load_refiner),
    "classifier": Reader(_sec, load_sec),
    "training state": Reader(_state, lambda path: _go_on(path.parent, _TRAINING[0], RunResult())),
    "run.json": Reader(_plan, _read_plan),
    "settings.json": Reader(_run_settings, _use_run_settings),
    "level tables": Reader(_levels, lambda path: read_level_tables(path.parent)),
    "metrics.csv": Reader(_metrics, lambda path: read_metrics(path.parent)),
    "recording.wav": Reader(lambda folder: write_audio(folder / "x.wav", noise(0.3)), _read_audio),
    "recording.flac": Reader(lambda folder: write_audio(folder / "x.flac", noise(0.3)), _read_audio),
    "recording.ogg": Reader(lambda folder: write_audio(folder / "x.ogg", noise(0.3)), _read_audio),
    "impulse response.wav": Reader(
        _impulse_response, lambda path: impulse_response_curve(*read_impulse_response(path, None, None))
    ),
}
_TRAINING: list[AdversarialTraining] = []


# ---- mutations

VALUES = [
    *[-1, 0, 1.5, True, None, "", "x", [], {}, 10**9, 2**63, 10**400, -(10**18), 1e308, "../../x", "a\0b", "\ud800"],
    *["@digits@", "@nested@", "@deep@", "@infinite@", "x" * 5_000, ["x"], {"x": 1}],
]
RAW = {"@digits@": "9" * 5_000, "@nested@": "[" * 1_500 + "]" * 1_500, "@deep@": "[" * 100_000, "@infinite@": "1e999"}
"""What `json.dumps` does not write."""
_NUMBER = re.compile(rb"\d+(?:\.\d+)?")


def _mutate(draw: st.DrawFn, content: bytes) -> bytes:
    size = len(content)
    # Headers are where claims stand: half of the places lie in the first 200 bytes.
    place = draw(st.integers(0, max(0, min(200, size - 1))) | st.integers(0, max(0, size - 1)))
    match draw(st.sampled_from(["flip", "truncate", "insert", "repeat", "number", "value", "nest"])):
        case "flip":
            changed = bytearray(content)
            for offset in range(draw(st.integers(1, 8))):
                if place + offset < size:
                    changed[place + offset] = draw(st.integers(0, 255))
            return bytes(changed)
        case "truncate":
            return content[:place]
        case "insert":
            return content[:place] + draw(st.binary(min_size=1, max_size=40)) + content[place:]
        case "repeat":
            length = draw(st.integers(1, 400))
            return content[:place] + content[place : place + length] * draw(st.integers(2, 200)) + content[place:]
        case "number":
            found = list(_NUMBER.finditer(content[:20_000]))
            if not found:
                return content
            hit = draw(st.sampled_from(found))
            new = draw(st.sampled_from([b"9" * 5_000, b"1" + b"0" * 11, b"-1", b"1e999", b"NaN", b"0", b"0.5", b"inf"]))
            return content[: hit.start()] + new + content[hit.end() :]
        case "nest":
            depth = draw(st.sampled_from([50, 990, 3_000, 100_000]))
            return content[:place] + b"[" * depth + b"]" * depth + content[place:]
        case _:
            return _with_json_value(draw, content)


def _with_json_value(draw: st.DrawFn, content: bytes) -> bytes:
    """Replace one value of the JSON that the file is or begins with: safetensors holds a length, then JSON."""
    start, length = 0, len(content)
    if content[8:9] == b"{":
        start, length = 8, int.from_bytes(content[:8], "little")
    try:
        tree = json.loads(content[start : start + length])
    except (ValueError, RecursionError):
        return content
    text = json.dumps(_replaced(draw, tree))
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw).replace(json.dumps(json.dumps(name))[1:-1], raw)
    written = text.encode()
    return (len(written).to_bytes(8, "little") if start else b"") + written + content[start + length :]


def _replaced(draw: st.DrawFn, tree: Any) -> Any:
    if isinstance(tree, str) and tree.startswith("{"):  # metadata is JSON in a text
        return json.dumps(_replaced(draw, json.loads(tree)))
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    if not keys or draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(VALUES))
    key = draw(st.sampled_from(keys))
    if isinstance(tree, dict) and draw(st.integers(0, 9)) == 0:
        return {name: value for name, value in tree.items() if name != key}
    changed = tree.copy()
    changed[key] = _replaced(draw, tree[key])
    return changed


@pytest.fixture(scope="module")
def real_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every reader's real file, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("real")
    _TRAINING[:] = [_training()]
    made = {}
    for name, reader in READERS.items():
        (folder / name).mkdir()
        made[name] = reader.make(folder / name)
        reader.read(made[name])
    return made


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused(real_files: dict[str, Path], tmp_path: Path, name: str) -> None:
    content = real_files[name].read_bytes()
    path = tmp_path / real_files[name].name

    @FUZZED
    @given(st.data())
    def check(data: st.DataObject) -> None:
        mutated = content
        for _ in range(data.draw(st.integers(1, 3))):
            mutated = _mutate(data.draw, mutated)
        path.write_bytes(mutated)
        with suppress(UmcError):
            READERS[name].read(path)

    check()
