"""Specific attacks on weights and text files: claims of headers, pickles, nesting, bombs, names that leave."""

import io
import json
import os
import pickle
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from tests.conftest import PROJECT
from tests.samples import SOURCE, TARGET, Run, noise, plan_text, write_audio
from umc_cli.audio.manifest import find_recordings
from umc_cli.checkpoint import FORMAT, read_checkpoint, write_checkpoint
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import load_generator, save_generator
from umc_cli.conversion.generator_settings import GeneratorSettings
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.errors import InputError, SettingsError
from umc_cli.json_text import parse_json
from umc_cli.response.curve_files import read_curve_file
from umc_cli.response.synthetic_differences import read_differences
from umc_cli.sec.sec_checkpoint import load_sec
from umc_cli.shards.plan import hash_of, read_plan
from umc_cli.shards.planned_files import PlannedFile

Umc = Callable[..., Run]
WEIGHT_READERS = (read_checkpoint, load_generator, load_refiner, load_sec, read_differences)
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def soon_and_small() -> Iterator[None]:
    """Fail a test that takes long or allocates much."""
    tracemalloc.start()
    started = time.process_time()
    yield
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200e6
    assert time.process_time() - started < 30


# ---- weights


def safetensors_file(header: object, length: int | None = None, data: bytes = bytes(64)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


METADATA = {FORMAT.name: json.dumps({"format": FORMAT.name, "format_version": 1, "metadata": {"kind": "generator"}})}

HEADERS: dict[str, bytes] = {
    "100 GB of header": safetensors_file({}, length=100 * 10**9),
    "2^64 of header": safetensors_file({}, length=2**64 - 1),
    "100 GB of values": safetensors_file({"a": tensor([25 * 10**9], 0, 100 * 10**9)}),
    "overlapping values": safetensors_file({"a": tensor([16], 0, 64), "b": tensor([8], 0, 32)}),
    "values with gaps": safetensors_file({"a": tensor([4], 0, 16), "b": tensor([4], 32, 48)}),
    "a shape beyond its values": safetensors_file({"a": tensor([2**40, 2**40], 0, 64)}),
    "a shape of nothing": safetensors_file({"a": tensor([0, 2**62], 0, 0), "b": tensor([16], 0, 64)}),
    "a negative shape": safetensors_file({"a": tensor([-16], 0, 64)}),
    "values before the start": safetensors_file({"a": tensor([16], -64, 0)}),
    "an unknown type": safetensors_file({"a": tensor([16], 0, 64, "F3")}),
    "a rare type": safetensors_file({"a": tensor([64], 0, 64, "F8_E8M0")}),
    "a deep header": safetensors_file(DEEP.encode()),
    "a deep field": safetensors_file({"__metadata__": {FORMAT.name: DEEP}, "a": tensor([16], 0, 64)}),
    "no text for metadata": safetensors_file({"__metadata__": [], "a": tensor([16], 0, 64)}),
    "one name twice": safetensors_file(
        b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'
    ),
    "no umc_version": safetensors_file({"__metadata__": METADATA, "a": tensor([16], 0, 64)}),
}


@pytest.mark.usefixtures("soon_and_small")
@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("read", WEIGHT_READERS[1:])
def test_a_forged_header_is_refused(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(HEADERS[name])
    with pytest.raises(SettingsError) as error:
        read(path)
    assert error.value.hint


@pytest.mark.usefixtures("soon_and_small")
@pytest.mark.parametrize("claim", [{"ngf": 1024, "n_blocks": 64}, {"film_hidden": 65_536}, {"film_widths": [4096] * 3}])
def test_a_network_that_its_file_cannot_hold_is_never_built(tmp_path: Path, claim: dict[str, object]) -> None:
    """1,024 channels and 64 blocks are 77 GB of weights."""
    path = tmp_path / "generator.safetensors"
    small = GeneratorSettings(ngf=2, n_blocks=1, film_widths=(2, 2, 2), film_hidden=4)
    save_generator(path, Generator(small), Normalisation(mean_db=-60, std_db=15))
    checkpoint = read_checkpoint(path)
    checkpoint.metadata["generator"].update(claim)
    write_checkpoint(path, checkpoint.tensors, checkpoint.metadata)
    started = time.process_time()
    with pytest.raises(SettingsError, match=r"must be|lacks the tensor"):
        load_generator(path)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("read", WEIGHT_READERS)
def test_endless_weights_are_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "x.safetensors").symlink_to("/dev/zero")
    with pytest.raises(SettingsError, match=r"not a regular file|no file of differences"):
        read(tmp_path / "x.safetensors")


# ---- nothing is unpickled or evaluated


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self._sprung = sprung

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._sprung),)


