"""What several models score on several devices, as the paper's tables: means over devices, intervals, gaps closed.

Two means are told apart everywhere, and neither is called "overall": over all devices but the source that a model was
trained on, and over all devices.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from umc_cli.evaluation.macro_f1 import CONFIDENCE, DeviceScores, Interval, percentile_interval

Values = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredModel:
    """One trained classifier and its scores."""

    name: str
    source: str
    """Device it was trained on."""
    method: str
    """How it was trained: `none`, `ideal`, ..."""
    classes: tuple[str, ...]
    devices: Mapping[str, DeviceScores]
    replicates: Mapping[str, Values]
    """By device: macro F1 of every replicate of the bootstrap, [B]; the same draws for all models and devices."""


@dataclass(frozen=True)
class RowScores:
    """The scores of a row on one device; means over the seeds."""

    macro_f1: float
    seed_spread: float | None
    """Standard deviation of the macro F1 over seeds (n - 1); None of a single model."""
    weighted_f1: float
    accuracy: float
    bootstrap: Interval | None
    """95 % interval of the macro F1 over recordings."""


@dataclass(frozen=True)
class DeviceMean:
    """Mean macro F1 over devices."""

    mean: float
    half_width: float | None
    """The paper's 95 % interval over devices is mean +- half_width; None of a single device."""
    bootstrap: Interval | None
    """95 % interval over recordings, for these devices."""
    seed_spread: float | None
    """Standard deviation of the mean over seeds (n - 1); None of a single model."""
    n_devices: int


@dataclass(frozen=True)
class TableRow:
    """A row of Table 2: one model, or several that differ in nothing but their seed."""

    label: str
    source: str
    method: str
    models: tuple[str, ...]
    devices: dict[str, RowScores]
    mean_without_source: DeviceMean | None
    """None where the source is the only device."""
    mean_with_source: DeviceMean | None
    """None where the source is not among the devices."""
    worst_device: str | None
    """Where the macro F1 is lowest, the source left out."""
    gap_closed: float | None = None
    """(mean - baseline) / (ideal - baseline) of the means without the source; may be negative or above 1."""


@dataclass(frozen=True)
class SourceMatrix:
    """Table 1: one method, a row for each source, a column for each device."""

    method: str
    devices: tuple[str, ...]
    macro_f1: dict[str, tuple[float | None, ...]]
    """By source: [devices]."""
    mean_without_source: float | None
    """Mean of all cells whose device is not the row's source."""


def half_width_over_devices(scores: Sequence[float]) -> float | None:
    """Return the paper's 95 % half width: t(.975, n - 1) * population standard deviation / sqrt(n).

    The paper's Table 2 divides the squares by n, not by n - 1, so that its intervals are narrower than Student's.
    None of fewer than two scores.
    """
    n = len(scores)
    if n < 2:
        return None
    return float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(scores) / np.sqrt(n))


def mean_over_devices(models: Sequence[ScoredModel], devices: Sequence[str]) -> DeviceMean | None:
    """Return the mean macro F1 of a row's models over `devices`; None without devices."""
    if not devices:
        return None
    by_device = [mean(model.devices[device].macro_f1 for model in models) for device in devices]
    by_model = [mean(model.devices[device].macro_f1 for device in devices) for model in models]
    return DeviceMean(
        mean=mean(by_device),
        half_width=half_width_over_devices(by_device),
        bootstrap=percentile_interval(mean_replicates(models, devices)),
        seed_spread=stdev(by_model) if len(models) > 1 else None,
        n_devices=len(devices),
    )


def mean_replicates(models: Sequence[ScoredModel], devices: Sequence[str]) -> Values:
    """Return the mean macro F1 over models and devices in every replicate of the bootstrap. Shape: [B]."""
    replicates: Values = np.mean([[model.replicates[device] for device in devices] for model in models], axis=(0, 1))
    return replicates


def table_row(models: Sequence[ScoredModel], label: str) -> TableRow:
    """Return the row of models of one source and method that differ in their seed."""
    first = models[0]
    devices = [device for device in first.devices if all(device in model.devices for model in models)]
    others = [device for device in devices if device != first.source]
    scores = {device: _row_scores(models, device) for device in devices}
    return TableRow(
        label=f"{label} ({len(models)} seeds)" if len(models) > 1 else label,
        source=first.source,
        method=first.method,
        models=tuple(model.name for model in models),
        devices=scores,
        mean_without_source=mean_over_devices(models, others),
        mean_with_source=mean_over_devices(models, devices) if first.source in devices else None,
        worst_device=min(others, key=lambda device: scores[device].macro_f1, default=None),
    )


def gap_closed(score: float, baseline: float, ideal: float) -> float | None:
    """Return the share of the way from `baseline` to `ideal` that `score` went; None where ideal is not above it."""
    return (score - baseline) / (ideal - baseline) if ideal > baseline else None


def with_gap_closed(row: TableRow, baseline: TableRow, ideal: TableRow) -> TableRow:
    """Return the row with the share of the gap that it closes, over the devices of its mean without source.

    None where the baseline was trained on another source, or one of the three was not scored on all of these devices.
    """
    others = [device for device in row.devices if device != row.source]
    rows = (row, baseline, ideal)
    if not others or baseline.source != row.source or any(set(others) - set(each.devices) for each in rows):
        return row
    score, low, high = (mean(each.devices[device].macro_f1 for device in others) for each in rows)
    return replace(row, gap_closed=gap_closed(score, low, high))


def source_matrices(rows: Iterable[TableRow], devices: Sequence[str]) -> list[SourceMatrix]:
    """Return Table 1 of every method that several sources were trained with; settings of one source must not differ."""
    by_method: dict[str, list[TableRow]] = {}
    for row in rows:
        by_method.setdefault(row.method, []).append(row)
    result = []
    for method, same in by_method.items():
        sources = [row.source for row in same]
        if len(set(sources)) < 2 or len(set(sources)) != len(sources):
            continue
        cells = {
            row.source: tuple(row.devices[name].macro_f1 if name in row.devices else None for name in devices)
            for row in same
        }
        off = [
            score
            for source, scores in cells.items()
            for name, score in zip(devices, scores, strict=True)
            if name != source and score is not None
        ]
        result.append(SourceMatrix(method, tuple(devices), cells, mean(off) if off else None))
    return result


def _row_scores(models: Sequence[ScoredModel], device: str) -> RowScores:
    scores = [model.devices[device] for model in models]
    macro_f1 = [score.macro_f1 for score in scores]
    return RowScores(
        macro_f1=mean(macro_f1),
        seed_spread=stdev(macro_f1) if len(macro_f1) > 1 else None,
        weighted_f1=mean(score.weighted_f1 for score in scores),
        accuracy=mean(score.accuracy for score in scores),
        bootstrap=percentile_interval(mean_replicates(models, [device])),
    )
