"""Whatever people hand to `umc`: a clear message with file and remedy, a true exit code, and the good files done."""

import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.samples import SOURCE, TARGET, Run, noise, plan_text, write_audio
from umc_cli.errors import InputError
from umc_cli.response.device import DeviceRegistry, write_device
from umc_cli.shards.schema import check_shard

Umc = Callable[..., Run]
Edit = Callable[[Path], object]

N_GOOD_SEGMENTS = 8
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def failures(workspace: Path, output: str = "converted") -> dict[str, tuple[str, str]]:
    """Return what failed.csv says: reason and hint by path."""
    path = workspace / output / "failed.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: (row["reason"], row["hint"]) for row in csv.DictReader(file)}


def rows(workspace: Path, target: str = TARGET, output: str = "converted") -> list[str]:
    """Return the source path of every row."""
    paths: list[str] = []
    for shard in sorted((workspace / output / target).glob("shard-*.h5")):
        with h5py.File(shard) as file:
            paths += file["source_path"].asstr()[()].tolist()
            assert np.isfinite(file["log_mel"][()].astype(np.float32)).all()
    return paths


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial-*"))


def assert_clean(run: Run, exit_code: int) -> None:
    assert "Traceback" not in run.stderr
    assert "Exception ignored" not in run.stderr
    assert run.exit_code == exit_code, run.stderr


def patched(path: Path, **fields: tuple[int, str, int]) -> Path:
    """Overwrite fields of a canonical WAV header: offset, struct format, value."""
    content = bytearray(path.read_bytes())
    for offset, code, value in fields.values():
        struct.pack_into(code, content, offset, value)
    path.write_bytes(content)
    return path


