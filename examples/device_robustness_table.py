"""What `device_robustness.py` prints: means over draws, shares of the gap, and which neighbours can be told apart."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isnan, nan
from statistics import mean, stdev
from typing import Any

from device_robustness_rows import ROWS
from scipy.stats import ttest_rel

GROUPS = ("source", "seen", "unseen")
Scores = Mapping[str, Mapping[str, float]]
"""Macro F1 by row and device."""


def summary(draws: Sequence[Scores], sources: Sequence[str], unseen: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return by row: macro F1 on the source, over seen and over unseen devices, for every draw; nan without devices.

    `sources`: the source of every draw; `unseen`: devices that no method knows.
    """

    def of_group(scores: Mapping[str, float], group: str, source: str) -> float:
        found = [f1 for device, f1 in scores.items() if group == _group(device, source, unseen)]
        return mean(found) if found else nan

    return {
        row: {
            group: [of_group(draw[row], group, source) for draw, source in zip(draws, sources, strict=True)]
            for group in GROUPS
        }
        for row in draws[0]
    }


def _group(device: str, source: str, unseen: Sequence[str]) -> str:
    if device == source:
        return "source"
    return "unseen" if device in unseen else "seen"


def markdown(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the table: mean and standard deviation over draws, and the share of the gap that a row closes."""
    lines = [
        "| method | knows of the seen devices | source | seen devices | gap closed | unseen devices | gap closed |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, scores in found.items():
        cells = [name, ROWS[name].knows, _mean_text(scores["source"])]
        for group in ("seen", "unseen"):
            low, high = (mean(found[end][group]) for end in ("none", "ideal"))
            closed = f"{100 * (mean(scores[group]) - low) / (high - low):.0f} %" if high > low else "-"
            cells += [_mean_text(scores[group]), "-" if isnan(mean(scores[group])) else closed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def neighbours(found: Mapping[str, Mapping[str, Sequence[float]]], group: str = "seen") -> str:
    """Return the rows from best to worst, each with its lead over the next one, paired over draws.

    p: two-sided, of a paired t-test over draws; `-` of fewer than two.
    """
    known = {name: scores[group] for name, scores in found.items() if not isnan(mean(scores[group]))}
    ranked = sorted(known, key=lambda name: -mean(known[name]))
    lines = [f"| from best to worst on {group} devices | lead over the next | p |", "|---|---:|---:|"]
    for name, following in pairwise(ranked):
        leads = [own - other for own, other in zip(known[name], known[following], strict=True)]
        p = ttest_rel(known[name], known[following]).pvalue if len(leads) > 1 and len(set(leads)) > 1 else nan
        lines.append(f"| {name} | {mean(leads):+.3f} | {'-' if isnan(p) else f'{p:.3f}'} |")
    return "\n".join([*lines, *([f"| {ranked[-1]} | | |"] if ranked else [])]) + "\n"


def matrix_markdown(row: str, draws: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Return Table 1 of a row: a line for each source, a column for each device, means over draws."""
    sources = list(draws[0])
    devices = sorted({device for draw in draws for scores in draw.values() for device in scores})
    lines = [f"| {row}: source | {' | '.join(devices)} |", f"|---|{'---:|' * len(devices)}"]
    for source in sources:
        cells = [f"{mean(draw[source][device] for draw in draws):.3f}" for device in devices]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean_text(values: Sequence[float]) -> str:
    if isnan(mean(values)):
        return "-"
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"
