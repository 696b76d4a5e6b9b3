"""The front door for users of Python."""

import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import umc_cli
from tests.samples import SOURCE, TARGET, noise
from umc_cli.conversion.chosen.conversion import Conversion

LEVELS = torch.linspace(-90, -20, 8 * 80 * 80).reshape(8, 80, 80)


@pytest.fixture
def conversion(tmp_path: Path) -> Conversion:
    """From a device of the library to three others, by their responses."""
    targets = [TARGET, "pixel3-back", "xperia1"]
    return umc_cli.open_conversion(SOURCE, targets, "eq", workspace=tmp_path)


def test_every_public_name_is_there_and_nothing_is_loaded_or_printed_before_it_is_used() -> None:
    script = """
import gc
import sys
gc.disable()  # as umc loads libraries: much faster
import umc_cli
assert not {"torch", "numpy", "pydantic"} & set(sys.modules), "loaded by the import alone"
for name in umc_cli.__all__:
    assert getattr(umc_cli, name).__doc__, name
assert not {"typer", "rich", "click", "umc_cli.cli"} & set(sys.modules), "the command line's libraries are loaded"
assert set(umc_cli.__all__) <= set(dir(umc_cli))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'converter'"):
        umc_cli.converter  # noqa: B018


def test_what_the_data_folder_holds_in_vain_is_told(workspace: Path) -> None:
    (workspace / f"data/{SOURCE}/flat.wav").write_bytes(b"RIFF")
    warnings: list[str] = []
    umc_cli.open_conversion(SOURCE, TARGET, "eq", workspace=workspace, warnings=warnings)
    path = workspace / f"data/{SOURCE}/flat.wav"
    assert f"the data folder holds what cannot be used: {path}: does not lie in <device>/<label>/" in warnings


def test_a_conversion_gives_what_the_command_writes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    report = umc_cli.convert(SOURCE, targets=TARGET, converter="eq", workspace=workspace, dtype="float32")
    assert report.exit_code == 0
    with h5py.File(Path(report.output) / TARGET / "shard-00000.h5") as shard:
        written, path = shard["log_mel"][()], shard["source_path"].asstr()[0]
        n_own = int(np.sum(shard["source_path"].asstr()[()] == path))
    import soundfile

    samples, rate = soundfile.read(workspace / path, dtype="float32")
    converted = umc_cli.open_conversion(SOURCE, TARGET, "eq", workspace=workspace)(umc_cli.log_mel(samples, rate))
    np.testing.assert_allclose(converted[TARGET].numpy(), written[:n_own], atol=1e-4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": SOURCE, "targets": "pixle3"}, "unknown device 'pixle3'"),
        ({"source": SOURCE, "converter": "ek"}, "unknown converter 'ek'.*known converters: auto"),
        ({"source": SOURCE, "targets": [SOURCE]}, "is the source itself"),
        ({"source": SOURCE, "targets": []}, "no target is named"),
        ({"source": SOURCE, "precision": "fp8"}, "precision: must be"),
    ],
)
def test_wrong_arguments_raise_what_says_so(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(umc_cli.UmcError, match=message):
        umc_cli.open_conversion(**arguments, workspace=tmp_path)


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((2, 100)), 44_100, "not one channel"),
        (np.zeros(0), 44_100, "not one channel"),
        (np.zeros(100), 10, "sample rate of 10 Hz"),
        (np.full(100, np.nan), 44_100, "not finite"),
    ],
)
def test_a_wrong_waveform_raises_what_says_so(waveform: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(umc_cli.UmcError, match=message):
        umc_cli.log_mel(waveform, rate)


def test_log_mel_cuts_and_resamples_as_files_are(tmp_path: Path) -> None:
    second = noise(1, seed=3)
    assert umc_cli.log_mel(second, 22_050).shape == (1, 80, 80)
    assert umc_cli.log_mel(np.tile(second, 3), 22_050).shape == (3, 80, 80)
    assert umc_cli.log_mel(second[:500], 22_050).shape == (1, 80, 80)
    tone = np.sin(2 * np.pi * 1000 * np.arange(44_100) / 44_100).astype(np.float32)
    halved = np.sin(2 * np.pi * 1000 * np.arange(22_050) / 22_050).astype(np.float32)
    difference = umc_cli.log_mel(tone, 44_100)[0, :, 5:70] - umc_cli.log_mel(halved, 22_050)[0, :, 5:70]
    loud = umc_cli.log_mel(halved, 22_050)[0, :, 5:70] > -40
    assert difference[loud].abs().max() < 0.01


def test_devices_are_the_workspaces_over_the_library(tmp_path: Path) -> None:
    assert umc_cli.devices(tmp_path)[TARGET].id == TARGET


def test_a_device_is_measured(tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text("frequency_hz,response_db\n100,0\n1000,0\n10000,6\n")
    report = umc_cli.measure([tmp_path / "curve.csv"], "mine", workspace=tmp_path)
    assert report.device.frequency_response_db[-1] == pytest.approx(6, abs=0.1)
    assert "mine" in umc_cli.devices(tmp_path)


# DeviceAugment


def test_all_or_none_are_converted(conversion: Conversion) -> None:
    assert torch.equal(umc_cli.DeviceAugment(conversion, p=0.0)(LEVELS), LEVELS)
    converted = umc_cli.DeviceAugment(conversion, p=1.0)(LEVELS)
    by_target = conversion(LEVELS)
    for row, sample in enumerate(converted):
        assert any(torch.allclose(sample, levels[row], atol=1e-4) for levels in by_target.values())


def test_draws_depend_on_the_seed_and_reach_every_target(conversion: Conversion) -> None:
    def run(seed: int) -> torch.Tensor:
        return umc_cli.DeviceAugment(conversion, p=0.5, seed=seed)(LEVELS)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    augment, seen = umc_cli.DeviceAugment(conversion, p=1.0), set()
    by_target = conversion(LEVELS)
    for _ in range(20):
        batch = augment(LEVELS)
        seen |= {
            name for name, levels in by_target.items() for row in range(8) if torch.allclose(batch[row], levels[row])
        }
    assert seen == set(conversion.targets)


def test_a_channel_axis_stays_and_the_input_is_not_changed(conversion: Conversion) -> None:
    given = LEVELS[:, None].clone()
    assert umc_cli.DeviceAugment(conversion, p=1.0)(given).shape == (8, 1, 80, 80)
    assert torch.equal(given, LEVELS[:, None])


def test_it_does_nothing_in_eval_mode_and_survives_pickling(conversion: Conversion) -> None:
    augment = umc_cli.DeviceAugment(conversion, p=1.0)
    expected = umc_cli.DeviceAugment(conversion, p=1.0)(LEVELS)
    assert torch.equal(pickle.loads(pickle.dumps(augment))(LEVELS), expected)
    assert torch.equal(augment.eval()(LEVELS), LEVELS)


class Augmented(torch.utils.data.Dataset):
    """Samples that are augmented where they are loaded."""

    def __init__(self, augment: torch.nn.Module) -> None:
        self.augment = augment

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.augment(LEVELS[:1])[0]


def test_workers_of_a_loader_draw_differently(conversion: Conversion) -> None:
    dataset = Augmented(umc_cli.DeviceAugment(conversion, p=1.0))
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2)
    first, second = list(loader)
    assert not torch.equal(first, second)


def test_gradients_pass_to_a_model_behind_it(conversion: Conversion) -> None:
    weight = torch.ones(1, requires_grad=True)
    (umc_cli.DeviceAugment(conversion, p=1.0)(LEVELS) * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_a_probability_is_one(conversion: Conversion, p: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        umc_cli.DeviceAugment(conversion, p=p)


# WaveformAugment


SOUND = noise(0.5, rate_hz=16_000)


def test_recordings_are_converted_to_every_target_or_passed_on(conversion: Conversion) -> None:
    assert umc_cli.WaveformAugment(conversion, p=0.0)(samples=SOUND, sample_rate=16_000) is SOUND
    augment, seen = umc_cli.WaveformAugment(conversion, p=1.0), set()
    by_target = {target: conversion.waveform(SOUND, 16_000, target) for target in conversion.targets}
    for _ in range(20):
        converted = augment(samples=SOUND, sample_rate=16_000)
        seen |= {target for target, expected in by_target.items() if np.array_equal(converted, expected)}
    assert seen == set(conversion.targets)


def test_recordings_are_converted_by_seed_and_after_pickling(conversion: Conversion) -> None:
    augment = umc_cli.WaveformAugment(conversion, p=0.5, seed=3)
    copies = [pickle.loads(pickle.dumps(augment)) for _ in range(2)]
    first, second = ([copy(SOUND, 16_000) for _ in range(6)] for copy in copies)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="probability"):
        umc_cli.WaveformAugment(conversion, p=2)


class AugmentedSounds(torch.utils.data.Dataset):
    """Recordings that are augmented where they are loaded."""

    def __init__(self, augment: umc_cli.WaveformAugment) -> None:
        self.augment = augment

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> np.ndarray:
        return self.augment(samples=SOUND, sample_rate=16_000)


def test_workers_of_a_loader_draw_recordings_differently(conversion: Conversion) -> None:
    dataset = AugmentedSounds(umc_cli.WaveformAugment(conversion, p=0.5))
    torch.manual_seed(0)
    first, second = list(torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2))
    assert not torch.equal(first, second)
