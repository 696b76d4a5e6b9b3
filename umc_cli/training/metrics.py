"""The metrics of a training run: `metrics.csv`, and TensorBoard where it is installed."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umc_cli import atomic_write
from umc_cli.errors import SettingsError

METRICS_NAME = "metrics.csv"
TENSORBOARD_NAME = "tensorboard"


class MetricsWriter:
    """Appends rows to `<folder>/metrics.csv`; rows behind `last_step`, of a run that was killed, are dropped first."""

    def __init__(self, folder: Path, columns: Sequence[str], last_step: int) -> None:
        self._path = folder / METRICS_NAME
        self._columns = list(columns)
        kept = [row for row in read_metrics(folder) if row["step"] <= last_step]
        atomic_write.write_text(self._path, "".join([self._line(None), *map(self._line, kept)]))
        self._board = _summary_writer(folder / TENSORBOARD_NAME, last_step)

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; what it lacks stays empty.

        Raises:
            EnvironmentFault: the file cannot be written.
        """
        with atomic_write.explain_os_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(self._line(row))
        for name, value in row.items() if self._board is not None else ():
            if name != "step":
                self._board.add_scalar(name, value, int(row["step"]))

    def _line(self, row: Mapping[str, float] | None) -> str:
        """Return a row as text, or the header. Numbers keep all their digits, so that runs can be compared."""
        line = io.StringIO()
        values = self._columns if row is None else [row.get(name, "") for name in self._columns]
        csv.writer(line, lineterminator="\n").writerow(values)
        return line.getvalue()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's metrics.csv, without empty fields; none if there is no file.

    Raises:
        SettingsError: the file is not what a run wrote.
    """
    path = folder / METRICS_NAME
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        # A killed writer may leave part of a line.
        rows = [row for row in rows if "step" in row]
        return [row | {name: int(row[name]) for name in ("step", "epoch") if name in row} for row in rows]
    except (ValueError, TypeError, OverflowError, csv.Error) as error:
        raise SettingsError(f"{path} is not what a training wrote: {error}", "restore it or remove it") from error


def _summary_writer(folder: Path, last_step: int) -> Any:
    """Return a TensorBoard writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=last_step + 1)
