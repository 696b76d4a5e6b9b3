"""What the layers of a generator tell of the target device, after Figure 3 of the paper.

Left the mutual information, right the accuracy of a probe, over the layers, one line a dimension: by small networks
where there are any, as the paper's are trained classifiers, else by linear probes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from umc_cli.evaluation.mutual_information import Estimate, ProbedStatistic
from umc_cli.evaluation.report.figure_file import write_figure

Layers = Mapping[str, Mapping[str, ProbedStatistic]]
"""By layer, in the order in which a segment passes them, and by dimension."""

_STYLES = {"channel": ("#0072B2", "o"), "frequency": ("#D55E00", "s"), "time": ("#009E73", "^")}
"""Okabe and Ito's colours, and marks for those who cannot tell them apart."""
_SUM = " sum"
_FONT_POINTS = 7.0
_INCHES = (7.2, 2.9)
_HEADROOM = 1.13


def draw_layers_figure(path: Path, layers: Layers, entropy_bits: float, chance: float) -> None:
    """Write `layers_figure` of the same arguments to `path`, all or nothing; the suffix names the format.

    Raises:
        SettingsError: the suffix is not .png, .svg or .pdf.
        EnvironmentFault: the file cannot be written.
        ValueError: see `layers_figure`.
    """
    write_figure(path, layers_figure(layers, entropy_bits, chance))


def layers_figure(layers: Layers, entropy_bits: float, chance: float) -> Figure:
    """Return the picture. Lines join the layers behind a ReLU; open marks are sums (`block 1 sum`) at a block's end.

    Args:
        layers: what was measured; bands are one standard error wide on both sides.
        entropy_bits: of the target, the most that a statistic can tell.
        chance: accuracy of guessing, 0 to 1.

    Raises:
        ValueError: there is no layer.
    """
    if not layers:
        raise ValueError("there is no layer to draw")
    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    of_networks = all(probed.network_accuracy for found in layers.values() for probed in found.values())
    probe = "small network" if of_networks else "linear probe"
    _draw(left, layers, lambda probed: probed.network_information_bits or probed.information_bits, 1.0)
    _draw(right, layers, lambda probed: probed.network_accuracy or probed.accuracy, 100.0)
    _reference(left, entropy_bits, f"H(target) {entropy_bits:.2f} bits")
    # Below its line, as the lines of the layers rise from it.
    _reference(right, 100 * chance, f"chance {100 * chance:.0f} %", below=True)
    left.set_ylim(-0.04 * entropy_bits, _HEADROOM * entropy_bits)
    right.set_ylim(-4, 100 * _HEADROOM)
    left.set_ylabel(f"mutual information (bits, bound by a {probe})", fontsize=_FONT_POINTS)
    right.set_ylabel(f"accuracy of a {probe} (%)", fontsize=_FONT_POINTS)
    handles, labels = left.get_legend_handles_labels()
    if any(name.endswith(_SUM) for name in layers):
        handles.append(Line2D([], [], color="0.3", marker="o", markersize=3, markerfacecolor="none", linestyle="none"))
        labels.append("sum at the end of a block")
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=_FONT_POINTS)
    return figure


def _draw(axes: Axes, layers: Layers, measure: Callable[[ProbedStatistic], Estimate], factor: float) -> None:
    on_line = [name for name in layers if not name.endswith(_SUM)]
    place = {name: float(index) for index, name in enumerate(on_line)}
    sums = [name for name in layers if name.endswith(_SUM)]
    for dimension, (colour, mark) in _STYLES.items():
        found = {name: measure(statistics[dimension]) for name, statistics in layers.items()}
        x = np.array([place[name] for name in on_line])
        y = factor * np.array([found[name].value for name in on_line])
        error = factor * np.array([found[name].standard_error for name in on_line])
        axes.fill_between(x, y - error, y + error, color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, y, color=colour, marker=mark, markersize=3, linewidth=1.0, label=f"{dimension}-wise")
        axes.plot(
            [place[name.removesuffix(_SUM)] + 0.5 for name in sums], [factor * found[name].value for name in sums],
            color=colour, marker=mark, markersize=3, markerfacecolor="none", markeredgewidth=0.7, linestyle="none",
        )  # fmt: skip
    axes.set_xticks(list(place.values()), on_line, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(on_line) - 0.5)
    axes.tick_params(labelsize=_FONT_POINTS)
    axes.grid(color="0.9", linewidth=0.4)
    axes.set_axisbelow(True)


def _reference(axes: Axes, level: float, text: str, below: bool = False) -> None:
    axes.axhline(level, color="0.3", linewidth=0.8, linestyle="--")
    axes.annotate(
        text, (0, level), xycoords=("axes fraction", "data"), textcoords="offset points",
        xytext=(4, -4 if below else 3), ha="left", va="top" if below else "bottom", fontsize=_FONT_POINTS, color="0.3",
    )  # fmt: skip
