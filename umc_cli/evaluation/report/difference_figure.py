"""Pictures of invented frequency-response differences, and of how well methods cover real ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.audio.mel_scale import hz_to_mel
from umc_cli.evaluation.report.figure_file import write_figure

EXAMPLES = 5
_TICKS_KHZ = (0, 0.5, 1, 2, 4, 8)
_INCHES = (7.0, 2.7)
_FONT_POINTS = 7.0


def draw_difference_figure(
    path: Path,
    differences_db: NDArray[np.float32],
    noise_floors_db: NDArray[np.float32],
    band_centres_hz: NDArray[np.float64],
    method: str,
) -> None:
    """Write a picture of a set: the middle 90 %, the median and the first five, of differences and of noise floors.

    Shape: [n, bands] in dB, [n, bands] in dB re full scale, [bands].

    Raises:
        SettingsError: the suffix is not .png, .svg or .pdf.
        EnvironmentFault: the file cannot be written.
    """
    figure, (left, right) = _two_panels()
    mel = hz_to_mel(band_centres_hz)
    for axes, curves, title, unit in (
        (left, differences_db, f"{len(differences_db)} differences, {method}", "target − source (dB)"),
        (right, noise_floors_db, "noise floors of the targets", "level (dB re full scale)"),
    ):
        low, middle, high = np.quantile(curves, (0.05, 0.5, 0.95), axis=0)
        axes.fill_between(mel, low, high, color="tab:blue", alpha=0.2, linewidth=0, label="5 to 95 %")
        axes.plot(mel, middle, color="tab:blue", linewidth=1.5, label="median")
        for row, curve in enumerate(curves[:EXAMPLES]):
            axes.plot(mel, curve, color="0.35", linewidth=0.6, label="the first five" if row == 0 else None)
        axes.set_xlim(0, float(hz_to_mel(LOG_MEL_SETTINGS.f_max_hz)))
        axes.set_xticks(hz_to_mel(np.array(_TICKS_KHZ) * 1000), [f"{tick:g}" for tick in _TICKS_KHZ])
        _label(axes, title, "frequency (kHz)", unit)
    write_figure(path, figure)


def draw_coverage_figure(
    path: Path, nearest_db: Mapping[str, NDArray[np.float64]], rank: Mapping[str, NDArray[np.float64]]
) -> None:
    """Write a picture of a coverage: by method, the share of real differences below each distance and each rank.

    Shape: [n] each; see `response.synthesis.coverage`.

    Raises:
        SettingsError: the suffix is not .png, .svg or .pdf.
        EnvironmentFault: the file cannot be written.
    """
    figure, (left, right) = _two_panels()
    for axes, measured in ((left, nearest_db), (right, rank)):
        for method, values in measured.items():
            axes.ecdf(values, label=method, linewidth=1.2)
    right.plot((0, 1), (0, 1), color="0.6", linewidth=0.8, linestyle="--", label="as drawn")
    _label(left, "nearest drawn difference", "distance (dB)", "share of real differences")
    _label(right, "rank among drawn differences", "rank", "share of real differences")
    left.set_xlim(left=0)
    right.set_xlim(0, 1)
    write_figure(path, figure)


def _two_panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


def _label(axes: Axes, title: str, below: str, beside: str) -> None:
    axes.set_title(title, fontsize=_FONT_POINTS + 1)
    axes.set_xlabel(below, fontsize=_FONT_POINTS)
    axes.set_ylabel(beside, fontsize=_FONT_POINTS)
    axes.tick_params(labelsize=_FONT_POINTS)
    axes.grid(color="0.9", linewidth=0.4)
    axes.legend(fontsize=_FONT_POINTS, frameon=False)
