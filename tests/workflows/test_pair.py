"""`umc pair` through the command line, with simulated devices and a tiny refiner of the workspace's own."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from tests.response.side_by_side_sounds import RATE_HZ, recorded, sounds
from tests.samples import Run, write_audio
from umc_cli.checkpoint import read_metadata
from umc_cli.config import find_workspace
from umc_cli.conversion.refiner_checkpoint import save_refiner
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import RefinerSettings
from umc_cli.conversion.side_by_side_results import adapted_weights, folder_for
from umc_cli.response.device import read_device
from umc_cli.shards.schema import read_shard_header
from umc_cli.shards.updates import find_shards

Umc = Callable[..., Run]

SECONDS = 20
GAIN_DB = -9.0
RESULTS = "checkpoints/side-by-side/near+phone"


pytestmark = pytest.mark.xdist_group("pair")  # what it prepares is made once


@pytest.fixture(scope="module")
def recordings() -> dict[str, np.ndarray]:
    """Of one sound: `near` at 22,050 Hz, `phone` later, softer, duller and noisier."""
    sound = sounds(SECONDS)
    near = recorded(sound, 1)
    phone = recorded(np.convolve(sound, [0.5, 0.3, 0.2])[: len(sound)], 2, GAIN_DB, -60)
    return {"near": near, "phone": phone[2 * RATE_HZ :], "other": recorded(sounds(SECONDS, seed=4), 3)}


@pytest.fixture(scope="module")
def prepared(recordings: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    write_audio(root / "near.wav", recordings["near"])
    faster = soxr.resample(recordings["phone"], RATE_HZ, 44_100, quality="HQ")
    soundfile.write(root / "phone.ogg", np.stack([faster, faster], axis=1), 44_100)
    write_audio(root / "other.wav", recordings["other"])
    write_audio(root / "silent.wav", np.zeros(60 * RATE_HZ, np.float32))
    write_audio(root / "loud.wav", np.clip(recordings["phone"] * 300, -1, 1))
    write_audio(root / "short.wav", recordings["phone"][5 * RATE_HZ : 8 * RATE_HZ])
    torch.manual_seed(0)
    save_refiner(root / "checkpoints/refiner.safetensors", Refiner(RefinerSettings(widths=(4, 6, 8, 8))))
    (root / "umc.toml").write_text("[pair]\nsteps = 30\nlearning_rate = 0.003\n")
    return root


@pytest.fixture
def side_by_side(workspace: Path, prepared: Path) -> Path:
    """The workspace with the recordings of two devices, a third one's of other sounds, and a tiny refiner."""
    return Path(shutil.copytree(prepared, workspace, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def first_paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs it leaves a workspace after `umc pair`."""
    return tmp_path_factory.mktemp("paired") / "workspace"


@pytest.fixture
def paired(umc: Umc, side_by_side: Path, first_paired: Path) -> Path:
    """The workspace after `umc pair`."""
    if first_paired.exists():
        return Path(shutil.copytree(first_paired, side_by_side, dirs_exist_ok=True))
    assert umc(*PAIR).exit_code == 0
    shutil.copytree(side_by_side, first_paired)
    return side_by_side


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PAIR = ("pair", "near=near.wav", "phone=phone.ogg", "--reference-device", "near", "--json", "--quiet")


def test_two_recordings_become_records_tables_and_weights_that_convert_uses(umc: Umc, side_by_side: Path) -> None:
    run = umc(*PAIR)
    assert run.exit_code == 0, run.stderr
    assert run.json["is_kept"]
    assert run.json["after_db"] < run.json["before_db"]
    (found,) = run.json["pairs"]
    assert found["offset_s"] == pytest.approx(-2, abs=0.01)
    assert found["common_s"] > SECONDS - 3.5
    assert run.json["held_back_s"] > 2
    reference, phone = (read_device(side_by_side / f"devices/{name}.json") for name in ("near", "phone"))
    assert "Flat reference" in reference.note
    assert set(reference.frequency_response_db) == {0.0}
    assert phone.sensitivity_dbfs - reference.sensitivity_dbfs == pytest.approx(GAIN_DB, abs=1.5)
    assert phone.frequency_response_db[110] < -3  # duller
    about = read_metadata(side_by_side / RESULTS / "refiner.safetensors")["training"]["side_by_side"]
    assert about["devices"] == ["near", "phone"]
    assert [one["file"] for one in about["files"]] == ["near.wav", "phone.ogg"]
    assert about["before_db"] == run.json["before_db"]

    write_audio(side_by_side / "data/near/a/one.wav", sounds(3, seed=8))
    run = umc("convert", "--source", "near", "--targets", "phone,pixel3", "--json", "-o", "shards")
    assert run.exit_code == 0, run.stderr
    assert "run 'side by side: near, phone', 30 steps" in run.json["weights"]
    shards = {read_shard_header(path).target: read_shard_header(path) for path in find_shards(side_by_side / "shards")}
    assert "adapted_checkpoint_sha256" in shards["phone"].description
    assert "adapted_checkpoint_sha256" not in shards["pixel3"].description


def test_level_tables_serve_devices_without_recordings(umc: Umc, paired: Path) -> None:
    write_audio(paired / "data/near/a/one.wav", sounds(3, seed=8))
    run = umc("convert", "--source", "near", "--targets", "phone", "--json", "-o", "shards")
    assert run.json["converter"] == "refiner_transport"


def test_what_is_there_is_not_replaced_unasked(umc: Umc, paired: Path) -> None:
    before = files_in(paired)
    run = umc(*PAIR)
    assert run.exit_code == 2
    assert "device 'phone' already has a record" in run.json["error"]["message"]
    assert files_in(paired) == before
    assert umc(*PAIR, "--overwrite").exit_code == 0


def test_weights_that_are_not_nearer_are_not_kept(umc: Umc, side_by_side: Path) -> None:
    (side_by_side / "umc.toml").write_text("[pair]\nsteps = 2\nlearning_rate = 1.0\n")
    run = umc(*PAIR[:-1])
    assert run.exit_code == 0
    assert not run.json["is_kept"]
    assert "are not kept; records and level tables are" in run.stderr
    assert sorted(path.name for path in (side_by_side / RESULTS).iterdir()) == ["level_quantiles.json"]
    assert (side_by_side / "devices/phone.json").is_file()


def test_of_a_few_seconds_nothing_is_kept_that_could_not_be_measured(umc: Umc, side_by_side: Path) -> None:
    """Ten segments of 5.2 s that overlap by half: seven are learned from, one is held out."""
    for name, pattern in (("near", [1.0]), ("phone", [0.5, 0.3, 0.2])):
        sound = recorded(np.convolve(sounds(5.2), pattern)[:114_660], 1)
        channels = sound if name == "near" else np.stack([0 * sound, sound], axis=1)
        write_audio(side_by_side / f"data/{name}/a/one.wav", channels)
    rows = [
        "path,device,label,split,recording",
        *(f"{name}/a/one.wav,{name},a,train-mc,one" for name in ("near", "phone")),
    ]
    (side_by_side / "data/manifest.csv").write_text("\n".join(rows) + "\n")
    (side_by_side / "umc.toml").write_text("[pair]\nsteps = 2\n")
    run = umc("pair", "--from-data", "--reference-device", "near", "--json", "--quiet")
    assert run.exit_code == 0, run.stderr
    assert (run.json["held_back_s"], run.json["is_kept"]) == (0.5, False)
    warnings = " ".join(run.json["warnings"])
    assert re.search(
        r"the channels of \S+one.wav differ: channel 1 holds next to nothing. Their mean, which is measured, lies 6 dB "
        r"below channel 2: keep that channel alone \(sox IN.wav OUT.wav remix 2\)",
        warnings,
    )
    assert "only 0.5 s could be held out to measure on, at least 1 s are needed" in warnings
    assert re.search(r"learned from only 3\.\d s, so they tell more about the sounds", warnings)


def test_one_of_three_devices_that_heard_something_else_is_named(umc: Umc, side_by_side: Path) -> None:
    run = umc(*PAIR, "third=other.wav")
    assert run.exit_code == 1
    assert run.json["devices"] == ["near", "phone"]
    (failed,) = run.json["failed"]
    assert failed["path"] == "other.wav"
    assert "near.wav and other.wav do not contain the same sounds" in failed["reason"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["near=near.wav", "other=other.wav"], 1, "do not contain the same sounds"),
        (["near=near.wav", "near=near.wav"], 2, "all recordings are of 'near'"),
        (["near=near.wav", "phone=near.wav"], 2, "phone=near.wav is the same recording as near=near.wav"),
        (["near=near.wav", "phone=silent.wav"], 1, "silent.wav is silent"),
        (["near=near.wav", "phone=loud.wav"], 1, r"loud.wav is clipped: \d+%"),
        (["near=near.wav", "phone=short.wav"], 1, "short.wav have only .* s in common; at least 8 s are needed"),
        (["near=near.wav", "phone=missing.wav"], 1, "cannot read missing.wav"),
        (["near=near.wav", "phone=umc.toml"], 1, "umc.toml"),
        (["near=near.wav"], 2, "all recordings are of 'near'"),
        ([], 2, "no recordings are named"),
        (["near=near.wav", "phone.ogg"], 2, "'phone.ogg' does not say which device recorded it"),
        (["neer=near.wav", "phone=phone.ogg"], 2, "no recording of the reference device 'near'"),
        (["near=near.wav", "../x=phone.ogg"], 2, "is not a device id"),
        (["near=near.wav", "near=other.wav", *(f"phone={n}" for n in ("phone.ogg", "short.wav", "loud.wav"))], 2,
         "phone has 3 recordings, but near has 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_paired_is_refused_and_nothing_is_written(
    umc: Umc, side_by_side: Path, arguments: list[str], code: int, message: str
) -> None:
    before = files_in(side_by_side)
    run = umc("pair", *arguments, "--reference-device", "near", "--json")
    assert run.exit_code == code, run.stderr
    assert run.json["error"]["hint"]
    assert re.search(message, run.json["error"]["message"])
    assert files_in(side_by_side) == before


@pytest.mark.parametrize("count", [12, 2])
def test_clips_of_a_data_folder_that_share_a_recording(umc: Umc, side_by_side: Path, count: int) -> None:
    lines = ["path,device,label,split,recording"]
    for index in range(count):
        sound = sounds(27 / count, seed=100 + index)
        for number, device in enumerate(("near", "phone")):
            name = f"{device}-{index}.wav"
            write_audio(side_by_side / "data" / name, recorded(sound, number, number * GAIN_DB))
            lines.append(f"{name},{device},a,train-mc,r{index}")
    (side_by_side / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    run = umc("pair", "--from-data", "--reference-device", "near", "--json", "--quiet")
    assert run.exit_code == 0, run.stderr
    assert run.json["devices"] == ["near", "phone"]
    phone = json.loads((side_by_side / "devices/phone.json").read_text())
    assert phone["sensitivity_dbfs"] == pytest.approx(-20 + GAIN_DB, abs=1.5)
    assert phone["sources"][0]["file"] == f"{count} recordings of phone"
    assert run.json["held_back_s"] > 2


def test_what_is_missing_is_described(umc: Umc) -> None:
    run = umc("pair", "a=a.wav", "b=b.wav", "--json")
    assert run.exit_code == 2
    assert run.json["error"]["message"] == "setting 'reference_device' is required: give --reference-device"
    assert run.json["error"]["hint"] == (
        "--reference-device: Device that the others are measured next to; a device without a record counts as flat; "
        "see `umc pair --help`"
    )


def test_a_data_folder_without_shared_recordings_is_refused(umc: Umc, side_by_side: Path) -> None:
    run = umc("pair", "--from-data", "--reference-device", "xperia1v", "--json")
    assert run.exit_code == 1
    assert (
        "no recording in split train-converter or train was made by 'xperia1v' and another device"
        in run.json["error"]["message"]
    )


@pytest.mark.realdata
def test_two_real_phones_come_nearer_by_half_a_minute_beside_each_other(
    umc: Umc, workspace: Path, realdata: Path
) -> None:
    folder = realdata / "pairs/dance_studio"
    clips = [path.name for path in sorted((folder / "galaxy_s7").glob("*.flac"))[:14]]
    heard = {name: [soundfile.read(folder / name / clip)[0] for clip in clips] for name in ("galaxy_s7", "iphone_x")}
    lengths = [min(map(len, both)) for both in zip(*heard.values(), strict=True)]
    for (name, own), cut_s in zip(heard.items(), (3, 0), strict=True):
        whole = np.concatenate([clip[:length] for clip, length in zip(own, lengths, strict=True)])
        write_audio(workspace / f"{name}.wav", whole[cut_s * 16_000 :], 16_000)
    run = umc(
        *("pair", "galaxy_s7=galaxy_s7.wav", "iphone_x=iphone_x.wav", "--reference-device", "galaxy_s7"),
        *("--steps", "12", "--json", "--quiet"),
    )
    assert run.exit_code == 0, run.stderr
    (found,) = run.json["pairs"]
    assert found["offset_s"] == pytest.approx(3.005, abs=0.01)
    assert found["common_s"] > sum(lengths) / 16_000 - 5
    assert run.json["after_db"] < run.json["before_db"] < run.json["distances"][0]["none"] - 1


def test_the_latest_weights_of_a_pair_are_taken(side_by_side: Path) -> None:
    workspace = find_workspace(side_by_side)
    refiner = Refiner(RefinerSettings(widths=(4, 6, 8, 8)))
    for devices, date in ((("near", "phone"), "2026-01-02"), (("near", "phone", "third"), "2026-01-01")):
        path = folder_for(workspace, devices) / "refiner.safetensors"
        save_refiner(path, refiner, {"date": date, "side_by_side": {"devices": list(devices)}})
    found = adapted_weights(workspace, "near", ["phone", "third", "pixel3"])
    assert {target: path.parent.name for target, path in found.items()} == {
        "phone": "near+phone",
        "third": "near+phone+third",
    }
