"""`umc convert --write flac,wav`: whole recordings, end to end."""

import csv
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import umc_cli
from tests.samples import SOURCE, TARGET, Run, damage_flac, noise, write_audio
from umc_cli.audio.manifest import find_recordings
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.shards.audio_index import read_index

Convert = Callable[..., Run]


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "manifest.csv").open(newline="") as table:
        return list(csv.DictReader(table))


def contents(root: Path) -> dict[str, bytes]:
    kept = [path for path in sorted(root.rglob("*")) if path.suffix in (".flac", ".wav", ".json", ".csv")]
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


def test_whole_recordings_are_written_beside_the_shards_which_stay_as_they_were(
    workspace: Path, convert: Convert
) -> None:
    assert convert("--output", "plain").exit_code == 0
    report = convert("--write", "shards,flac", "--gain-db", -4, "--json").json
    assert (report["n_audio_written"], report["n_audio_kept"], report["gain_db"]) == (4, 0, -4.0)
    for name in ("run.json", f"{TARGET}/shard-00000.h5"):
        assert (workspace / "plain" / name).read_bytes() == (workspace / "converted" / name).read_bytes()
    for row in rows(workspace / "converted"):
        made, rate = soundfile.read(workspace / "converted" / row["path"], dtype="float32")
        source, source_rate = soundfile.read(workspace / row["source_path"], dtype="float32")
        assert (rate, made.shape, row["device"]) == (source_rate, source.shape, TARGET)
        expected = umc_cli.open_conversion(SOURCE, TARGET, "eq", workspace=workspace).waveform(source, rate, TARGET)
        assert np.abs(made - 10 ** (-4 / 20) * expected).max() < 2**-23
    assert {row["path"] for row in rows(workspace / "converted")} == {
        f"{TARGET}/{label}/good{index}.flac" for index, label in enumerate("abab")
    }


def test_umc_reads_its_own_manifest_as_data(workspace: Path, convert: Convert) -> None:
    convert("--write", "flac")
    before = {clip.recording: clip for clip in find_recordings(workspace / "data").clips}
    found = find_recordings(workspace / "converted")
    assert not found.failed
    for clip in found.clips:
        one = before[clip.recording]
        assert (clip.device, clip.label, clip.split) == (TARGET, one.label, one.split)
        assert dict(clip.extra) == {"source_path": f"data/{SOURCE}/{one.recording}.wav"}
    assert len(found.clips) == len(before)


def test_what_is_complete_is_kept_and_what_is_missing_made_again_byte_for_byte(
    workspace: Path, convert: Convert
) -> None:
    options = ("--write", "flac", "--shard-size", 2, "--json")
    root = workspace / "converted"
    assert convert(*options).json["n_audio_written"] == 4
    first = contents(root)
    assert (convert(*options).json["n_audio_kept"], contents(root)) == (4, first)
    (root / f"{TARGET}/audio-00001.json").unlink()
    (root / f"{TARGET}/b/good3.flac").unlink()
    report = convert(*options).json
    assert (report["n_audio_written"], report["n_audio_kept"]) == (2, 2)
    assert contents(root) == first