def halved(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def with_values(*values: float) -> np.ndarray:
    samples = noise()
    samples[5_000 : 5_000 + len(values)] = values
    return samples


def not_a_number(path: Path) -> None:
    write_audio(path, with_values(np.nan), subtype="FLOAT")


def write_half(path: Path) -> None:
    halved(write_audio(path))


BAD_FILES: dict[str, tuple[str, Edit, str]] = {
    "zero bytes": ("wav", lambda path: path.write_bytes(b""), "has zero bytes"),
    "truncated WAV header": (
        "wav",
        lambda path: path.write_bytes(write_audio(path).read_bytes()[:20]),
        "cannot be decoded",
    ),
    "truncated FLAC header": (
        "flac",
        lambda path: path.write_bytes(write_audio(path).read_bytes()[:20]),
        "cannot be decoded",
    ),
    "half a WAV": ("wav", write_half, "truncated|ends"),
    "half a FLAC": ("flac", write_half, "ends|cannot be decoded"),
    "half an AIFF": ("aiff", write_half, "truncated|ends"),
    "half an OGG": ("ogg", write_half, "truncated|ends"),
    "half an MP3": ("mp3", write_half, "truncated|ends"),
    "text": ("wav", lambda path: path.write_text("hello, this is text\n" * 99), "cannot be decoded"),
    "text as MP3": (
        "mp3",
        lambda path: path.write_text("hello, this is text\n" * 99),
        "cannot be decoded: Format not rec",
    ),
    "NaN": ("wav", not_a_number, "NaN"),
    "infinite": ("wav", lambda path: write_audio(path, with_values(np.inf, -np.inf), subtype="FLOAT"), "NaN or inf"),
    "absurd": ("wav", lambda path: write_audio(path, with_values(1e30), subtype="FLOAT"), "NaN or inf|full scale"),
    "silent": ("wav", lambda path: write_audio(path, np.zeros(44_100)), "is silent"),
    "short": ("wav", lambda path: write_audio(path, noise(0.02)), "shorter than one frame"),
    "no samples": ("wav", lambda path: write_audio(path, np.zeros(0)), "shorter than one frame|zero"),
    "1 Hz": ("wav", lambda path: patched(write_audio(path), rate=(24, "<I", 1)), "sample rate of 1 Hz"),
    "0 Hz": ("wav", lambda path: patched(write_audio(path), rate=(24, "<I", 0)), "cannot be decoded|sample rate"),
    "2 GHz": ("wav", lambda path: patched(write_audio(path), rate=(24, "<I", 2**31 - 1)), "short|sample rate|decoded"),
    "0 channels": ("wav", lambda path: patched(write_audio(path), channels=(22, "<H", 0)), "cannot be decoded"),
    "folder": ("wav", Path.mkdir, "is a folder"),
    "named pipe": ("wav", os.mkfifo, "not a regular file"),
    "link to itself": ("wav", lambda path: path.symlink_to(path), "cannot be|does not exist"),
    "dangling link": ("wav", lambda path: path.symlink_to("nowhere.wav"), "does not exist"),
    "link to a device": ("wav", lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_listed_and_the_good_ones_are_converted(workspace: Path, convert: Umc, name: str) -> None:
    suffix, make, reason = BAD_FILES[name]
    make(workspace / f"data/{SOURCE}/a/bad.{suffix}")
    run = convert()
    assert_clean(run, 1)
    listed = failures(workspace)
    assert list(listed) == [f"data/{SOURCE}/a/bad.{suffix}"]
    said, remedy = listed[f"data/{SOURCE}/a/bad.{suffix}"]
    assert any(part in said for part in reason.split("|")), said
    assert remedy
    assert f"bad.{suffix}: {said}" in run.stderr
    assert len(rows(workspace)) == N_GOOD_SEGMENTS
    again = convert("--json")
    assert_clean(again, 1)
    assert (again.json["n_files"], again.json["n_shards_written"], len(again.json["failed"])) == (4, 0, 1)


@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
def test_an_unreadable_file_is_listed(workspace: Path, convert: Umc) -> None:
    (workspace / f"data/{SOURCE}/a/good0.wav").chmod(0)
    assert_clean(convert(), 1)
    assert "permission denied" in failures(workspace)[f"data/{SOURCE}/a/good0.wav"][0]


def test_a_refused_permission_is_listed(workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("good0.wav"))
    assert_clean(convert(), 1)
    assert "permission denied" in failures(workspace)[f"data/{SOURCE}/a/good0.wav"][0]


GOOD_FILES: dict[str, tuple[str, dict[str, object]]] = {
    "384 kHz": ("wav", {"samples": noise(rate_hz=384_000), "rate_hz": 384_000}),
    "64 channels": ("wav", {"samples": noise(channels=64)}),
    "mp3": ("mp3", {}),
    "ogg": ("ogg", {}),
    "aiff": ("aiff", {}),
    "flac, 24 bit": ("flac", {"subtype": "PCM_24"}),
    "8 bit": ("wav", {"subtype": "PCM_U8"}),
    "64-bit float": ("wav", {"subtype": "DOUBLE"}),
    "big-endian": ("wav", {"endian": "BIG"}),
    "upper case": ("WAV", {"format": "WAV"}),
}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_unusual_files_are_converted(workspace: Path, convert: Umc, name: str) -> None:
    suffix, options = GOOD_FILES[name]
    write_audio(workspace / f"data/{SOURCE}/a/unusual.{suffix}", **options)  # type: ignore[arg-type]
    assert_clean(convert(), 0)
    assert rows(workspace).count(f"data/{SOURCE}/a/unusual.{suffix}") == 2


def test_silence_in_a_long_recording_does_not_fail_it(workspace: Path, convert: Umc) -> None:
    samples = np.concatenate([np.zeros(2 * 20_480, np.float32), noise(2)])
    write_audio(workspace / f"data/{SOURCE}/a/late.wav", samples)
    assert_clean(convert("--shard-size", "1"), 0)
    assert len(rows(workspace)) == N_GOOD_SEGMENTS + 4


def test_a_file_that_vanishes_after_planning_is_listed(
    workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umc_cli.workflows import convert as workflow

    doomed = workspace / f"data/{SOURCE}/a/good0.wav"
    plan_files = workflow.plan_files
    monkeypatch.setattr(workflow, "plan_files", lambda *args: (plan_files(*args), doomed.unlink())[0])
    assert_clean(convert(), 1)
    assert "does not exist" in failures(workspace)[f"data/{SOURCE}/a/good0.wav"][0]
    assert len(rows(workspace)) == N_GOOD_SEGMENTS - 2


@pytest.mark.parametrize("converter", ["eq", "quantile"])
def test_names_that_are_not_utf8_are_listed(workspace: Path, umc: Umc, converter: str) -> None:
    for index in range(6):
        write_audio(workspace / f"data/{SOURCE}/a/more{index}.wav", noise(20, seed=index))
        write_audio(workspace / f"data/{TARGET}/a/more{index}.wav", noise(20, seed=9 + index))
    good = (workspace / f"data/{SOURCE}/a/good0.wav").read_bytes()
    folder = os.fsencode(workspace / f"data/{SOURCE}")
    try:
        for name in (b"a/caf\xe9.wav", b"stray-\xff.wav"):
            Path(os.fsdecode(folder + b"/" + name)).write_bytes(good)
    except OSError:
        pytest.skip("this file system allows no such names")
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", converter, "--json")
    for _ in range(2):  # the second run must be able to read what the first one wrote
        run = umc(*command)
        assert_clean(run, 1)
        reasons = failures(workspace)
        assert any("caf" in path and "UTF-8" in reason for path, (reason, _) in reasons.items())
        assert any("stray" in path and "does not lie in" in reason for path, (reason, _) in reasons.items())
        assert len(run.json["failed"]) == 2
    assert_clean(umc("shards", "verify", "converted"), 0)


# ---- lists of files


NAMES = [f"data/{SOURCE}/a/good0.wav", f"data/{SOURCE}/b/good1.wav"]


@pytest.mark.parametrize(
    "content", ["\n".join(NAMES), "\r\n".join(NAMES) + "\r\n", "\0".join(NAMES), "\0".join(NAMES) + "\0"]
)
def test_files_come_from_standard_input(
    workspace: Path, umc: Umc, convert: Umc, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (workspace / "list").write_bytes(content.encode())
    with (workspace / "list").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        run = convert("--json", "-")
    assert_clean(run, 0)
    assert rows(workspace) == [name for name in NAMES for _ in range(2)]
    assert run.json["n_files"] == 2


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\0"])
def test_an_empty_list_is_refused(
    workspace: Path, umc: Umc, convert: Umc, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (workspace / "list").write_bytes(content)
    with (workspace / "list").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        run = convert("-")
    assert_clean(run, 2)
    assert "no recordings" in run.stderr
    assert "list audio files" in run.stderr


def test_a_closed_standard_input_is_an_empty_list(convert: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert_clean(convert("-"), 2)


def test_listed_files_that_cannot_be_used(workspace: Path, convert: Umc) -> None:
    good = f"data/{SOURCE}/a/good0.wav"
    write_audio(workspace / "data/other/a/x.wav")
    (workspace / "sound.raw").write_bytes(bytes(99_999))
    (workspace / "notes.txt").write_text("text")
    bad = ["missing.wav", f"./{good}", "data/other/a/x.wav", "sound.raw", "notes.txt", ".", "/", "x" * 300 + ".wav"]
    run = convert(good, *bad, "--json")
    assert_clean(run, 1)
    assert rows(workspace) == [good, good]
    assert run.json["n_files"] == 1
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in run.json["failed"]}
    assert len(run.json["failed"]) == len(bad)
    assert reasons["missing.wav"] == "does not exist"
    assert reasons["good0.wav"] == "listed twice"
    assert "recording of other" in reasons["x.wav"]
    assert "cannot be decoded" in reasons["sound.raw"]
    assert "too long" in reasons["x" * 300 + ".wav"]


def test_all_inputs_bad_is_no_success(workspace: Path, convert: Umc) -> None:
    (workspace / "bad.wav").write_bytes(b"")
    run = convert("bad.wav")
    assert_clean(run, 1)
    assert list(failures(workspace)) == ["bad.wav"]


# ---- the data folder and its manifest


def write_manifest(workspace: Path, lines: list[str], name: str = "manifest.csv") -> Path:
    path = workspace / "data" / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


GOOD_ROWS = [f"{SOURCE}/{'ab'[index % 2]}/good{index}.wav,{SOURCE},{'ab'[index % 2]},val-sec" for index in range(4)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD_ROWS[0], "already listed in line 2"),
        (f"./{SOURCE}//a/good0.wav,{SOURCE},a,val-sec", "already listed in line 2"),
        (f"x.wav,{SOURCE},a,testing", "unknown split 'testing'"),
        (f"x.wav,{SOURCE},,", "has no label"),
        (f",{SOURCE},a,", "has no path"),
        ("x.wav,,a,", "has no device"),
        ("x.wav,../x,a,", "not a device id"),
        (f"x.wav,{SOURCE},a", "does not have as many fields"),
        (f"x.wav,{SOURCE},a,,too,many", "does not have as many fields"),
        (f"x.wav,{SOURCE},a,", "does not exist"),
        (f".,{SOURCE},a,", "is a folder"),
        (f"/,{SOURCE},a,", "is a folder"),
        (f"{'x' * 300}.wav,{SOURCE},a,", "too long"),
    ],
)
def test_a_bad_row_of_a_manifest_is_listed(workspace: Path, convert: Umc, line: str, reason: str) -> None:
    write_manifest(workspace, ["path,device,label,split", *GOOD_ROWS, line])
    run = convert("--json")
    assert_clean(run, 1)
    assert run.json["n_files"] == 4
    (entry,) = run.json["failed"]
    assert reason in entry["reason"]
    if "does not exist" not in reason and "folder" not in reason and "too long" not in reason:
        assert "manifest.csv line 6" in entry["reason"]
    assert entry["hint"]
    assert len(rows(workspace)) == N_GOOD_SEGMENTS


@pytest.mark.parametrize(
    "text",
    [
        "this is no JSON",
        "[1, 2]",
        '{"path": "x.wav"}',
        '{"path": "a\\u0000.wav", "device": "xperia1v", "label": "a"}',
        '{"path": "x.wav", "device": "xperia1v", "label": "\\ud800"}',
        '{"path": "x\\udcff.wav", "device": "xperia1v", "label": "a"}',
        '{"path": "x.wav", "device": "xperia1v", "label": "a", "extra\\u0000": "b"}',
    ],
)
def test_a_bad_line_of_a_jsonl_manifest_is_listed(workspace: Path, convert: Umc, text: str) -> None:
    lines = [dict(zip(("path", "device", "label", "split"), row.split(","), strict=True)) for row in GOOD_ROWS]
    write_manifest(workspace, [*map(json.dumps, lines), text], "manifest.jsonl")
    for _ in range(2):
        run = convert("--json")
        assert_clean(run, 1)
        assert (run.json["n_files"], len(run.json["failed"])) == (4, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'path'"),
        (b"path,label\nx.wav,a\n", "no column 'device'"),
        (b"path,device\nx.wav,a\n", "no column 'label'"),
        (b"path/device/label\nx.wav/b/a\n", "no column 'path'"),
        (b"path,device,label,label\nx.wav,b,a,c\n", "column 'label' twice"),
        (b'path,device,label\n"x.wav,b,a\n', "cannot be read"),
        (b"path,device,label\n\xff\xfe,b,a\n", "cannot be read"),
        (b"path,device,label\n", "no recordings"),
    ],
)
def test_a_manifest_that_is_no_table_is_refused(workspace: Path, convert: Umc, content: bytes, message: str) -> None:
    (workspace / "data/manifest.csv").write_bytes(content)
    run = convert()
    assert_clean(run, 2)
    assert message in run.stderr
    assert "Hint:" in run.stderr


@pytest.mark.parametrize("name", [".", "a/b", "", "weird name [/]", "\N{SNOWMAN}"])
def test_further_columns_of_any_name_are_carried_or_refused(workspace: Path, convert: Umc, name: str) -> None:
    write_manifest(workspace, [f"path,device,label,split,{name}", *(f"{row},x" for row in GOOD_ROWS)])
    run = convert()
    assert "Traceback" not in run.stderr
    assert run.exit_code in (0, 2)


def test_a_device_folder_that_is_no_device_id_is_no_target(workspace: Path, umc: Umc) -> None:
    for device, seed in ((SOURCE, 0), ("my phone", 9), (TARGET, 19)):
        for index in range(6):
            write_audio(workspace / f"data/{device}/a/x{index}.wav", noise(10, seed=seed + index))
    run = umc("convert", "--source", SOURCE, "--converter", "quantile", "--json")
    assert_clean(run, 0)
    assert run.json["targets"] == [TARGET]
    run = umc("convert", "--source", "my phone")
    assert_clean(run, 2)
    assert "'my phone' is not a device id" in run.stderr


def test_loops_of_links_end(workspace: Path, convert: Umc) -> None:
    (workspace / f"data/{SOURCE}/a/loop").symlink_to(workspace / f"data/{SOURCE}")
    assert_clean(convert(), 1)
    assert len(rows(workspace)) == N_GOOD_SEGMENTS
    assert all("symbolic link" in reason for reason, _ in failures(workspace).values())


def test_no_data_folder(workspace: Path, convert: Umc) -> None:
    shutil.rmtree(workspace / "data")
    run = convert()
    assert_clean(run, 2)
    assert "no data folder" in run.stderr


# ---- options, umc.toml, environment


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "../x"], "'../x' is not a device id"),
        (["--source", "nobody"], "no recordings of 'nobody'"),
        (["--source", ""], "'' is not a device id"),
        (["--targets", "../x"], "'../x' is not a device id"),
        (["--targets", "pixel3,nobody"], "unknown device 'nobody'"),
        (["--targets", SOURCE], "is the source itself"),
        (["--targets", ","], "target"),
        (["--targets", f"all,{TARGET}"], "target 'all' stands for no device"),
        (["--targets", "ALL"], "target 'ALL' stands for no device"),
        (["--converter", "magic"], "unknown converter 'magic'"),
        (["--converter", "quantile"], "quantile lacks recordings of pixel3"),
        (["--converter", "film_gan", "--checkpoint", "nowhere"], "cannot read checkpoint nowhere"),
        (["--checkpoint", f"data/{SOURCE}/a/good0.wav", "--converter", "film_gan"], "good0.wav"),
        (["--label", "c"], "has label 'c'"),
        (["--split", "test"], "has split 'test'"),
        (["--hop", "0"], "hop"),
        (["--hop", "-5"], "hop"),
        (["--hop", "1" + 30 * "0"], "hop"),
        (["--hop", "many"], "hop"),
        (["--batch-size", "-1"], "--batch-size is "),
        (["--batch-size", "0"], "--batch-size is "),
        (["--workers", "0"], "workers"),
        (["--shard-size", "0"], "--shard-size is "),
        (["--silence-gate", "nan"], "--silence-gate is "),
        (["--silence-gate", "3"], "--silence-gate is "),
        (["--remainder", "most"], "remainder"),
        (["--short-clips", "stretch"], "--short-clips is "),
        (["--dtype", "int8"], "dtype"),
        (["--engine", "steam"], "engine"),
        (["--precision", "fp8"], "precision"),
        (["--compute-device", "tpu"], "unknown compute device 'tpu'"),
        (["--compute-device", "cuda:99"], "cuda:99"),
        (["--no-such-option"], "no-such-option"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_before_anything_is_written(
    workspace: Path, convert: Umc, options: list[str], message: str
) -> None:
    run = convert(*options)
    assert_clean(run, 2)
    assert message in run.stderr
    assert run.stdout == ""
    assert not list(workspace.glob("converted/**/*.h5"))


def test_a_workspace_with_records_of_its_own_still_knows_the_library(workspace: Path, convert: Umc, umc: Umc) -> None:
    write_device(DeviceRegistry().get(SOURCE), workspace / "devices")
    assert_clean(convert(), 0)
    run = umc("convert", "--source", SOURCE, "--targets", "nobody")
    assert_clean(run, 2)
    assert "known devices: pixel3, " in run.stderr


def test_a_source_without_recordings_is_refused_though_others_failed(workspace: Path, convert: Umc) -> None:
    (workspace / "data/stray.wav").write_bytes(b"")
    run = convert("--source", "pixel3-back")
    assert_clean(run, 2)
    assert "no recordings of 'pixel3-back'" in run.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[convert\n", "not valid TOML"),
        ("[convert]\nhop = 3\n", "'hop' from umc.toml [convert]"),
        ("[convert]\nhop_samples = 0\n", "'hop_samples' from umc.toml [convert]"),
        ("convert = 3\n", "not a section"),
        ("[workspace]\ndata = 3\n", "data"),
        ("[workspace]\nfiles = 'x'\n", "unknown name 'files'"),
        ("workspace = 3\n", "workspace"),
        ("[workspace]\ndata = '~nobody-at-all/x'\n", "nobody-at-all"),
        ('[convert]\ncheckpoint = "a\\u0000b"\n', "'checkpoint' from umc.toml [convert] holds a zero byte"),
        ('[convert]\noutput = "~\\u0000"\n', "'output' from umc.toml [convert] holds a zero byte"),
        ('[convert]\nlabel = ["a", "\\u0000"]\n', "'label' from umc.toml [convert] holds a zero byte"),
    ],
)
def test_a_broken_umc_toml_is_refused(workspace: Path, convert: Umc, content: str, message: str) -> None:
    (workspace / "umc.toml").write_text(content)
    run = convert()
    assert_clean(run, 2)
    assert message in run.stderr
    assert "umc.toml" in run.stderr
    assert "Hint:" in run.stderr


def test_umc_toml_that_is_not_utf8_is_refused(workspace: Path, convert: Umc) -> None:
    (workspace / "umc.toml").write_bytes(b"# caf\xe9\n")
    assert_clean(convert(), 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("UMC_CONVERT_BATCH_SIZE", "many", "'batch_size' from the environment"),
        ("UMC_CONVERT_HOPS", "256", "'hops' from the environment"),
        ("UMC_CONVERT_DTYPE", "", "'dtype' from the environment"),
        ("UMC_DATA", "/nowhere", "no data folder /nowhere"),
    ],
)
def test_a_wrong_variable_is_refused(
    convert: Umc, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    run = convert()
    assert_clean(run, 2)
    assert message in run.stderr


# ---- devices


def test_devices_that_are_broken_or_unknown(workspace: Path, umc: Umc) -> None:
    for name in ("nobody", "../pixel3", "/etc/passwd", "", "."):
        run = umc("devices", "show", name)
        assert_clean(run, 2)
        assert "Hint:" in run.stderr
    (workspace / "devices").mkdir()
    for content, message in {
        "{": "not JSON",
        "[]": "not a device record",
        '{"format": "umc-device"}': "version",
    }.items():
        (workspace / "devices/mine.json").write_text(content)
        for command in (["devices"], ["devices", "show", "mine"], ["convert", "--source", SOURCE, "--targets", "mine"]):
            run = umc(*command)
            assert_clean(run, 2)
            assert message in run.stderr
            assert "mine.json" in run.stderr


# ---- the output folder


def as_file(path: Path) -> None:
    path.write_text("a file")


@pytest.mark.parametrize("place", ["converted", f"converted/{TARGET}"])
def test_an_output_that_is_a_file(workspace: Path, convert: Umc, place: str) -> None:
    (workspace / place).parent.mkdir(exist_ok=True)
    (workspace / place).write_text("precious")
    run = convert()
    assert_clean(run, 3)
    assert place in run.stderr
    assert (workspace / place).read_text() == "precious"


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no file system here that refuses even root")
def test_an_output_that_nobody_may_write(convert: Umc) -> None:
    run = convert("--output", "/sys/kernel/umc")
    assert_clean(run, 3)
    assert "cannot write /sys/kernel/umc" in run.stderr
    assert "choose another --output" in run.stderr


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_a_read_only_output(workspace: Path, convert: Umc) -> None:
    (workspace / "converted").mkdir(mode=0o500)
    run = convert()
    assert_clean(run, 3)
    assert "make the folder writable" in run.stderr


def edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    for name, value in changes.items():
        content.pop(name) if value is None else content.update({name: value})
    path.write_text(plan_text(content))


BROKEN_PLANS: dict[str, Edit] = {
    "empty": lambda path: path.write_text(""),
    "not JSON": lambda path: path.write_text("{"),
    "cut": halved,
    "a list": lambda path: path.write_text("[]"),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xff"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "no files": lambda path: edit_json(path, files=None),
    "no targets": lambda path: edit_json(path, targets=None),
    "targets a list": lambda path: edit_json(path, targets=["pixel3"]),
    "settings a text": lambda path: edit_json(path, settings="x"),
    "shard size a text": lambda path: edit_json(path, shard_size="x"),
    "shard size 0": lambda path: edit_json(path, shard_size=0),
    "file without rows": lambda path: edit_json(path, files=[{"path": "x"}]),
    "text for numbers": lambda path: path.write_text(re.sub(r'"frames": (\d+)', r'"frames": "\1"', path.read_text())),
    "changed by hand": lambda path: path.write_text(path.read_text().replace("good0", "good9")),
    "later version": lambda path: edit_json(path, format_version=99),
    "other format": lambda path: edit_json(path, format="x"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_PLANS)
def test_a_broken_plan_is_refused_and_can_be_overwritten(workspace: Path, convert: Umc, umc: Umc, name: str) -> None:
    assert_clean(convert(), 0)
    path = workspace / "converted/run.json"
    BROKEN_PLANS[name](path)
    for run in (convert(), umc("shards", "converted"), umc("shards", "verify", "converted")):
        assert_clean(run, 2)
        assert "run.json" in run.stderr
        assert "Hint:" in run.stderr
    if path.is_dir():
        return
    assert_clean(convert("--overwrite"), 0)
    assert_clean(umc("shards", "verify", "converted"), 0)


OTHER_RUNS = {
    "hop": ["--hop", "10240"],
    "dtype": ["--dtype", "float32"],
    "shard size": ["--shard-size", "3"],
    "labels": ["--label", "a"],
    "converter": ["--converter", "eq_noise"],
    "source": ["--source", "pixel3-back"],
    "fewer files": [f"data/{SOURCE}/a/good0.wav"],
}


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_the_output_of_another_run_is_refused(workspace: Path, convert: Umc, umc: Umc, name: str) -> None:
    write_audio(workspace / "data/pixel3-back/a/x.wav")
    assert_clean(convert(), 0)
    before = {path: path.read_bytes() for path in workspace.glob("converted/**/*.h5")}
    run = convert(*OTHER_RUNS[name])
    assert_clean(run, 2)
    assert "holds the results of another run" in run.stderr
    assert "--overwrite" in run.stderr
    assert {path: path.read_bytes() for path in workspace.glob("converted/**/*.h5")} == before
    assert_clean(convert(*OTHER_RUNS[name], "--overwrite"), 0)
    assert_clean(umc("shards", "verify", "converted"), 0)


def test_changed_recordings_are_refused(workspace: Path, convert: Umc) -> None:
    assert_clean(convert(), 0)
    write_audio(workspace / f"data/{SOURCE}/a/new.wav")
    run = convert()
    assert_clean(run, 2)
    assert "1 new" in run.stderr


def test_shards_without_a_plan_are_not_mixed_with_ours(workspace: Path, convert: Umc) -> None:
    assert_clean(convert("--shard-size", "2"), 0)
    (workspace / "converted/run.json").unlink()
    before = {path: path.read_bytes() for path in workspace.glob("converted/**/*.h5")}
    run = convert("--shard-size", "4")
    assert_clean(run, 2)
    assert "run.json" in run.stderr
    assert {path: path.read_bytes() for path in workspace.glob("converted/**/*.h5")} == before
    assert_clean(convert("--shard-size", "4", "--overwrite"), 0)
    assert len(rows(workspace)) == N_GOOD_SEGMENTS


def test_a_mended_recording_is_converted_by_the_next_run(workspace: Path, convert: Umc) -> None:
    """The remedy that failed.csv gives must work, even where the mended file is as long as the bad one."""
    bad = workspace / f"data/{SOURCE}/a/bad.wav"
    not_a_number(bad)
    assert_clean(convert(), 1)
    write_audio(bad, noise(), subtype="FLOAT")
    assert_clean(convert(), 0)
    assert len(rows(workspace)) == N_GOOD_SEGMENTS + 2
    assert not failures(workspace)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format_version": 99}',
        '{"format_version": 1, "devices": []}',
        '{"format_version": 1, "devices": {"xperia1v": {}, "other": {}, "third": 3}}',
    ],
)
def test_broken_level_tables_are_measured_again(workspace: Path, umc: Umc, content: str) -> None:
    for device, seed in ((SOURCE, 0), (TARGET, 50)):
        for index in range(6):
            write_audio(workspace / f"data/{device}/a/x{index}.wav", noise(10, seed=seed + index))
    (workspace / "converted").mkdir()
    (workspace / "converted/level_quantiles.json").write_text(content)
    run = umc("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "quantile")
    assert_clean(run, 0)


# ---- what verify finds


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)


