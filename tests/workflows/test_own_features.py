"""Classifiers with features of their own: trained by way of waveforms, scored with the features of their checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import umc_cli
from tests.samples import RATE_HZ, Run, noise, write_audio
from umc_cli.audio.feature_settings import SecFeatures
from umc_cli.audio.features import own_features
from umc_cli.audio.manifest import find_recordings
from umc_cli.checkpoint import read_metadata
from umc_cli.sec.audio_conversions import AudioConversions
from umc_cli.sec.sec_checkpoint import load_sec
from umc_cli.training.metrics import read_metrics
from umc_cli.workflows import train_sec
from umc_cli.workflows.sec_conversion import WaveformConversions

Umc = Callable[..., Run]

DEVICES = ("xperia1v", "pixel3")
SOURCE, TARGET = DEVICES
FEATURES = ("--feature-rate", "16000", "--feature-mels", "32", "--feature-hop", "320", "--feature-seconds", "1.5")
OWN = SecFeatures(sample_rate_hz=16_000, n_mels=32, hop_samples=320, seconds=1.5)
SMALL = ("--source", SOURCE, "--preset", "smoke", "--max-steps", "2", "--batch-size", "4", "--log-every", "1")


@pytest.fixture(autouse=True)
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMC_SHARES", "train-converter=20,train=60,test=20")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with 10 clips of 1 to 2 seconds of either label on two devices."""
    root = tmp_path / "workspace"
    for number in range(10):
        times = np.arange(round(RATE_HZ * (1 + number / 10))) / RATE_HZ
        for label, hz in (("low", 300), ("high", 3000)):
            tone = 0.2 * np.sin(2 * np.pi * hz * (1 + 0.02 * number) * times)
            sound = (tone + 0.1 * noise(2, number)[: len(tone)]).astype(np.float32)
            for device in DEVICES:
                write_audio(root / f"data/{device}/{label}/{number}.wav", sound)
    return root


@pytest.fixture
def small(umc: Umc) -> Umc:
    return lambda *options: umc("train-sec", *SMALL, "--quiet", *FEATURES, *options)


def test_a_classifier_learns_and_is_scored_with_features_of_its_own(small: Umc, umc: Umc, workspace: Path) -> None:
    report = small("--max-steps", "20", "--learning-rate", "0.004", "--json").json
    assert report["exit_code"] == 0
    path = workspace / f"runs/sec-{SOURCE}-none-0/best.safetensors"
    trained = load_sec(path)
    assert trained.features == OWN
    assert read_metadata(path)["sec"]["features"] == OWN.model_dump()
    logits = trained.network(torch.zeros(1, *OWN.shape))
    assert logits.shape == (1, 2)
    scored = umc("eval", "--bootstrap", "0", "--json", "--quiet").json
    (row,) = scored["rows"]
    assert {name: device["macro_f1"] for name, device in row["devices"].items()} == dict.fromkeys(DEVICES, 1.0)
    # One segment a recording: of 1.5 s, though of those of 1.9 s half a hop is left over.
    assert scored["devices"][TARGET]["n_segments"] == scored["devices"][TARGET]["n_recordings"]


@pytest.mark.parametrize(
    "method", ["eq-noise", "unified-real", "gaussian-noise+room-reverb+pitch-shift+eq", "dir+spec-augment+rfn"]
)
def test_methods_work_by_way_of_waveforms(small: Umc, workspace: Path, method: str) -> None:
    options = ("--method", method, "--targets", TARGET, "--json", "--name", "run")
    options += ("--converter", "refiner") if method == "unified-real" else ()
    run = small(*options)
    assert (run.exit_code, run.json["n_steps"]) == (0, 2), run.stderr
    trained = load_sec(workspace / "runs/run/last.safetensors")
    assert (trained.features, trained.method) == (OWN, method)
    resumed = small(*options, "--resume", "--max-steps", "3")
    assert resumed.json["n_steps"] == 3, resumed.stderr