def test_a_run_that_was_killed_ends_as_if_undisturbed(
    workspace: Path, convert: Convert, start_umc: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    for index in range(20):
        write_audio(workspace / f"data/{SOURCE}/a/deep/x{index:02}.flac", 0.3 * noise(seed=index))
    options = ("--write", "flac", "--shard-size", "8", "--gain-db", "-6")
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", *options)
    root = workspace / "converted"
    with start_umc(*command, cwd=workspace, held_after=9) as process:
        deadline = time.monotonic() + 60
        while len(list(root.rglob("*.flac"))) < 9 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
    leftover = write_audio(root / TARGET / "a/deep/x.flac.partial-0123abcd", format="FLAC")
    assert not (root / "manifest.csv").exists()
    assert 0 < convert(*options, "--json").json["n_audio_kept"] < 24
    assert not leftover.exists()
    assert not list(root.rglob("*.partial-*"))
    convert(*options, "--output", "undisturbed")
    assert contents(root) == contents(workspace / "undisturbed")


def test_parts_make_what_one_process_makes(workspace: Path, convert: Convert) -> None:
    options = ("--write", "flac", "--shard-size", 2, "--gain-db", -4)
    convert(*options, "--output", "whole")
    for part in ("2/2", "1/2"):
        assert convert(*options, "--output", "parts", "--part", part).exit_code == 0
    assert contents(workspace / "parts") == contents(workspace / "whole")


def test_shards_may_come_later(workspace: Path, convert: Convert) -> None:
    convert("--write", "flac")
    report = convert("--write", "shards,flac", "--json").json
    assert (report["n_shards_written"], report["n_audio_kept"]) == (1, 4)


def test_one_gain_keeps_all_files_below_full_scale(workspace: Path, convert: Convert) -> None:
    write_audio(workspace / f"data/{SOURCE}/a/loud.wav", 9 * noise(seed=9), subtype="FLOAT")
    report = convert("--write", "wav,flac", "--json").json
    assert report["gain_db"] < -6
    assert "exceed full scale" in report["warnings"][0]
    assert report["n_clipped"] == 0
    root = workspace / "converted"
    assert json.loads((root / "audio.json").read_text())["settings"]["gain_db"] == report["gain_db"]
    loud, _ = soundfile.read(root / f"{TARGET}/a/loud.wav")
    assert 0.98 < np.abs(loud).max() < 1
    assert len(rows(root)) == 5
    # The same command keeps them, with the gain that was written down.
    assert convert("--write", "wav,flac", "--json").json["n_audio_kept"] == 10


def test_a_gain_that_is_given_stays_and_clipping_is_counted(workspace: Path, convert: Convert) -> None:
    write_audio(workspace / f"data/{SOURCE}/a/loud.wav", 9 * noise(seed=9), subtype="FLOAT")
    report = convert("--write", "flac", "--gain-db", -1, "--json").json
    assert report["n_clipped"] > 0
    assert "--gain-db -" in report["warnings"][0]


@pytest.mark.parametrize(
    ("options", "subtype", "rate"),
    [
        (("--write", "flac", "--bit-depth", "16"), "PCM_16", 44_100),
        (("--write", "flac", "--rate", 16_000), "PCM_24", 16_000),
        (("--write", "wav", "--bit-depth", "float", "--rate", 48_000), "FLOAT", 48_000),
    ],
)
def test_formats_and_rates(workspace: Path, convert: Convert, options: tuple, subtype: str, rate: int) -> None:
    stereo = noise(1.0, rate_hz=44_100, channels=2)
    write_audio(workspace / f"data/{SOURCE}/c/stereo.wav", stereo, 44_100)
    assert convert(*options, "--label", "c").exit_code == 0
    [row] = rows(workspace / "converted")
    about = soundfile.info(workspace / "converted" / row["path"])
    assert (about.subtype, about.samplerate, about.frames, about.channels) == (subtype, rate, rate, 1)


def test_channels_are_kept_by_option(workspace: Path, convert: Convert) -> None:
    stereo = noise(1.0, rate_hz=44_100, channels=2)
    write_audio(workspace / f"data/{SOURCE}/c/stereo.wav", stereo, 44_100, subtype="FLOAT")
    assert convert("--write", "wav", "--bit-depth", "float", "--label", "c", "--keep-channels").exit_code == 0
    [row] = rows(workspace / "converted")
    made, _ = soundfile.read(workspace / "converted" / row["path"], dtype="float32")
    expected = umc_cli.open_conversion(SOURCE, TARGET, "eq", workspace=workspace).waveform(stereo.T, 44_100, TARGET)
    np.testing.assert_array_equal(made, expected.T)


def test_more_channels_than_flac_has_fail(workspace: Path, convert: Convert) -> None:
    write_audio(workspace / f"data/{SOURCE}/c/many.wav", 0.1 * noise(1.0, channels=9))
    run = convert("--write", "flac", "--label", "c", "--keep-channels", "--json")
    assert [entry["reason"] for entry in run.json["failed"]] == ["has 9 channels, more than FLAC"]
    run = convert("--write", "wav", "--label", "c", "--keep-channels", "--output", "wave")
    assert soundfile.info(workspace / "wave" / rows(workspace / "wave")[0]["path"]).channels == 9


def test_inputs_that_fail_are_listed_once_and_tried_again(workspace: Path, convert: Convert) -> None:
    bad = write_audio(workspace / f"data/{SOURCE}/a/bad.flac")
    good = bad.read_bytes()
    damage_flac(bad)
    write_audio(workspace / f"data/{SOURCE}/b/silent.wav", np.zeros(44_100, np.float32))
    run = convert("--write", "shards,flac", "--json")
    assert run.exit_code == 1
    assert {Path(entry["path"]).name for entry in run.json["failed"]} == {"bad.flac", "silent.wav"}
    assert len(run.json["failed"]) == 2
    only_audio = convert("--write", "flac", "--output", "other", "--json")
    assert only_audio.json["failed"] == run.json["failed"]
    assert only_audio.json["n_files"] == 4
    assert len((workspace / "other/failed.csv").read_text().splitlines()) == 3
    assert not list((workspace / "other").rglob("silent*"))
    bad.write_bytes(good)
    run = convert("--write", "flac", "--output", "other", "--overwrite", "--json")
    assert [Path(entry["path"]).name for entry in run.json["failed"]] == ["silent.wav"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--write", "mp3"), "'mp3' cannot be written"),
        (("--rate", 16_000), "--rate is for audio files"),
        (("--write", "flac", "--bit-depth", "float"), "FLAC has no float samples"),
        (("--write", "flac", "--keep-channels", "--channel", 1), "contradict each other"),
        (("--write", "flac", "--output", "data"), "among the recordings"),
        (("--write", "flac", "--output", "data/new"), "among the recordings"),
        (("--write", "flac", "--rate", 10), "--rate"),
    ],
)
def test_contradictions_are_refused(workspace: Path, convert: Convert, options: tuple, message: str) -> None:
    run = convert(*options)
    assert run.exit_code == 2
    assert message in run.stderr
    assert not (workspace / "converted").exists()


