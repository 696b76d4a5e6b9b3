from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from umc_cli.audio.log_mel import log_mel
from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion.level_quantiles import LevelQuantiles, label_distance, measure_level_quantiles
from umc_cli.errors import InputError


def noise_clips(folder: Path, count: int, label: str = "noise") -> list[Clip]:
    clips = []
    for index in range(count):
        path = folder / f"{index}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(index).standard_normal(20_480), 22_050, subtype="FLOAT")
        clips.append(Clip(str(path), "x", label, "train-mc", str(index)))
    return clips


def test_the_table_holds_the_quantiles_of_all_frames(tmp_path: Path) -> None:
    clips = noise_clips(tmp_path, 12)
    table = measure_level_quantiles(clips, SegmentSettings())
    assert (table.n_segments, table.labels, table.n_failed) == (12, {"noise": 12}, 0)
    waveforms = np.stack([soundfile.read(clip.path, dtype="float32")[0] for clip in clips])
    levels = log_mel(torch.from_numpy(waveforms)).numpy()
    expected = np.quantile(levels[:, 17].ravel(), [0.025, 0.475, 0.975])
    np.testing.assert_allclose(table.levels_db[[0, 9, 19], 17], expected, atol=1e-3)


def test_unreadable_recordings_are_counted_and_too_few_are_an_error(tmp_path: Path) -> None:
    clips = noise_clips(tmp_path, 12)
    clips[3].path.write_bytes(b"")
    assert measure_level_quantiles(clips, SegmentSettings()).n_failed == 1
    with pytest.raises(InputError, match=r"only 4 segments in 5 recordings, of which 1 cannot be read \(such as .*: "):
        measure_level_quantiles(clips[:5], SegmentSettings())


def test_label_distance() -> None:
    def table(**labels: int) -> LevelQuantiles:
        return LevelQuantiles(np.zeros((20, 80), np.float32), sum(labels.values()), labels, 0)

    assert label_distance(table(a=10, b=10), table(a=3, b=3)) == 0
    assert label_distance(table(a=10), table(b=10)) == 1
    assert label_distance(table(a=10, b=10), table(a=10)) == 0.5
