"""What `umc convert` says: failures of every target, why there is nothing to convert, what was left out."""

import csv
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conversion.devices import device
from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from umc_cli.audio import segments
from umc_cli.audio.manifest import scan_folders
from umc_cli.audio.segments import read_segments
from umc_cli.conversion.chosen.choice import left_out_lines
from umc_cli.conversion.source_recordings import passed_over_text
from umc_cli.errors import InputError
from umc_cli.response.device import write_device
from umc_cli.shards import plan as plans

Umc = Callable[..., Run]


def failed_rows(workspace: Path) -> dict[str, str]:
    with (workspace / "converted/failed.csv").open(newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


# ---- every target counts


@pytest.fixture
def failed_for_the_second(workspace: Path, umc: Umc) -> str:
    """A FLAC file that was converted for one target and then damaged, as long as before; return its path."""
    path = write_audio(workspace / f"data/{SOURCE}/a/x.flac")
    assert umc("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq").exit_code == 0
    status, content = path.stat(), bytearray(path.read_bytes())
    content[2_000:40_000] = bytes(38_000)
    path.write_bytes(content)
    (workspace / "converted/recording_times.jsonl").unlink()  # as of an earlier version: the damage is not noticed
    assert path.stat().st_size == status.st_size
    return f"data/{SOURCE}/a/x.flac"


@pytest.mark.parametrize("targets", [f"{TARGET},xperia1", f"xperia1,{TARGET}"])
@pytest.mark.parametrize("part", [(), ("--part", "1/1")])
def test_an_input_that_failed_for_any_target_is_reported(
    workspace: Path, umc: Umc, failed_for_the_second: str, targets: str, part: tuple[str, ...]
) -> None:
    command = ("convert", "--source", SOURCE, "--targets", targets, "--converter", "eq", *part)
    run = umc(*command, "--json")
    assert run.exit_code == 1
    (entry,) = run.json["failed"]
    assert entry["path"] == failed_for_the_second
    assert entry["reason"].endswith("(only for xperia1)")
    assert run.json["segments_by_target"] == {TARGET: 10, "xperia1": 8}
    assert run.json["n_segments"] == 8
    assert list(failed_rows(workspace)) == [failed_for_the_second]
    shown = umc(*command)
    assert shown.exit_code == 1
    assert re.search(rf"{TARGET} +10 ", shown.stdout)
    assert re.search(r"xperia1 +8 ", shown.stdout)


# ---- nothing to convert, and why


def emptied(workspace: Path) -> Path:
    (workspace / f"data/{SOURCE}").rename(workspace / "away")
    return workspace / "data"


def unlabelled(data: Path) -> None:
    for index in range(3):
        write_audio(data / SOURCE / f"{index}.wav")


def labels_at_the_top(data: Path) -> None:
    write_audio(data / "dog/take/1.wav")
    write_audio(data / "cat/take/1.wav")


def unknown_splits(data: Path) -> None:
    rows = [f"{index}.wav,{SOURCE},a,{split}" for index, split in enumerate(["testing", "testing", "valid"])]
    (data / "manifest.csv").write_text("\n".join(["path,device,label,split", *rows]) + "\n")


def only_text(data: Path) -> None:
    for index in range(2):
        (data / SOURCE / "a").mkdir(parents=True, exist_ok=True)
        (data / SOURCE / f"a/{index}.txt").write_text("x")


NOTHING: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "files without a label": (unlabelled, [f"{SOURCE}/0.wav and 2 more: does not lie in <device>/<label>/", "label"]),
    "labels at the top": (labels_at_the_top, ["there are recordings of: cat, dog", "move them into", "the label"]),
    "unknown splits": (
        unknown_splits,
        ["0.wav and 1 more: unknown split 'testing'", "2.wav: unknown split 'valid'", "known splits: train, val"],
    ),
    "only text": (only_text, ["only files whose names are not those of audio files: 2 .txt", "put recordings into"]),
    "nothing at all": (lambda data: None, ["it holds no files", "put recordings into"]),
    "an empty manifest": (
        lambda data: (data / "manifest.csv").write_text("path,device,label\n"),
        ["manifest.csv lists none"],
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_recordings_says_why(workspace: Path, convert: Umc, name: str) -> None:
    make, parts = NOTHING[name]
    make(emptied(workspace))
    run = convert()
    assert run.exit_code == 2
    for part in [f"no recordings of '{SOURCE}'", *parts]:
        assert part in run.stderr


def test_an_empty_list_is_called_one(convert: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    run = convert("-")
    assert run.exit_code == 2
    assert "the list of files is empty" in run.stderr


def test_only_files_that_cannot_be_decoded_are_failed_inputs(workspace: Path, convert: Umc) -> None:
    data = emptied(workspace)
    (data / SOURCE / "a").mkdir(parents=True)
    (data / SOURCE / "a/x.wav").write_text("hello " * 99)
    assert convert().exit_code == 1
    assert "cannot be decoded" in failed_rows(workspace)[f"data/{SOURCE}/a/x.wav"]


def test_labels_and_splits_that_never_meet(workspace: Path, convert: Umc) -> None:
    (workspace / "data/manifest.csv").write_text(
        f"path,device,label,split\n{SOURCE}/a/good0.wav,{SOURCE},a,train-sec\n{SOURCE}/b/good1.wav,{SOURCE},b,val-sec\n"
    )
    run = convert("--label", "a", "--split", "val-sec")
    assert run.exit_code == 2
    assert "no recording of xperia1v has both that label and that split" in run.stderr


# ---- what is not a recording


def test_what_is_no_audio_is_counted_and_what_systems_leave_is_not(workspace: Path, convert: Umc) -> None:
    folder = workspace / f"data/{SOURCE}/a"
    for name in ("1.txt", "2.TXT", "clip.xyz", "README", "._x.wav", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_text("x")
    for system in ("@eaDir", "#recycle", "lost+found", "__MACOSX", ".AppleDouble"):
        (folder / system / "good0.wav").mkdir(parents=True)
        (folder / system / "x.wav").write_text("x")
    run = convert("--json")
    assert (run.exit_code, run.json["failed"], run.json["n_files"]) == (0, [], 4)
    assert run.json["passed_over"] == {".txt": 2, ".xyz": 1, "": 1}
    assert "skipped: 2 .txt, 1" in run.stderr
    assert scan_folders(workspace / "data").passed_over == run.json["passed_over"]


def test_passed_over_reads_well() -> None:
    assert passed_over_text({".txt": 12, "": 3}) == "12 .txt, 3 without suffix"


# ---- targets that are left out


def test_targets_left_out_are_counted_by_what_they_lack() -> None:
    left_out = {name: f"a device record of {name}" for name in "abcd"} | {"e": "a noise floor in the record of x"}
    assert left_out_lines(left_out) == [
        "4 targets are left out for lack of a device record: a, b, c and 1 more",
        "1 target is left out for lack of a noise floor in the record of x: e",
    ]
    assert "a, b, c, d" in left_out_lines(left_out, 5)[0]


def test_strict_refuses_to_leave_targets_out(workspace: Path, umc: Umc) -> None:
    for index in range(6):
        write_audio(workspace / f"data/{SOURCE}/a/x{index}.wav", noise(5, seed=index))
        write_audio(workspace / f"data/other/a/x{index}.wav", noise(5, seed=50 + index))
    (workspace / "devices").mkdir()
    run = umc("devices", "show", TARGET, "--json")
    (workspace / "devices/pixel3.json").write_text(run.stdout)
    command = ("convert", "--source", SOURCE, "--converter", "quantile")
    run = umc(*command)
    assert run.exit_code == 0
    assert "1 target is left out for lack of recordings in split train-converter or train: pixel3" in run.stderr
    assert "x 1 target in" in run.stderr
    strict = umc(*command, "--strict")
    assert strict.exit_code == 2
    assert "1 target is left out" in strict.stderr
    assert umc(*command, "--strict", "--targets", "other").exit_code == 0


# ---- a run without a finished shard


@pytest.mark.parametrize("command", [("shards",), ("shards", "verify")])
def test_shards_of_a_run_that_has_none_yet(workspace: Path, umc: Umc, convert: Umc, command: tuple[str, ...]) -> None:
    assert convert("--shard-size", "4").exit_code == 0
    for path in workspace.glob("converted/*/*.h5"):
        path.unlink()
    run = umc(*command, "converted")
    assert run.exit_code == 2
    assert "converted holds the plan of a run of 2 shards a target, but none is finished yet" in run.stderr
    assert "same `umc convert` command" in run.stderr


# ---- inputs that do not answer


def test_inputs_that_hang_are_tried_again_at_the_same_time(
    workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(8):
        write_audio(workspace / f"data/{SOURCE}/a/slow{index}.wav", noise(seed=index))

    may_end, all_are_read, read_at_once = threading.Event(), threading.Barrier(8), []

    def read(path: Path, *others: object) -> segments.WaveformSegments:
        if "slow" in path.name:
            may_end.wait(60)
            raise InputError("too late")
        return read_segments(path, *others)  # type: ignore[arg-type]

    def read_again(path: Path, *others: object) -> segments.WaveformSegments:
        if "slow" in path.name:
            all_are_read.wait(30)  # fails where one is tried after another
            read_at_once.append(path.name)
            raise InputError("still too late")
        return read_segments(path, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(segments, "read_segments", read)
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--shard-size", "2")
    command = (*command, "--workers", "16", "--json", "--reader-timeout-s")
    first = umc(*command, "1")
    may_end.set()
    assert len(first.json["failed"]) == 8
    monkeypatch.setattr(segments, "read_segments", read_again)
    again = umc(*command, "60")
    assert len(read_at_once) == 8
    assert (len(again.json["failed"]), again.json["n_shards_written"]) == (8, 0)


def test_a_header_that_does_not_come_is_a_failed_input(
    workspace: Path, convert: Umc, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, may_end = plans.read_header_and_size, threading.Event()

    def wait(path: Path) -> object:
        if path.name == "good0.wav":
            may_end.wait(60)
        return read(path)

    monkeypatch.setattr(plans, "read_header_and_size", wait)
    run = convert("--reader-timeout-s", "1.5", "--json")  # enough for the others on a busy machine
    may_end.set()
    assert run.exit_code == 1
    assert [(entry["path"], entry["reason"]) for entry in run.json["failed"]] == [
        (f"data/{SOURCE}/a/good0.wav", "reading took longer than 1.5 s")
    ]
    assert run.json["n_segments"] == 6


def test_what_gives_no_segment_is_counted(workspace: Path, convert: Callable[..., Run]) -> None:
    write_audio(workspace / f"data/{SOURCE}/a/short.wav", noise(0.5))
    write_audio(workspace / f"data/{SOURCE}/a/quiet.wav", 1e-4 * noise(3.0))
    write_audio(workspace / f"data/{SOURCE}/a/torn.flac", noise(3.0)).write_bytes(b"fLaC")
    for _ in range(2):  # and where all is there already
        run = convert("--short-clips", "drop", "--silence-gate", "-60", "--json")
        assert (run.exit_code, run.json["n_segments"]) == (1, 8)
        assert run.json["warnings"] == [
            f"1 of 6 recordings give no segment: they are shorter than one (such as data/{SOURCE}/a/short.wav)",
            "the silence gate leaves out 3 of 11 segments",
        ]


def test_a_recording_split_over_shards_fails_once(workspace: Path, umc: Umc) -> None:
    path = write_audio(workspace / f"data/{SOURCE}/a/long.flac", noise(8))
    content = bytearray(path.read_bytes())
    content[3_000:] = bytes(len(content) - 3_000)
    path.write_bytes(content)
    run = umc("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--shard-size", "2", "--json")
    assert run.exit_code == 1
    assert [entry["path"] for entry in run.json["failed"]] == [f"data/{SOURCE}/a/long.flac"]


@pytest.fixture
def recorded_by_three(workspace: Path) -> Path:
    """The workspace with recordings of two more devices, of which `few` has three segments."""
    for name, count in ((SOURCE, 16), ("enough", 16), ("few", 3)):
        for index in range(count):
            write_audio(workspace / f"data/{name}/a/{name}{index}.wav", noise(1.0, seed=index))
    (workspace / "data/few/a/broken.wav").write_bytes(b"RIFF")
    return workspace


def test_of_all_targets_those_with_too_few_segments_are_left_out(recorded_by_three: Path, umc: Umc) -> None:
    command = ("convert", "--source", SOURCE, "--converter", "quantile", "--targets")
    run = umc(*command, "all", "--json")
    assert run.exit_code == 1, run.stderr
    assert run.json["targets"] == ["enough"]
    assert [entry["path"] for entry in run.json["failed"]] == ["data/few/a/broken.wav"]
    assert "data/few/a/broken.wav," in (recorded_by_three / "converted/failed.csv").read_text()
    assert run.json["left_out"]["few"] == "recordings of few in split train-converter or train"
    (warning,) = [text for text in run.json["warnings"] if "few" in text]
    assert warning == (
        "few is left out: its recordings in split train-converter or train hold only 3 segments in 4 recordings, of "
        f"which 1 cannot be read (such as {recorded_by_three}/data/few/a/broken.wav: cannot be decoded: "
        "Format not recognised), converters that learn from recordings need at least 10 per device"
    )
    assert umc(*command, "all", "--dry-run", "--json").json["targets"] == ["enough"]
    assert umc(*command, "all", "--strict").exit_code == 2
    named = umc(*command, "few", "--output", "o")
    assert named.exit_code == 2
    assert "level table of few: only 3 segments in 4 recordings" in named.stderr
    # What a run has learned of a device counts in its updates, whatever is left of the recordings.
    for path in sorted((recorded_by_three / "data/enough/a").iterdir())[3:]:
        path.unlink()
    write_audio(recorded_by_three / f"data/{SOURCE}/a/new.wav", noise(1.0, seed=99))
    updated = umc(*command, "all", "--update", "--json")
    assert (updated.exit_code, updated.json["targets"]) == (1, ["enough"]), updated.stderr


def test_recordings_that_cannot_be_decoded_count_as_none(recorded_by_three: Path, umc: Umc) -> None:
    """Their headers promise segments that do not come; an MP3 player's or a card's fault."""
    for index in range(15):
        path = write_audio(recorded_by_three / f"data/few/a/torn{index}.flac", noise(1.0, seed=index))
        content = path.read_bytes()
        path.write_bytes(content[:200] + bytes(len(content) - 200))
    command = ("convert", "--source", SOURCE, "--converter", "quantile", "--targets")
    for _ in range(2):  # and when it is run again
        run = umc(*command, "all", "--json")
        assert (run.exit_code, run.json["targets"]) == (1, ["enough"]), run.stderr
        assert len(run.json["failed"]) == 12, "of split train; the others are not looked at"
        assert {"data/few/a/broken.wav", "data/few/a/torn13.flac"} <= {entry["path"] for entry in run.json["failed"]}
        (warning,) = [text for text in run.json["warnings"] if "few" in text]
        assert "hold only 3 segments in 15 recordings, of which 12 cannot be read (such as " in warning
    dry = umc(*command, "all", "--dry-run", "--json", "--output", "o")
    assert (dry.exit_code, dry.json["targets"]) == (1, ["enough"])
    named = umc(*command, "few", "--output", "o")
    assert named.exit_code == 2
    assert "level table of few: only 3 segments in 15 recordings, of which 12 cannot be read" in named.stderr


def test_a_target_with_too_few_segments_is_served_where_no_recordings_are_needed(
    recorded_by_three: Path, umc: Umc
) -> None:
    for name in ("enough", "few"):
        write_device(device(name, noise_floor_db=-95.0), recorded_by_three / "devices")
    run = umc("convert", "--source", SOURCE, "--converter", "eq_noise", "--json")
    assert run.exit_code == 0, run.stderr
    assert {"enough", "few"} <= {*run.json["targets"]}
    assert "few is left out" not in " ".join(run.json["warnings"])
