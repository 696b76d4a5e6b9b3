"""Batches made ahead of the training: the same ones on any number of threads, and on a stream of their own on a GPU."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from tests.sec.test_dataset import batches
from umc_cli.sec import batches_ahead
from umc_cli.sec.batches_ahead import BatchesAhead

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("n_threads", [1, 4])
def test_batches_are_those_of_their_numbers(n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_ahead, "threads_for", lambda _: n_threads)
    one, ahead = batches(0.5), BatchesAhead(CPU)
    for index in (0, 1, 2, 7, 8, 3, 3):  # a training that is resumed, or tried, begins anywhere
        assert torch.equal(ahead.get(one, index).log_mel, one.get(index).log_mel)


def test_what_was_made_before_the_batches_changed_is_thrown_away() -> None:
    ahead = BatchesAhead(CPU)
    ahead.get(batches(0.0), 0)
    ahead.forget()
    assert ahead.get(batches(1.0), 1).n_converted


@dataclass
class Noted:
    """Batches and streams that note what happens to them, in which order."""

    events: list[Any]
    name: str

    def get(self, index: int) -> Any:
        at = threading.current_thread().name.partition("_")[0]
        self.events.append(f"batch {index} on {self.events_stream()} in {at}")
        values = Noted(self.events, f"batch {index}")
        return type("Batch", (), {"log_mel": values, "targets": values})()

    def events_stream(self) -> str:
        return next(event for event in reversed(self.events) if event in ("conversions", "training"))

    def wait_stream(self, other: "Noted") -> None:
        self.events.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> str:
        return f"event of {self.name}"

    def wait_event(self, event: str) -> None:
        self.events.append(f"{self.name} waits for {event}")

    def record_stream(self, stream: "Noted") -> None:
        self.events.append(f"{self.name} kept for {stream.name}")


def test_on_a_gpu_they_are_made_on_a_stream_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """They queued after the step before them, on the stream of the training."""
    events: list[Any] = ["training"]
    training = Noted(events, "training")

    @contextmanager
    def on(stream: Noted) -> Iterator[None]:
        events.append(stream.name)
        yield
        events.append("training")

    monkeypatch.setattr(batches_ahead, "threads_for", lambda _: 1)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Noted(events, "conversions"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: training)
    monkeypatch.setattr(torch.cuda, "stream", on)
    ahead = BatchesAhead(GPU)
    ahead.get(Noted(events, "batches"), 0)  # type: ignore[arg-type]
    ahead.forget()
    assert events.index("conversions waits for training") < events.index("batch 0 on conversions in umc-batches")
    assert [event for event in events if "event" in event or "kept" in event] == [
        "training waits for event of conversions", "batch 0 kept for training", "batch 0 kept for training",
    ]  # fmt: skip
    assert "batch 1 on conversions in umc-batches" in events


def test_several_threads_make_them_for_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_ahead, "processor_count", lambda: 16)
    assert (batches_ahead.threads_for(CPU), batches_ahead.threads_for(GPU)) == (1, 4)
    monkeypatch.setattr(batches_ahead, "processor_count", lambda: 2)
    assert batches_ahead.threads_for(GPU) == 2
