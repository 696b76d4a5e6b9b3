"""Scores of models on devices as plain text: CSV for programs, Markdown for people."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from umc_cli.evaluation.device_table import DeviceMean, ScoredModel, SourceMatrix, TableRow
from umc_cli.evaluation.macro_f1 import Interval, percentile_interval
from umc_cli.evaluation.paired_comparison import Comparison, DeviceComparison

CSV_COLUMNS = (
    "model", "source", "method", "device", "is_source", "n_segments",
    "macro_f1", "macro_f1_low", "macro_f1_high", "weighted_f1", "accuracy",
)  # fmt: skip

BOOTSTRAP, WORST_DEVICE = "bootstrap 95\u00a0%", "worst device"
COLUMNS_OF_MEANS = ("mean without source", BOOTSTRAP, "mean with source", "gap closed\u00a0%", WORST_DEVICE)
"""In front of the devices, in every table of models."""

NOTE_OF_MEANS = (
    "Macro F1. Means over devices ± the paper's 95 % interval over devices, t(.975, n-1) population std / sqrt(n). "
    "Bootstrap: 95 % interval of the mean without source, over recordings."
)

_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$])")


def scores_csv(models: Iterable[ScoredModel]) -> str:
    """Return a line for each model and device. The interval is the bootstrap's over recordings, 95 %."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for model in models:
        for device, scores in model.devices.items():
            interval = percentile_interval(model.replicates[device])
            ends = (interval.low, interval.high) if interval else (None, None)
            numbers = (scores.macro_f1, *ends, scores.weighted_f1, scores.accuracy)
            writer.writerow(
                [model.name, model.source, model.method, device, int(device == model.source), scores.n_segments]
                + ["" if number is None else f"{number:.6f}" for number in numbers]
            )
    return text.getvalue()


def scores_markdown(
    devices: Sequence[str],
    rows: Sequence[TableRow],
    matrices: Sequence[SourceMatrix],
    comparisons: Sequence[Comparison],
) -> str:
    """Return the table of models, Table 1 of every method with several sources, and the comparisons."""
    parts = ["# Scores of sound event classifiers\n", NOTE_OF_MEANS + "\n"]
    lines = [[row.source, row.label, *row_cells(row, devices)] for row in rows]
    parts.append(_markdown_table(["source", "method", *COLUMNS_OF_MEANS, *devices], lines, n_text=2))
    for matrix in matrices:
        parts.append(f"\n## {_escaped(matrix.method)}: rows are sources, columns devices\n")
        lines = [[source, *map(score_text, scores)] for source, scores in matrix.macro_f1.items()]
        parts.append(_markdown_table(["source", *devices], lines, n_text=1))
        parts.append(f"\nMean of all cells off the source: {score_text(matrix.mean_without_source)}\n")
    for comparison in comparisons:
        parts.append(f"\n## {_escaped(comparison.first)} minus {_escaped(comparison.second)}\n")
        parts.append(_markdown_table(list(COMPARISON_COLUMNS), comparison_lines(comparison), n_text=1))
    return "\n".join(parts)


COMPARISON_COLUMNS = (
    "device", "difference", BOOTSTRAP, "bootstrap p", "only first right", "only second right", "McNemar p",
)  # fmt: skip


def comparison_lines(comparison: Comparison) -> list[list[str]]:
    """Return the cells of a comparison: one line a device, the last one over all that neither was trained on."""
    named: dict[str, DeviceComparison] = dict(comparison.devices)
    if comparison.without_sources:
        named["without sources"] = comparison.without_sources
    lines = []
    for name, entry in named.items():
        f1, test = entry.macro_f1, entry.mcnemar
        counts = [str(test.only_first_right), str(test.only_second_right), p_text(test.p_value)] if test else ["-"] * 3
        lines.append([name, f"{f1.difference:+.3f}", interval_text(f1.bootstrap, "+"), p_text(f1.p_value), *counts])
    return lines


def row_cells(row: TableRow, devices: Sequence[str]) -> list[str]:
    """Return what stands in `COLUMNS_OF_MEANS`, and the row's macro F1 on `devices`."""
    scores = [row.devices.get(device) for device in devices]
    without = row.mean_without_source
    return [
        mean_text(without),
        interval_text(without.bootstrap if without else None),
        mean_text(row.mean_with_source),
        "-" if row.gap_closed is None else f"{100 * row.gap_closed:.1f}",
        row.worst_device or "-",
        *(score_text(each.macro_f1, each.seed_spread) if each else "-" for each in scores),
    ]


def score_text(score: float | None, seed_spread: float | None = None) -> str:
    """Return a score with three digits; behind it, in brackets, the standard deviation over seeds."""
    if score is None:
        return "-"
    return f"{score:.3f}" if seed_spread is None else f"{score:.3f} (sd {seed_spread:.3f})"


def mean_text(mean: DeviceMean | None) -> str:
    """Return a mean over devices, the paper's interval over devices, and the standard deviation over seeds."""
    if mean is None:
        return "-"
    half_width = "" if mean.half_width is None else f" ± {mean.half_width:.3f}"
    return f"{mean.mean:.3f}{half_width}" + ("" if mean.seed_spread is None else f" (sd {mean.seed_spread:.3f})")


def interval_text(interval: Interval | None, sign: str = "") -> str:
    """Return both ends of an interval."""
    return "-" if interval is None else f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"


def p_text(p_value: float | None) -> str:
    """Return a p-value."""
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _markdown_table(columns: Sequence[str], lines: Iterable[Sequence[str]], n_text: int) -> str:
    rule = ["---"] * n_text + ["---:"] * (len(columns) - n_text)
    shown = [_escaped(column) for column in columns], rule, *([_escaped(cell) for cell in line] for line in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in shown)


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is; numbers stay readable in the source."""
    if re.fullmatch(r"[-+<]? ?[\d.]+( ± [\d.]+)?( \(sd [\d.]+\))?( to [-+]?[\d.]+)?|-", text):
        return text.replace("<", "&lt;")
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", flat)