def flip_data(path: Path) -> None:
    with h5py.File(path) as file:
        chunk = file["log_mel"].id.get_chunk_info(0)
    flip(path, chunk.byte_offset + chunk.size // 2)


def change_label(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["label"][0] = "x"


def change_attribute(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["source"] = "someone"


def drop_column(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["label"]


def later_version(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"umc-shard 1", b"umc-shard 99", 1))


def odd_description(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["description"] = "[]"


DAMAGE: dict[str, tuple[Edit, str]] = {
    "flipped byte": (flip_data, "is damaged"),
    "truncated": (halved, "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is not a shard"),
    "not HDF5": (lambda path: path.write_text("text"), "is not a shard"),
    "missing": (Path.unlink, "is missing"),
    "changed label": (change_label, "is damaged"),
    "changed attribute": (change_attribute, "is damaged"),
    "no labels": (drop_column, "is damaged"),
    "later version": (later_version, "begins with 'umc-shard 99'"),
    "description": (odd_description, "is damaged"),
    "another shard's content": (lambda path: shutil.copy(path.with_name("shard-00000.h5"), path), "shard-00001.h5"),
    "another target's content": (
        lambda path: shutil.copy(path.parent.parent / "pixel3-back" / path.name, path),
        "shard-00001.h5",
    ),
    "extra": (lambda path: shutil.copy(path, path.with_name("shard-00007.h5")), "is not in the plan"),
    "other HDF5": (lambda path: h5py.File(path, "w").close(), "not a shard"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be opened"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_finds_damage_and_convert_mends_it(workspace: Path, convert: Umc, umc: Umc, name: str) -> None:
    command = ["--targets", f"{TARGET},pixel3-back", "--shard-size", "4"]
    assert_clean(convert(*command), 0)
    assert_clean(umc("shards", "verify", "converted"), 0)
    path = workspace / f"converted/{TARGET}/shard-00001.h5"
    whole = path.read_bytes()
    damage, message = DAMAGE[name]
    damage(path)
    run = umc("shards", "verify", "converted", "--json")
    assert_clean(run, 1)
    assert run.json["exit_code"] == 1
    assert len(run.json["damaged"]) == 1
    assert message in run.stderr
    listing = umc("shards", "converted")
    assert_clean(listing, listing.exit_code)
    # The remedy: remove the file, convert again.
    for shard in (path, path.with_name("shard-00007.h5")):
        shutil.rmtree(shard) if shard.is_dir() else shard.unlink(missing_ok=True)
    assert_clean(convert(*command), 0)
    assert path.read_bytes() == whole
    assert_clean(umc("shards", "verify", "converted"), 0)


def test_convert_replaces_a_truncated_or_misplaced_shard_by_itself(workspace: Path, convert: Umc) -> None:
    assert_clean(convert("--shard-size", "4"), 0)
    path = workspace / f"converted/{TARGET}/shard-00001.h5"
    whole = path.read_bytes()
    for damage in (halved, lambda path: shutil.copy(path.with_name("shard-00000.h5"), path)):
        damage(path)
        assert_clean(convert("--shard-size", "4"), 0)
        assert path.read_bytes() == whole


def test_no_flipped_byte_of_a_shard_goes_unnoticed(workspace: Path, convert: Umc) -> None:
    """Not even where HDF5 would crash, hang, or see nothing."""
    assert_clean(convert(), 0)
    path = workspace / f"converted/{TARGET}/shard-00000.h5"
    whole = path.read_bytes()
    for offset in [*range(0, 600, 7), *np.random.default_rng(0).choice(len(whole), 200, replace=False)]:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(offset) % 8
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"is damaged|is not a shard"):
            check_shard(path)


def test_shards_of_nothing(workspace: Path, umc: Umc) -> None:
    for command in (["shards", "nowhere"], ["shards", "verify", "data"], ["shards", f"data/{SOURCE}/a/good0.wav"]):
        run = umc(*command)
        assert_clean(run, 2)
        assert "no shards" in run.stderr


# ---- terminals and pipes


def test_json_is_one_object_and_quiet_is_quiet(workspace: Path, convert: Umc, umc: Umc) -> None:
    run = convert("--json", "--quiet")
    assert_clean(run, 0)
    assert (run.json["n_segments"], run.json["exit_code"], run.stderr) == (N_GOOD_SEGMENTS, 0, "")
    run = convert("--quiet")
    assert run.stderr == ""
    assert TARGET in run.stdout
    for command in (["shards", "converted", "--json"], ["shards", "verify", "converted", "--json"]):
        assert umc(*command).json["targets"][0]["n_segments"] == N_GOOD_SEGMENTS
    assert len(umc("devices", "--json").json["devices"]) == 13
    assert umc("devices", "show", TARGET, "--json").json["id"] == TARGET


def test_a_narrow_terminal_loses_nothing(workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / f"data/{SOURCE}/a/bad.wav").write_bytes(b"")
    monkeypatch.setenv("COLUMNS", "40")
    run = convert()
    assert_clean(run, 1)
    assert f"data/{SOURCE}/a/bad.wav: has zero bytes - record or copy it again\n" in run.stderr


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR"])
def test_colours_obey(convert: Umc, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")
    run = convert("--targets", "nobody")
    assert_clean(run, 2)
    assert ("\x1b[" in run.stderr) == (variable == "FORCE_COLOR")


def test_brackets_in_names_are_not_markup(workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = workspace / f"data/{SOURCE}/a/[/bold] [red]x.wav"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"")
    run = convert("--output", "[/dim]out", "--verbose")
    assert_clean(run, 1)
    assert "[/bold] [red]x.wav" in run.stderr
    assert f"[/dim]out/{TARGET}" in run.stdout


def test_any_name_can_be_printed(workspace: Path, convert: Umc, run_umc: Umc) -> None:
    (workspace / f"data/{SOURCE}/a/\N{SNOWMAN}.wav").write_bytes(b"")
    run = convert("--json", "--output", "\N{SNOWMAN}")
    assert_clean(run, 1)
    assert run.stdout.isascii()
    assert run.json["failed"][0]["path"].endswith("\N{SNOWMAN}.wav")
    run = run_umc(
        "convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--output", "\N{SNOWMAN}",
        cwd=workspace, env={"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert_clean(run, 1)
    assert "\\u2603" in run.stdout
    assert "\\u2603.wav" in run.stderr


def test_a_reader_that_has_seen_enough_is_no_error(
    workspace: Path, start_umc: Callable[..., subprocess.Popen[bytes]]
) -> None:
    for command in (["devices"], ["devices", "--json"]):
        with start_umc(*command, cwd=workspace) as process:
            assert process.stdout is not None
            process.stdout.close()
            process.wait(60)
            assert process.stderr is not None
            said = process.stderr.read().decode()
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_result_that_cannot_be_printed_is_a_fault(workspace: Path, run_umc: Umc) -> None:
    with Path("/dev/full").open("wb") as full:
        for command in (["devices"], ["devices", "--json"]):
            assert_clean(run_umc(*command, cwd=workspace, stdout=full), 3)


def test_a_working_folder_that_is_gone(tmp_path: Path, umc: Umc) -> None:
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    run = umc("devices")
    assert_clean(run, 3)