def _zip_of_torch(trap: Trap) -> bytes:
    content = io.BytesIO()
    torch.save({"weight": trap}, content)
    return content.getvalue()


@pytest.mark.parametrize("pack", [pickle.dumps, _zip_of_torch], ids=["pickle", "torch.save"])
@pytest.mark.parametrize("name", ["x.safetensors", "best.safetensors"])
@pytest.mark.parametrize("read", WEIGHT_READERS)
def test_a_pickle_is_refused_and_not_run(
    tmp_path: Path, read: Callable[[Path], object], name: str, pack: Callable[[Trap], bytes]
) -> None:
    content = pack(Trap(tmp_path / "sprung"))
    assert not (tmp_path / "sprung").exists()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match="truncated, corrupt"):
        read(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_a_run_with_a_pickle_for_weights_is_left_out(workspace: Path, umc: Umc) -> None:
    (workspace / "runs/a").mkdir(parents=True)
    (workspace / "runs/a/best.safetensors").write_bytes(pickle.dumps(Trap(workspace / "sprung")))
    assert umc("eval", "--devices", "all").exit_code == 2
    options = ("--source", SOURCE, "--targets", TARGET, "--checkpoint", "runs/a/best.safetensors")
    assert umc("convert", *options).exit_code == 2
    assert not (workspace / "sprung").exists()


def test_the_code_has_nothing_that_runs_what_it_reads() -> None:
    banned = re.compile(
        r"\bpickle\b(?!d|s)|(?<!safetensors\.)\btorch\.load\(|\bnp\.load\(|allow_pickle|\bjoblib\b|\byaml\b|(?<![.\w])eval\(|(?<![.\w])exec\("
        r"|\bshelve\b|\bmarshal\b|shell=True|\bos\.system\("
    )
    files = sorted((PROJECT / "umc_cli").rglob("*.py"))
    assert len(files) > 100
    found = [
        f"{path}:{number}: {line}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if banned.search(line)
    ]
    assert found == []


# ---- text


@pytest.mark.parametrize(
    "text", [DEEP, '{"a":' * 100_000, "[" * 200 + "]" * 200, "9" * 5_000, "[" * 70 + "1" + "]" * 70]
)
def test_deep_and_endless_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|digits"):
        parse_json(text)


def test_json_as_deep_as_ours_is_read() -> None:
    content = json.loads("[" * 60 + "]" * 60)
    assert parse_json(json.dumps(content)) == content


@pytest.mark.parametrize(
    "claim", [{"n_segments": 10**12}, {"n_segments": -1}, {"sample_rate_hz": 0}, {"n_segments": 2**70}]
)
def test_a_plan_that_claims_too_much_is_refused(tmp_path: Path, claim: dict[str, int]) -> None:
    file = {"size_bytes": 1, "sample_rate_hz": 22_050, "channels": 1, "frames": 1, "n_segments": 1} | claim
    planned = PlannedFile("x.wav", "a", "x", "val-sec", extra={}, **file)
    # Written by hand: the writer counts the shards of the plan.
    content = {"source": SOURCE, "settings": {}, "shard_size": 1, "files": [asdict(planned)]}
    head = {"format": "umc-run", "format_version": 1, "run_id": hash_of(content), "targets": {}, "failed": []}
    (tmp_path / "run.json").write_text(plan_text(head | content))
    with pytest.raises(SettingsError, match=r"run\.json cannot be read: (it claims|a count)"):
        read_plan(tmp_path)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
XML: dict[str, str] = {
    "milliard laughs": f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]><a>&l11;</a>',
    "a file of the system": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><microphone>&x;</microphone></a>',
    "deep": "<a>" * 100_000 + "</a>" * 100_000,
    "deep, open": "<a>" * 100_000,
}


