"""metrics.csv of a run that was killed, and TensorBoard."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from umc_cli.errors import SettingsError
from umc_cli.training.metrics import MetricsWriter, read_metrics


def test_rows_behind_the_saved_state_are_dropped_and_written_again(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, ("step", "loss", "score"), 0) as metrics:
        for step in (1, 2, 3):
            metrics.write({"step": step, "loss": 0.1 * step})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("4")  # killed in the middle of a line
    with MetricsWriter(tmp_path, ("step", "loss", "score"), 2) as metrics:
        metrics.write({"step": 3, "loss": 0.25, "score": 1.0})
    assert read_metrics(tmp_path) == [
        {"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}, {"step": 3, "loss": 0.25, "score": 1.0},
    ]  # fmt: skip


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,much\n")
    with pytest.raises(SettingsError, match=r"metrics\.csv is not what a training wrote"):
        read_metrics(tmp_path)


def test_tensorboard_gets_every_value_and_forgets_steps_that_are_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for TensorBoard's writer, which is an extra."""
    written: list[tuple[str, float, int]] = []
    opened: list[tuple[str, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            opened.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append(("closed", 0, 0))

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with MetricsWriter(tmp_path, ("step", "loss", "score"), 4) as metrics:
        metrics.write({"step": 5, "loss": 0.5, "score": 2.0})
    assert opened == [(str(tmp_path / "tensorboard"), 5)]
    assert written == [("loss", 0.5, 5), ("score", 2.0, 5), ("closed", 0, 0)]
