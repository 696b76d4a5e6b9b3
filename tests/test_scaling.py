"""Memory and cost do not grow with the size of a run."""

import os
import pathlib
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from tests.samples import SOURCE, TARGET, Run, noise, write_audio
from umc_cli.audio.files import AudioHeader
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.config import find_workspace
from umc_cli.conversion import streaming
from umc_cli.shards import plan as plans
from umc_cli.shards import schema
from umc_cli.workflows import convert as workflow
from umc_cli.workflows import convert_report

FEW_SHARDS = int(os.environ.get("UMC_TEST_SHARDS", "400"))


class Watched:
    """Progress that notes what memory is held when half of the segments are converted."""

    def learning(self, target: str, number: int, count: int) -> None: ...
    def planning(self, n_files: int) -> None: ...

    def start(self, targets: object, n_segments: int) -> None:
        self.n_left, self.half = n_segments, n_segments // 2

    def keep(self, target: str, n_segments: int) -> None: ...

    def advance(self, target: str, n_segments: int) -> None:
        self.n_left -= n_segments
        if self.n_left == self.half:
            # pathlib keeps the parts of paths in a table of the interpreter, which grows in leaps.
            held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
            self.held_bytes = sum(trace.size for trace in held.traces)


class NoShard:
    """A writer that writes nothing."""

    def append(self, log_mel: object) -> None: ...

    def finish(self, rows: object) -> None: ...


@contextmanager
def no_shard(*_: object) -> Iterator[NoShard]:
    yield NoShard()


def held_bytes(folder: Path, n_shards: int) -> int:
    """Convert as many recordings, a shard each, with stubs for all that opens a file; return what memory is held."""
    (folder / "data").mkdir(parents=True)
    rows = "".join(f"{SOURCE}/a/{index:07d}.wav,{SOURCE},a\n" for index in range(n_shards))
    (folder / "data/manifest.csv").write_text("path,device,label\n" + rows)
    # Readers are ahead by sixteen batches.
    settings = workflow.ConvertSettings(source=SOURCE, targets=(TARGET,), converter="eq", shard_size=1, batch_size=1)
    watched = Watched()
    tracemalloc.start()
    try:
        report = workflow.convert(find_workspace(folder), settings, None, watched)
    finally:
        tracemalloc.stop()
    assert (report.n_shards_written, report.n_files, watched.n_left) == (n_shards, n_shards, 0)
    return watched.held_bytes


def test_memory_while_converting_does_not_grow_with_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = AudioHeader(SAMPLE_RATE_HZ, 1, SEGMENT_SAMPLES)
    segment = (np.zeros((1, SEGMENT_SAMPLES), np.float32), np.zeros(1, np.int64))
    monkeypatch.setattr(plans, "read_header_and_size", lambda _: (header, 100))
    monkeypatch.setattr(streaming, "read_segments_within", lambda *_: segment)
    monkeypatch.setattr(streaming, "log_mel", lambda waveforms: waveforms.new_zeros(len(waveforms), 80, 80))
    monkeypatch.setattr(streaming, "write_shard", no_shard)
    monkeypatch.setattr(convert_report, "read_shard_header", lambda _: SimpleNamespace(n_segments=1, failed=[]))
    # The first run fills the caches of libraries.
    sizes = {"first": 4 * FEW_SHARDS, "few": FEW_SHARDS, "many": 4 * FEW_SHARDS}
    _, few, many = (held_bytes(tmp_path / name, size) for name, size in sizes.items())
    # A shard's size is a number in a list. A recording in memory would take 300 bytes, a job some thousand.
    assert many - few < 100 * 3 * FEW_SHARDS


@pytest.mark.parametrize("n_shards", [2, 8])
def test_shards_are_opened_as_often_however_many_there_are(
    workspace: Path, umc: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, n_shards: int
) -> None:
    (workspace / f"data/{SOURCE}").rename(workspace / "old")
    for index in range(n_shards):
        write_audio(workspace / f"data/{SOURCE}/a/{index}.wav", noise(1, seed=index))
    opened = Mock(side_effect=schema.open_shard)
    monkeypatch.setattr(schema, "open_shard", opened)

    def times_opened(*command: str) -> float:
        opened.reset_mock()
        assert umc(*command).exit_code == 0
        return opened.call_count / n_shards

    command = ("convert", "--source", SOURCE, "--targets", f"{TARGET},pixel3-back", "--converter", "eq")
    command = (*command, "--shard-size", "1")
    assert times_opened(*command) == 2
    assert times_opened(*command) == 4
    assert times_opened(*command, "--part", "1/1") == 6
    assert times_opened("shards", "converted") == 2
    assert times_opened("shards", "verify", "converted") == 4
