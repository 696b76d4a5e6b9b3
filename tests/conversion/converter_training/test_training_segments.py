from pathlib import Path

import numpy as np
import pytest
import torch

from tests.samples import noise, write_audio
from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.converter_training.training_segments import TrainingSegments, gather_segments, parts_of
from umc_cli.errors import SettingsError


def write_clips(folder: Path, n_clips: int = 8) -> dict[str, list[Clip]]:
    """Write clips of exactly one segment, `c0` to `c7` on both of two devices."""
    clips: dict[str, list[Clip]] = {}
    for index, device in enumerate(("a", "b")):
        for number in range(n_clips):
            path = write_audio(folder / device / f"c{number}.wav", noise(20_480 / 22_050, seed=10 * index + number))
            clips.setdefault(device, []).append(Clip(str(path), device, "x", "train-mc", f"c{number}"))
    return clips


def gather(folder: Path, clips: dict[str, list[Clip]], share: float = 0.25) -> TrainingSegments:
    return gather_segments(folder / "segments", list(clips), parts_of(clips, share), SegmentSettings(), workers=2)


def test_segments_are_the_log_mel_of_the_recordings_and_normalisation_is_theirs(tmp_path: Path) -> None:
    clips = write_clips(tmp_path)
    found = gather(tmp_path, clips, share=0)
    assert [len(part) for part in found.train + found.held_out] == [8, 8, 0, 0]
    expected = log_mel(torch.from_numpy(noise(20_480 / 22_050, seed=13))[None])[0].numpy()
    np.testing.assert_allclose(found.train[1][3].astype(np.float32), expected, atol=0.04)
    values = np.concatenate(found.train).astype(np.float64)
    assert found.normalisation.mean_db == pytest.approx(values.mean(), abs=1e-2)
    assert found.normalisation.std_db == pytest.approx(values.std(), abs=1e-2)


def test_the_same_recordings_are_held_out_on_all_devices_whatever_their_order(tmp_path: Path) -> None:
    clips = write_clips(tmp_path)
    found = gather(tmp_path, clips)
    assert [len(part) for part in found.train + found.held_out] == [6, 6, 2, 2]
    shuffled = {device: of_device[::-1] for device, of_device in clips.items()}
    again = gather(tmp_path / "again", shuffled)
    np.testing.assert_array_equal(found.held_out[1], again.held_out[1])
    assert found.fingerprint == again.fingerprint


def test_an_earlier_runs_segments_are_taken_over_unless_incomplete_or_of_other_recordings(tmp_path: Path) -> None:
    clips = write_clips(tmp_path)
    first = gather(tmp_path, clips)
    segments = np.array(first.train[0])
    kept = tmp_path / "segments/a.train.log-mel.float16"
    before = kept.stat().st_mtime_ns
    gather(tmp_path, clips)
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(kept.read_bytes()[:-2])
    np.testing.assert_array_equal(gather(tmp_path, clips).train[0], segments)
    clips["a"].pop()
    assert gather(tmp_path, clips).fingerprint != first.fingerprint


def test_unreadable_recordings_are_listed_and_too_few_segments_refused(tmp_path: Path) -> None:
    clips = write_clips(tmp_path)
    clips["a"][0].path.write_bytes(b"RIFF")
    found = gather(tmp_path, clips, share=0)
    assert [entry.path for entry in found.failed] == [str(clips["a"][0].path)]
    assert len(found.train[0]) == 7
    with pytest.raises(SettingsError, match="device b has 1 segments to train on; 2 are needed"):
        gather(tmp_path, {"a": clips["a"], "b": clips["b"][:1]}, share=0)