def test_a_classifier_labels_features_of_its_own(small: Umc, workspace: Path) -> None:
    run = small("--method", "eq-noise+self-training", "--targets", TARGET, "--json")
    assert (run.exit_code, run.json["n_steps"]) == (0, 6), run.stderr


def test_conversions_are_those_of_waveforms_and_padding_stays(workspace: Path) -> None:
    conversion = umc_cli.open_conversion(SOURCE, TARGET, "eq", workspace=workspace)
    convert = WaveformConversions("eq", (TARGET,), {}, {TARGET: conversion}, OWN)
    segments = torch.zeros(2, round(1.5 * RATE_HZ))
    segments[0, :20_000] = torch.from_numpy(noise(2)[:20_000])
    random = torch.Generator()
    converted = convert(segments, np.arange(2), random)
    expected = torch.zeros(segments.shape)
    expected[0, :20_000] = torch.from_numpy(conversion.waveform(segments[0, :20_000], RATE_HZ, TARGET))
    assert torch.equal(converted, own_features(expected, OWN))
    noisy = umc_cli.open_conversion(SOURCE, TARGET, "eq_noise", workspace=workspace)
    silent = WaveformConversions("eq_noise", (TARGET,), {}, {TARGET: noisy}, OWN)(segments[1:], np.arange(1), random)
    for nothing in (converted[1], silent):  # digital silence: nothing was recorded
        assert (nothing == -100).all()
    assert (converted[0, :, -1] == -100).all()


