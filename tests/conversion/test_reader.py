import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.samples import noise, write_audio
from umc_cli.audio.files import read_header
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.conversion import streaming
from umc_cli.conversion.shard_job import ShardJob, StreamSettings
from umc_cli.conversion.streaming import stream
from umc_cli.shards.plan import Piece
from umc_cli.shards.planned_files import PlannedFile
from umc_cli.silence import SILENT


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


def test_who_waits_for_a_turn_to_convert_reads_meanwhile(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "0.wav", noise(4))
    header = read_header(path)
    file = PlannedFile(path.name, "a", "0", "", 0, header.sample_rate_hz, 1, header.frames, 4, {})
    attributes = {"run_id": "0", "target_id": "0", "shard_index": 0, "source": "x", "target": "x", "description": "{}"}
    settings = StreamSettings(batch_size=2, workers=1, dtype="float32", reader_timeout_s=60)
    turn, has_read, events = threading.Lock(), threading.Event(), []

    class Turn:
        def __enter__(self) -> None:
            has_read.set()
            turn.acquire()

        def __exit__(self, *_: object) -> None:
            events.append("converted")
            turn.release()

    class Converter:
        def begin(self, log_mel: Tensor) -> Tensor:
            events.append("begins")
            return log_mel

        def convert(self, begun: Tensor, target: str) -> Tensor:
            return begun

        def describe(self) -> dict[str, str]:
            return {}

    def make(name: str, **options: Any) -> bytes:
        shard = tmp_path / name
        job = ShardJob([Piece(file, 0, 4, 0)], {"x": shard}, {"x": attributes}, [], "")
        stream([job], tmp_path, SegmentSettings(), settings, Converter(), torch.device("cpu"), SILENT, **options)
        return shard.read_bytes()

    alone = make("alone.h5")
    with ThreadPoolExecutor(1) as other:
        with turn:
            events.clear()
            made = other.submit(make, "shared.h5", turn=Turn())
            assert has_read.wait(20)
            assert events == []
        assert made.result() == alone
    assert events == ["begins", "begins", "converted"]