def test_other_audio_settings_are_another_run(workspace: Path, convert: Convert) -> None:
    convert("--write", "flac")
    run = convert("--write", "flac", "--bit-depth", "16")
    assert run.exit_code == 2
    assert "other settings (bit_depth)" in run.stderr
    assert convert("--write", "wav", "--bit-depth", "16", "--overwrite").exit_code == 0
    assert not list((workspace / "converted").rglob("*.flac"))
    assert len(list((workspace / "converted").rglob("*.wav"))) == 4


def test_recordings_in_the_output_folder_are_not_overwritten(workspace: Path, convert: Convert) -> None:
    inside = write_audio(workspace / f"converted/{TARGET}/a/mine.flac")
    before = inside.read_bytes()
    run = convert("--write", "flac", str(inside))
    assert run.exit_code == 2
    assert "is a recording in the output folder" in run.stderr
    assert inside.read_bytes() == before


def test_names_that_would_be_one_file_are_told_apart(workspace: Path, convert: Convert) -> None:
    for name in ("take.wav", "take.flac", "TAKE.ogg", ".hidden/../x.y.wav"):
        write_audio(workspace / f"data/{SOURCE}/c/{name}".replace(".hidden/../", ""))
    convert("--write", "flac", "--label", "c")
    names = sorted(row["path"] for row in rows(workspace / "converted"))
    assert len({name.casefold() for name in names}) == 4
    assert f"{TARGET}/c/x.y.flac" in names
    assert all((workspace / "converted" / name).is_file() for name in names)


