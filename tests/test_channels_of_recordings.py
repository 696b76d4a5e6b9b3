"""Recordings with several channels: channels that cancel are warned of, and one of them can be chosen."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from umc_cli.audio.channel_mix import compare_mix
from umc_cli.audio.files import read_header, read_samples
from umc_cli.audio.segment_settings import ChannelSegmentSettings, SegmentSettings
from umc_cli.config import dump_settings
from umc_cli.errors import InputError

Umc = Callable[..., Run]


def inverted(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """Two capsules, the second one inverted and 0.28 dB quieter: their mean lies 36 dB below the first one."""
    first = noise(seconds, seed)
    return np.stack([first, -first * (1 - 2 * 10 ** (-36 / 20))], axis=1)


@pytest.mark.parametrize(
    ("channels", "loss_db", "loudest", "dead"),
    [
        (inverted(), -36.0, 1, None),
        (np.stack([noise(), noise()], axis=1), 0.0, 1, None),
        (np.stack([noise(), 0.1 * noise(seed=1)], axis=1), -5.98, 1, None),
        (np.stack([noise(), 0 * noise()], axis=1), -6.02, 1, 2),
        (np.stack([0.005 * noise(seed=1), noise(), noise()], axis=1), -3.5, 2, 1),
        (np.stack([0 * noise(), 0 * noise()], axis=1), 0.0, 1, None),
    ],
)
def test_what_mixing_loses(
    tmp_path: Path, channels: np.ndarray, loss_db: float, loudest: int, dead: int | None
) -> None:
    path = write_audio(tmp_path / "x.wav", channels, subtype="FLOAT")
    mix = compare_mix(path, read_header(path))
    assert mix.loss_db == pytest.approx(loss_db, abs=0.15)
    assert (mix.loudest, mix.dead) == (loudest, dead)


def test_a_channel_is_read_as_it_is(tmp_path: Path) -> None:
    first, second = noise(), noise(seed=1)
    path = write_audio(tmp_path / "x.wav", np.stack([first, second], axis=1), subtype="FLOAT")
    header = read_header(path)
    assert (read_samples(path, header, 0, 1_000, 1) == first[:1_000]).all()
    assert (read_samples(path, header, 0, 1_000, 2) == second[:1_000]).all()
    with pytest.raises(InputError, match="has no channel 3"):
        read_samples(path, header, 0, 1_000, 3)


def test_no_channel_leaves_the_ids_of_runs_as_they_are() -> None:
    assert dump_settings(ChannelSegmentSettings()) == dump_settings(SegmentSettings())
    assert dump_settings(ChannelSegmentSettings(channel=2))["channel"] == 2
    assert ChannelSegmentSettings(channel=2, hop=512).segments == SegmentSettings(hop=512)


def test_a_channel_that_holds_nothing_is_warned_of(workspace: Path, convert: Umc) -> None:
    stereo = np.stack([0 * noise(), noise()], axis=1)
    write_audio(workspace / f"data/{SOURCE}/a/half.wav", stereo)
    write_audio(workspace / f"data/{SOURCE}/a/both.wav", np.stack([noise(), noise()], axis=1))
    (warning,) = convert("--json").json["warnings"]
    assert warning == (
        "channels hold next to nothing: in 1 of 2 recordings with several channels that were looked at "
        f"(data/{SOURCE}/a/half.wav: channel 1), so that the mean of all is too quiet, there by 6 dB: choose one with "
        "--channel 2"
    )


def test_recordings_of_low_sample_rates_are_warned_of(workspace: Path, convert: Umc) -> None:
    write_audio(workspace / f"data/{SOURCE}/a/telephone.wav", noise(), rate_hz=8_000)
    write_audio(workspace / f"data/{SOURCE}/a/speech.wav", noise(), rate_hz=16_000)
    (warning,) = convert("--json").json["warnings"]
    assert warning == (
        f"2 of 6 recordings have a sample rate below 22,050 Hz (the lowest: data/{SOURCE}/a/telephone.wav, 8,000 Hz): "
        "they hold nothing above half of it, where targets may hold sound"
    )


def test_channels_that_cancel_are_warned_of_and_one_can_be_chosen(workspace: Path, convert: Umc) -> None:
    (workspace / f"data/{SOURCE}").rename(workspace / "away")
    for index in range(3):
        write_audio(workspace / f"data/{SOURCE}/a/{index}.wav", inverted(seed=index), subtype="FLOAT")
    run = convert("--json")
    assert run.exit_code == 0
    (warning,) = run.json["warnings"]
    assert "in 3 of 3 recordings with several channels" in warning
    assert "36 dB" in warning
    assert "--channel 1" in warning
    assert "channel" not in json.loads((workspace / "converted/run.json").read_text())["settings"]["segments"]
    # Another run: its rows are those of the first capsule alone.
    refused = convert("--channel", "1")
    assert refused.exit_code == 2
    assert "--channel: mix then, 1 now" in refused.stderr
    run = convert("--channel", "1", "--output", "first", "--json")
    assert (run.exit_code, run.json["warnings"]) == (0, [])
    for index in range(3):
        write_audio(workspace / f"data/{SOURCE}/a/{index}.wav", noise(seed=index), subtype="FLOAT")
    assert convert("--output", "mono").exit_code == 0
    rows = []
    for name in ("first", "mono"):
        with h5py.File(workspace / f"{name}/{TARGET}/shard-00000.h5") as file:
            rows.append(file["log_mel"][()])
    assert (rows[0] == rows[1]).all()
    # A recording without that channel is a failed input.
    run = convert("--channel", "2", "--output", "second", "--json")
    assert run.exit_code == 1
    assert {entry["reason"] for entry in run.json["failed"]} == {"has no channel 2"}


def test_mix_is_the_default_and_other_words_are_refused(workspace: Path, convert: Umc) -> None:
    assert convert().exit_code == 0
    assert convert("--channel", "mix", "--json").json["n_shards_kept"] == 1
    for wrong in ("0", "-1", "left", "1.5"):
        run = convert("--channel", wrong)
        assert run.exit_code == 2
        assert "channel" in run.stderr


def test_levels_of_the_source_alone_are_of_its_channel(workspace: Path, umc: Umc) -> None:
    for index in range(6):
        write_audio(workspace / f"data/{SOURCE}/a/x{index}.wav", inverted(5, index), subtype="FLOAT")
        write_audio(workspace / f"data/{TARGET}/a/x{index}.wav", noise(5, seed=50 + index))
    for name in ("good0.wav", "good2.wav"):
        (workspace / f"data/{SOURCE}/a/{name}").unlink()
    for name in ("good1.wav", "good3.wav"):
        (workspace / f"data/{SOURCE}/b/{name}").unlink()
    command = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "quantile", "--channel", "1")
    assert umc(*command).exit_code == 0
    tables = json.loads((workspace / "converted/level_quantiles.json").read_text())["devices"]
    medians = {device: np.median(tables[device]["levels_db"]) for device in (SOURCE, TARGET)}
    assert medians[SOURCE] == pytest.approx(medians[TARGET], abs=0.5)
    assert tables[TARGET]["n_failed"] == 0