@pytest.mark.usefixtures("soon_and_small")
@pytest.mark.parametrize("name", XML)
def test_hostile_xml_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "curve.xml").write_text(XML[name])
    with pytest.raises(InputError) as error:
        read_curve_file(tmp_path / "curve.xml")
    assert "root:" not in str(error.value)


def test_a_file_named_with_thousands_of_letters_is_an_error_of_ours(workspace: Path, umc: Umc) -> None:
    (workspace / "umc.toml").write_text(f'[convert]\nsource = "{SOURCE}"\ntargets = ["synth:{"x" * 5_000}"]\n')
    run = umc("convert")
    assert run.exit_code == 2
    assert "Traceback" not in run.stderr


# ---- names and links


NAMES = [
    "../../out",
    "/tmp/umc-out",
    "a\nb",
    "..\\..\\out",
    "C:\\out",
    "x" * 5_000,
    "<script>alert(1)</script>",
    "a\0b",
    ".",
    "..",
]


def test_no_name_in_a_manifest_leaves_the_output(workspace: Path, umc: Umc) -> None:
    audio = write_audio(workspace / f"data/{SOURCE}/a/good0.wav", noise(2))
    lines = [
        {"path": str(audio.with_name(f"good{2 * (index % 2)}.wav")), "device": SOURCE, "label": "a", "room": "x"}
        | changed
        for index, changed in enumerate({field: name} for field in ("device", "label", "room") for name in NAMES)
    ]
    for index, line in enumerate(lines):
        copy = workspace / f"copies/{index}.wav"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(audio.read_bytes())
        line["path"] = f"../copies/{index}.wav"
    (workspace / "data/manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    outside = {path for path in workspace.parent.rglob("*") if "converted" not in path.parts}
    run = umc("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq")
    assert run.exit_code == 1
    assert "Traceback" not in run.stderr
    written = {path for path in workspace.parent.rglob("*") if "converted" not in path.parts} - outside
    assert written == set()
    assert {path.name for path in (workspace / "converted").iterdir()} == {
        ".umc.lock", "run.json", "recording_times.jsonl", "builds.jsonl", TARGET, "failed.csv"
    }  # fmt: skip
    assert umc("shards", "verify", "converted").exit_code == 0


@pytest.mark.parametrize("name", NAMES)
def test_no_target_or_run_leaves_its_folder(workspace: Path, umc: Umc, name: str) -> None:
    run = umc("convert", "--source", SOURCE, "--targets", name, "--converter", "eq")
    assert run.exit_code == 2
    assert umc("train", "--name", name, "--preset", "smoke").exit_code == 2
    assert not (workspace / "converted").exists()
    assert not (workspace / "runs").exists()


@pytest.mark.parametrize("place", [SOURCE, f"{SOURCE}/a", f"{SOURCE}/a/x.wav"])
def test_links_in_the_data_folder_are_followed_and_only_audio_is_read(
    workspace: Path, convert: Umc, place: str
) -> None:
    """What is promised: a link is followed wherever it leads; what is no audio is listed, not shown."""
    secret = workspace.parent / "secret"
    (secret / "a").mkdir(parents=True)
    (secret / "a/x.wav").write_text("root:secret\n" * 99)
    (workspace / f"data/{SOURCE}").rename(workspace / "kept")
    (workspace / "data" / place).parent.mkdir(parents=True, exist_ok=True)
    aim = {SOURCE: secret, f"{SOURCE}/a": secret / "a"}.get(place, secret / "a/x.wav")
    (workspace / "data" / place).symlink_to(aim)
    write_audio(workspace / f"data/{SOURCE}/b/good.wav", noise(2))
    assert len(find_recordings(workspace / "data").clips) == 2
    before = {path.relative_to(secret): path.stat().st_mtime_ns for path in (secret / "a").iterdir()}
    run = convert()
    assert run.exit_code == 1
    assert "root:secret" not in run.stderr + run.stdout + (workspace / "converted/failed.csv").read_text()
    assert {path.relative_to(secret): path.stat().st_mtime_ns for path in (secret / "a").iterdir()} == before