def test_verify_finds_damaged_and_missing_files(workspace: Path, convert: Convert, umc: Callable[..., Run]) -> None:
    convert("--write", "flac", "--shard-size", 2)
    verified = umc("shards", "verify", "converted", "--json")
    assert (verified.exit_code, verified.json["n_audio_files"]) == (0, 4)
    root = workspace / "converted" / TARGET
    damaged = bytearray((root / "a/good0.flac").read_bytes())
    damaged[-100] ^= 1
    (root / "a/good0.flac").write_bytes(damaged)
    (root / "b/good1.flac").unlink()
    (root / "audio-00001.json").write_text("{}")
    run = umc("shards", "verify", "converted", "--json")
    assert run.exit_code == 1
    said = " ".join(f"{entry['path']} {entry['reason']}" for entry in run.json["damaged"])
    for part in ("good0.flac is damaged", "good1.flac is missing", "audio-00001.json is not a"):
        assert part in said


def test_an_index_cannot_name_files_outside_its_folder(workspace: Path, convert: Convert) -> None:
    convert("--write", "flac")
    path = workspace / "converted" / TARGET / "audio-00000.json"
    index = read_index(path)
    content = json.loads(path.read_text())
    content["files"][0]["path"] = "../../data/x.wav"
    path.write_text(json.dumps(content))
    with pytest.raises(umc_cli.UmcError, match="does not lie below"):
        read_index(path)
    assert len(index.files) == 4


class BrokenConverter:
    """Gives NaN."""

    def begin(self, log_mel: torch.Tensor) -> torch.Tensor:
        return log_mel

    def convert(self, begun: torch.Tensor, target: str) -> torch.Tensor:
        return begun * torch.nan

    def describe(self) -> dict[str, str]:
        return {}


def test_a_converter_that_gives_nan_ends_the_run_and_leaves_no_file(
    workspace: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONVERTERS, "eq", replace(CONVERTERS["eq"], build=lambda _: BrokenConverter()))
    run = convert("--write", "flac")
    assert run.exit_code == 2
    assert "levels for pixel3 that are not finite" in run.stderr
    assert not list((workspace / "converted").rglob("*.flac*"))


def test_invented_targets_have_files_too(workspace: Path, umc: Callable[..., Run]) -> None:
    report = umc(
        "convert", "--source", SOURCE, "--targets", "synth:2", "--converter", "eq", "--write", "flac", "--json"
    ).json
    assert report["n_audio_written"] == 8
    assert {row["device"] for row in rows(workspace / "converted")} == set(report["targets"])


def test_converted_audio_goes_back_through_umc(
    workspace: Path, umc: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, path in enumerate(sorted((workspace / f"data/{SOURCE}").rglob("*.wav"))):
        write_audio(path, 0.3 * noise(12.0, seed=index))
    options = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq")
    assert umc(*options, "--write", "wav", "--bit-depth", "float").exit_code == 0

    # Converted back from the target's audio, the levels are the source's again.
    monkeypatch.setenv("UMC_DATA", str(workspace / "converted"))
    back = ("convert", "--source", TARGET, "--targets", SOURCE, "--converter", "eq", "--output", "back")
    assert umc(*back).exit_code == 0
    dataset = umc_cli.ShardDataset("back", item=("log_mel", "recording", "segment_index"))
    for log_mel, recording, _ in dataset:
        samples, rate = soundfile.read(workspace / f"data/{SOURCE}/{recording}.wav", dtype="float32")
        difference = umc_cli.log_mel(samples, rate)[:, :, 3:-3] - log_mel[:, :, 3:-3]
        assert min(float(one.square().mean().sqrt()) for one in difference) < 1

    # As recordings of the target they are what the converter says, and the untouched source is not.
    monkeypatch.setenv("UMC_DATA", str(workspace / "both"))
    (workspace / "both").mkdir()
    (workspace / "both" / SOURCE).symlink_to(workspace / "data" / SOURCE)
    (workspace / "both" / TARGET).symlink_to(workspace / "converted" / TARGET)
    measured = ("eval", "conversion", "--source", SOURCE, "--targets", TARGET, "--split", "train", "--no-probe")
    heard = umc(*measured, "--converters", "no_conversion,eq", "--most-segments", 100, "--json")
    assert heard.exit_code == 0
    distance_db = {
        row["converter"]: next(iter(row["targets"][TARGET].values()))["value"] for row in heard.json["converters"]
    }
    assert distance_db["eq"] < 0.5 < 4 < distance_db["no_conversion"]
