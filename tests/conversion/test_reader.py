import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion import streaming
from umc_cli.conversion.shard_job import StreamSettings
from umc_cli.shards.plan import Piece
from umc_cli.shards.planned_files import PlannedFile


@pytest.mark.parametrize("workers", [1, 3])
def test_every_reader_has_a_long_recording_to_read(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(workers)

    def read(timeout_s: float, path: Path, *_: Any) -> tuple[Any, Any]:
        together.wait(20)  # breaks unless so many are read at the same time
        return np.zeros((1, 20480), np.float32), np.zeros(1, np.int64)

    monkeypatch.setattr(streaming, "read_segments_within", read)
    settings = StreamSettings(batch_size=2, workers=workers, dtype="float16", reader_timeout_s=60)
    longer_than_the_look_ahead = 1000
    files = [
        PlannedFile(
            f"{number}.wav", "a", str(number), "train", 1, 22_050, 1, 20_480 * 1000, longer_than_the_look_ahead, {}
        )
        for number in range(3 * workers)
    ]
    pieces = (Piece(file, 0, file.n_segments, 0) for file in files)
    with streaming._Reader(Path(), SegmentSettings(), settings, with_log_mel=False) as reader:
        assert [read.piece.file.path for read in reader.read(pieces)] == [file.path for file in files]
