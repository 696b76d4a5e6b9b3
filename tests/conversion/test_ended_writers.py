"""A run that is ended leaves no shard that it did not complete."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from umc_cli.conversion import streaming


def test_rows_that_are_left_after_others_are_gone_complete_no_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    finished: list[Any] = []

    @contextmanager
    def write_shard(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(finish=finished.append)

    def none_waits() -> None:
        raise queue.Empty

    monkeypatch.setattr(streaming, "write_shard", write_shard)
    for is_ended in (False, True):
        writer = streaming._Writer(10)
        job = SimpleNamespace(attributes={"pixel3": None})
        writer._queue.put(({"pixel3": Path("shard")}, job, SimpleNamespace(dtype="float16", compression="lz4")))
        writer._queue.put(streaming.ShardRows())
        if is_ended:  # while the thread takes what the ending has not reached yet
            monkeypatch.setattr(writer._queue, "get_nowait", none_waits)
            writer.forget_waiting()
        writer.start()
        assert writer.end() is None
        assert len(finished) == 1