def test_audio_files_that_were_converted_before_give_the_same_features(
    small: Umc, umc: Umc, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--split", "train", "--quiet")
    assert umc(*convert, "--write", "flac", "--output", "made", "--gain-db", "-6").exit_code == 0
    seen: dict[str, AudioConversions] = {}
    opened = train_sec.open_audio_conversions
    monkeypatch.setattr(train_sec, "open_audio_conversions", lambda *given: seen.setdefault("audio", opened(*given)))
    assert small("--method", "eq", "--shards", "made", "--converted-share", "1", "--name", "audio").exit_code == 0
    about = load_sec(workspace / "runs/audio/last.safetensors").training
    run_id = json.loads((workspace / "made/audio.json").read_text())["run_id"]
    assert (about["converter"], about["targets"], about["made_with"]) == ("eq", [TARGET], {TARGET: run_id})
    audio = seen["audio"]
    n_segments = len(audio.row_of[0])
    from_files = audio(torch.zeros(n_segments, *OWN.shape), np.arange(n_segments), torch.Generator())
    # They are the conversion, 6 dB quieter, which is made up for. A file is converted whole: ends of segments differ.
    conversion = umc_cli.open_conversion(SOURCE, TARGET, "eq", workspace=workspace)
    stored = np.memmap(workspace / "runs/audio/segments/train.log-mel.float16", np.float16, "r")
    given = torch.from_numpy(stored.reshape(n_segments, *OWN.shape).astype(np.float32))
    n_compared = 0
    for clip in find_recordings(workspace / "data").clips:
        samples = torch.from_numpy(soundfile.read(clip.path, dtype="float32")[0][: round(1.5 * RATE_HZ)])
        distance = (given - umc_cli.log_mel(samples, RATE_HZ, OWN)[0]).abs().amax(dim=(1, 2))
        if clip.device == SOURCE and distance.min() < 0.1:
            sound = conversion.waveform(samples, RATE_HZ, TARGET)
            error = from_files[distance.argmin()] - umc_cli.log_mel(sound, RATE_HZ, OWN)[0]
            assert error[:, : len(samples) * 50 // RATE_HZ - 4].abs().max() < 0.3
            n_compared += 1
    assert n_compared == n_segments


def test_audio_files_of_an_updated_run_give_what_those_of_a_fresh_one_do(small: Umc, umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--targets", TARGET, "--converter", "eq", "--quiet", "--gain-db", "-6")
    assert umc(*convert, "--write", "flac", "--output", "made").exit_code == 0
    for number in range(0, 10, 3):  # other sounds at the same place, and new ones
        write_audio(workspace / f"data/{SOURCE}/low/{number}.wav", noise(1.5, 90 + number))
        write_audio(workspace / f"data/{SOURCE}/high/new{number}.wav", noise(1.5, 70 + number))
    learn = ("--method", "eq", "--converted-share", "1", "--shards")
    assert umc(*convert, "--write", "flac", "--output", "made", "--update").exit_code == 0
    assert umc(*convert, "--write", "flac", "--output", "fresh").exit_code == 0
    for name in ("made", "fresh"):
        assert small(*learn, name, "--name", name).exit_code == 0
    updated, fresh = (read_metrics(workspace / "runs" / name) for name in ("made", "fresh"))
    assert [row | {"seconds": 0} for row in updated] == [row | {"seconds": 0} for row in fresh]


def test_what_contradicts_features_of_ones_own_is_refused(small: Umc, umc: Umc, workspace: Path) -> None:
    for options, message in (
        (("--preset", "paper"), "--preset paper contradicts them"),
        (("--feature-f-max", "9000"), "mel bands up to 9000 Hz lie above half of the rate, 8000 Hz"),
        (("--feature-fft", "256"), "a hop of 320 samples skips some"),
        (("--feature-mels", "0"), "--feature-mels must be at least 1"),
        (("--feature-mels", "many"), "--feature-mels is 'many': must be a whole number"),
        (("--feature-mels", "8"), "backbone 'cnn' does not take segments of 8 x 75"),
        (
            ("--feature-seconds", "3", "--short-clips", "drop"),
            "no recording to train on is as long as a segment of 3 s",
        ),
        (("--method", "filter-augment", "--feature-mels", "20"), "5 bands of at least 6 mel bands do not fit"),
        (("--method", "unified-synth", "--unified", "paper"), "draws differences for its own spectrograms"),
        (("--method", "eq", "--shards", "data"), "there are no converted recordings in data"),
    ):
        run = small(*options)
        assert run.exit_code == 2
        assert message in run.stderr
    (warning,) = small("--feature-seconds", "3", "--json").json["warnings"]
    assert "no recording to train on is as long as a segment of 3 s: zeros fill every one up" in warning


def test_audio_files_that_do_not_fit_are_refused(small: Umc, umc: Umc, workspace: Path) -> None:
    convert = ("convert", "--source", SOURCE, "--converter", "eq", "--quiet", "--write", "flac", "--targets", TARGET)
    assert umc(*convert, "--output", "test", "--split", "test").exit_code == 0
    for options, message in (
        (("--method", "eq", "--shards", "test"), "test holds no conversion of"),
        (("--method", "quantile", "--shards", "test"), "were made by converter 'eq', not by quantile"),
        (("--method", "eq", "--shards", "test", "--targets", "xperia1"), "no converted recordings of xperia1 in test"),
        (
            ("--method", "eq", "--shards", "test", "--source", TARGET),
            f"were converted from {SOURCE}, not from {TARGET}",
        ),
    ):
        run = small(*options)
        assert (run.exit_code, message in run.stderr) == (2, True), run.stderr


def test_classifiers_of_different_features_are_scored_side_by_side_but_not_paired(
    small: Umc, umc: Umc, workspace: Path
) -> None:
    assert small().exit_code == 0
    assert umc("train-sec", *SMALL, "--quiet", "--name", "papers").exit_code == 0
    assert load_sec(workspace / "runs/papers/last.safetensors").features is None
    assert "features" not in read_metadata(workspace / "runs/papers/last.safetensors")["sec"]
    run = umc("eval", "--bootstrap", "0", "--json")
    assert sorted(model for row in run.json["rows"] for model in row["models"]) == ["papers", f"sec-{SOURCE}-none-0"]
    assert "the models see different features" in run.stderr
    alone = umc("eval", "--bootstrap", "0", "--json", "--model", "papers").json
    together = {row["models"][0]: row for row in run.json["rows"]}
    assert together["papers"]["devices"] == alone["rows"][0]["devices"]
    refused = umc("eval", "--compare", f"papers:sec-{SOURCE}-none-0")
    assert "they are scored on segments of other lengths or rates" in refused.stderr
